"""Which sources a question is asked of, and how much the word of each counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.models.registry import Models
from sage_nb.records.plain import plain
from sage_nb.records.values import Result
from sage_nb.retrieval.ranking import failed
from sage_nb.retrieval.recall import Known, Passing, result_of
from sage_nb.retrieval.routes import Routes
from sage_nb.stream.function import Context, MapFunction

Weighing = Callable[[Sequence[str]], list[Any]]  # texts to what a route says of each

ELSEWHERE = "the question is not for this source"  # what stands in the place of a source's result


@plain
class Routed(msgspec.Struct, frozen=True):
    """A question on its way to sources, with a share for each; one of share 0 is not asked."""

    value: Result | Known
    weights: tuple[float, ...]


class Routing(MapFunction[Passing, Routed]):
    """The share of each source in each question: what the route says of it, times its own, which is 1, or 0: never."""

    def __init__(self, names: Sequence[str], weights: Sequence[float], route: Any) -> None:
        self.names, self.weights, self.route = tuple(names), tuple(weights), route

    def open(self, context: Context, /) -> None:
        """Open learned routes."""
        self._weighing: Weighing
        if self.route is None:
            self._weighing = lambda texts: [self.names] * len(texts)
        elif isinstance(self.route, Routes):
            self._weighing = self.route.opened(context.get(Models))
        else:
            self._weighing = lambda texts: [self.route(text) for text in texts]

    def map_batch(self, batch: Sequence[Passing], /) -> list[Routed]:
        """Each with its weights; what is known or has failed goes on without."""
        asked = [each for each in batch if isinstance(each, Result) and not each.error]
        said = iter(self._weighing([each.query.text for each in asked]))
        return [
            Routed(each, self._weights(next(said)) if isinstance(each, Result) and not each.error else self.weights)
            for each in batch
        ]

    def _weights(self, said: object) -> tuple[float, ...]:
        shares = _shares(said)
        for name, share in shares.items():
            if name not in self.names:
                raise UnknownNameError.of("source that the route names", str(name), self.names)
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
                raise BadValueError(f"the route weighs {name!r} with {share!r}; a weight is a number of 0 or more")
        weights = tuple(w * shares.get(name, 0.0) for name, w in zip(self.names, self.weights, strict=True))
        if not any(weights):
            raise BadValueError(f"the route names no source that counts; name one of {', '.join(self.names)}")
        return weights


def _shares(said: object) -> Mapping[str, float]:
    if isinstance(said, Mapping):
        return said
    if isinstance(said, str):
        return {said: 1.0}
    if not isinstance(said, Iterable):
        raise BadValueError(
            f"the route gave {said!r:.60}; it gives, for a question's text, names of sources, or weights by name"
        )
    return dict.fromkeys(said, 1.0)


def led(at: int, depth: int, routed: Routed) -> Passing:
    """What comes to the source of number `at` for a question: it, or an error that its operators let pass."""
    value = routed.value
    if (isinstance(value, Known) and value.depth >= depth) or routed.weights[at]:
        return value
    return Result(result_of(value).query, (), error=ELSEWHERE)


def astray(label: str, count: int, value: Passing, error: Exception) -> Routed:
    """A question that could not be routed: its result says so, whatever the sources."""
    return Routed(failed(label, value, error), (1.0,) * count)


def routed_id(routed: Routed) -> str:
    """What a question is known by on its way."""
    return result_of(routed.value).query.id
