"""The numbers of a pipeline that one may want to turn, and the same pipeline with one of them turned, or narrowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.filters import Filter
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage

Place = tuple[str | int, ...]  # the fields, and the places in tuples, that lead down to a value

LEAST_HITS, FINE = 100, 0.05  # how far a slider for hits goes at least, a weight's smallest change


@dataclass(frozen=True)
class Knob:
    """A number of a pipeline: where it stands, what it is called, its value, and the range to try."""

    at: Place
    name: str
    value: float
    low: float
    high: float
    step: float


def knobs(pipeline: Stage) -> list[Knob]:
    """The hits that stages keep (`k`), and the weights of what is fused.

    >>> from sage_nb.retrieval.collection import Collection
    >>> for knob in knobs(0.5 * Collection("a").lexical(k=20) + Collection("b").dense(k=500)):
    ...     print(knob.name, knob.value, knob.high)
    weight of a.lexical(k=20) 0.5 1
    weight of b.dense(k=500) 1.0 2
    k of a.lexical 20 100
    k of b.dense 500 1000
    """
    return list(_knobs(pipeline, ()))


def turned(pipeline: Stage, at: Place, value: float) -> Stage:
    """The pipeline with another value there; a whole number where it was one.

    Raises BadValueError where the stage does not take it, or where there is no such place.

    >>> from sage_nb.retrieval.collection import Collection
    >>> turned(Collection("a").hybrid(k=20), ("weights", 1), 0.5)
    Collection('a').hybrid(k=20, weights=(1.0, 0.5))
    """
    found: Stage = _with(pipeline, at, value)
    return found


def narrowed(pipeline: Stage, only: Filter | None) -> Stage:
    """The pipeline over those documents of its collections that a filter accepts, too.

    >>> from sage_nb.records.filters import where
    >>> from sage_nb.retrieval.collection import Collection
    >>> narrowed(Collection("a").lexical(k=2), where(source="x"))
    Collection('a').where(where(source='x')).lexical(k=2)
    """
    if only is None:
        return pipeline
    found: Stage = _mapped(pipeline, lambda source: _narrowed(source, only))
    return found


def sources(pipeline: Stage) -> list[Source]:
    """The collections that it reads, each once.

    >>> from sage_nb.retrieval.collection import Collection
    >>> [source.name for source in sources(Collection("a").hybrid(k=2) + Collection("b").lexical(k=2))]
    ['a', 'b']
    """
    found: list[Source] = []

    def note(source: Source) -> Source:
        found.append(source)
        return source

    _mapped(pipeline, note)
    return list(dict.fromkeys(found))


def called(stage: Stage) -> str:
    """A stage as a label calls it: without its arguments, and without what goes without saying.

    >>> from sage_nb.retrieval.collection import Collection
    >>> called(Collection("a").where(source="x").lexical(k=2))
    'a.lexical'
    """
    kind = type(stage).__name__.lower()
    source = getattr(stage, "source", None)
    return f"{source.name}.{kind}" if isinstance(source, Source) else kind


def _knobs(stage: Stage, at: Place) -> Iterator[Knob]:
    for each in fields(stage):
        value = getattr(stage, each.name)
        if each.name == "k":
            high = max(LEAST_HITS, 2 * value)
            yield Knob((*at, "k"), f"k of {called(stage)}", value, 1, high, 1)
        elif each.name == "weight":
            yield _weight((*at, "weight"), called(getattr(stage, "stage", stage)), value)
        elif each.name == "weights":
            names = getattr(stage, "names", None) or [_short(part) for part in getattr(stage, "parts", ())]
            for number, (name, weight) in enumerate(zip(names, value, strict=False)):
                yield _weight((*at, "weights", number), name, weight)
    for name, place, part in _parts(stage):
        yield from _knobs(part, (*at, name, *place))


def _weight(at: Place, name: str, value: float) -> Knob:
    return Knob(at, f"weight of {name}", value, 0, max(1, math.ceil(2 * value)), FINE)


def _short(stage: Stage) -> str:
    written = repr(stage)
    source = getattr(stage, "source", None)
    return written.replace(repr(source), source.name) if isinstance(source, Source) else written


def _parts(stage: Stage) -> Iterator[tuple[str, Place, Stage]]:
    """The stages that a stage holds: in which field, at which place of it."""
    for each in fields(stage):
        value = getattr(stage, each.name)
        if isinstance(value, Stage):
            yield each.name, (), value
        elif isinstance(value, tuple):
            yield from ((each.name, (place,), part) for place, part in enumerate(value) if isinstance(part, Stage))


def _with(value: Any, at: Place, new: float) -> Any:
    if not at:
        return int(new) if isinstance(value, int) else float(new)
    first: Any = at[0]
    rest = at[1:]
    if isinstance(value, tuple) and isinstance(first, int) and first < len(value):
        return (*value[:first], _with(value[first], rest, new), *value[first + 1 :])
    if is_dataclass(value) and isinstance(first, str) and hasattr(value, first):
        return replace(value, **{first: _with(getattr(value, first), rest, new)})  # type: ignore[type-var]
    raise BadValueError(f"{value!r:.80} has no {first!r}; take the place of one of its knobs")


def _mapped(value: Any, change: Callable[[Source], Source]) -> Any:
    """`value` with each Source in it changed, those of one stage together: some must agree."""
    if isinstance(value, Source):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(each, change) for each in value)
    if not isinstance(value, Stage):
        return value
    held = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
    made = {name: _mapped(each, change) for name, each in held.items()}
    return replace(value, **made) if made != held else value


def _narrowed(source: Source, only: Filter) -> Source:
    return replace(source, only=only if source.only is None else source.only & only)
