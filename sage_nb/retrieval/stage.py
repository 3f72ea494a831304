"""Pipelines are values: `>>` then, `+` fuse, `*` weigh, `|` union, `&` intersect, `%` cut (PyTerrier's algebra).

A stage describes; it loads nothing. Equal structure means equal, equally hashed and equally printed, and what cannot
work (a reranker with nothing to rerank) is refused when the expression is built.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, SupportsFloat, cast

from sage_nb.errors import BadValueError
from sage_nb.records.values import Hit, Query, Result, Step
from sage_nb.retrieval.fusion import Key, Ranking, get_fusion
from sage_nb.retrieval.questions import as_queries, check_text
from sage_nb.retrieval.resources import CONTEXT
from sage_nb.retrieval.run import Run
from sage_nb.runtime.inline import run_inline
from sage_nb.stream.function import Chain, Context, MapFunction

Kind = Literal["query", "ranking"]
Retrieving = MapFunction[Result, Result]

BATCH = 32  # questions a batch: enough for the models' batches to fill, few enough to see results come


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a pipeline, or a whole one: cheap to build, print, compare, hash and ship."""

    @property
    def needs(self) -> Kind:
        """What a result must already hold."""
        return "query"

    @property
    def gives(self) -> Kind:
        """What a result holds afterwards."""
        return "ranking"

    @property
    def floor(self) -> float | None:
        """The least score it can give, if its scores have one (what `tmm` fusion wants to know)."""
        return None

    @abstractmethod
    def function(self) -> Retrieving:
        """The running half, made where it will run."""

    def search(self, text: str) -> Result:
        """Ask one question.

        Raises BadValueError for a question without text.
        """
        question = Query("q", check_text(text, "the question"))
        (answered,) = next(run_inline(self.function(), [Result(question)], CONTEXT, 1))
        return answered

    def run(self, questions: object) -> Run:
        """Ask many: strings, `Query`s, a DataFrame with a `query` column, or a path of queries.

        The Run computes as it is iterated; `.results` waits for all of it.
        """
        asked = [Result(query) for query in as_queries(questions)]
        return Run(self, len(asked), run_inline(self.function(), asked, CONTEXT, BATCH))

    def __rshift__(self, then: object) -> Stage:
        return reduce(_then, _chain(_stage(then, ">>")), self)

    def __add__(self, other: object) -> Stage:
        parts = (*_operands(self), *_operands(_stage(other, "+")))
        return Fused(tuple(stage for stage, _ in parts), "rrf", tuple(weight for _, weight in parts))

    def __mul__(self, weight: object) -> Stage:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise BadValueError(f"a pipeline is weighed with a number, as in 0.7 * {self!r}, got {weight!r}")
        return Weighted(self, float(weight))

    __rmul__ = __mul__

    def __or__(self, other: object) -> Stage:
        return _combined(self, _stage(other, "|"), "max")

    def __and__(self, other: object) -> Stage:
        return _combined(self, _stage(other, "&"), "min")

    def __mod__(self, k: int) -> Stage:
        return self >> Cut(k)


@dataclass(frozen=True, repr=False)
class Then(Stage):
    """`first >> second`; refused where the second lacks what it needs. Chains lean left: (a >> b) >> c."""

    first: Stage
    second: Stage

    def __post_init__(self) -> None:
        if self.second.needs == "ranking" and self.first.gives == "query":
            raise BadValueError(
                f"{self.second!r} needs a ranking and {self.first!r} gives none; put a retriever between them"
            )

    def __repr__(self) -> str:
        if isinstance(self.second, Cut):
            return f"{_inner(self.first)} % {self.second.k}"
        return f"{_inner(self.first)} >> {_inner(self.second)}"

    @property
    def needs(self) -> Kind:
        """What the first stage needs."""
        return self.first.needs

    @property
    def gives(self) -> Kind:
        """What the second stage gives."""
        return self.second.gives

    @property
    def floor(self) -> float | None:
        """The last stage's, unless that only cuts."""
        return self.first.floor if isinstance(self.second, Cut) else self.second.floor

    def function(self) -> Retrieving:
        """Both, fused into one."""
        return Chain(self.first.function(), self.second.function())


@dataclass(frozen=True)
class Cut(Stage):
    """The first `k` of each ranking."""

    k: int

    def __post_init__(self) -> None:
        check_k(self.k, "%")

    @property
    def needs(self) -> Kind:
        """A ranking to cut."""
        return "ranking"

    def function(self) -> Retrieving:
        """`Result.top` of each."""
        return Cutting(self.k)


class Cutting(MapFunction[Result, Result]):
    """The running half of `Cut`."""

    def __init__(self, k: int) -> None:
        self.k = k

    def map(self, value: Result, /) -> Result:
        """The first `k`."""
        return value.top(self.k)


@dataclass(frozen=True, repr=False)
class Weighted(Stage):
    """A pipeline whose word counts `weight` times in the fusion it stands in; alone, its scores are scaled."""

    stage: Stage
    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise BadValueError(f"a weight must be 0 or more and finite, got {self.weight}")

    def __repr__(self) -> str:
        return f"{self.weight:g} * {_inner(self.stage)}"

    @property
    def needs(self) -> Kind:
        """What the stage needs."""
        return self.stage.needs

    def function(self) -> Retrieving:
        """The stage, then its scores scaled."""
        return Chain(self.stage.function(), Scaling(self.weight))


class Scaling(MapFunction[Result, Result]):
    """The running half of `Weighted`."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def map(self, value: Result, /) -> Result:
        """Every score times the weight."""
        scaled = [(hit, hit.score * self.weight) for hit in value.hits]
        return ranked(value, f"x{self.weight:g}", scaled)


@dataclass(frozen=True, repr=False)
class Fused(Stage):
    """Several pipelines on the same question, made one ranking by a fusion rule; `a + b + c` is one fusion of three."""

    parts: tuple[Stage, ...]
    rule: str = "rrf"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        get_fusion(self.rule)
        object.__setattr__(self, "weights", check_weights(self.weights, len(self.parts)))
        for part in self.parts:
            if part.gives != "ranking":
                raise BadValueError(f"{part!r} gives no ranking to fuse; end it with a retriever")

    def __repr__(self) -> str:
        sign = {"rrf": " + ", "max": " | ", "min": " & "}.get(self.rule)
        plain = set(self.weights) == {1.0}
        if sign is None or (not plain and self.rule != "rrf"):
            weights = "" if plain else f", weights={self.weights}"
            return f"fuse({', '.join(map(repr, self.parts))}, by={self.rule!r}{weights})"
        weighed = [
            _inner(part) if weight == 1 else f"{weight:g} * {_inner(part)}"
            for part, weight in zip(self.parts, self.weights, strict=True)
        ]
        return sign.join(weighed)

    @property
    def needs(self) -> Kind:
        """A ranking, if any part needs one."""
        return "ranking" if any(part.needs == "ranking" for part in self.parts) else "query"

    def function(self) -> Retrieving:
        """Every part on the same batch, then fused question by question."""
        floors = tuple(part.floor for part in self.parts)
        return Fusing([part.function() for part in self.parts], self.rule, self.weights, floors)


class Fusing(MapFunction[Result, Result]):
    """The running half of `Fused`."""

    def __init__(
        self,
        parts: Sequence[Retrieving],
        rule: str,
        weights: Sequence[float],
        floors: Sequence[float | None],
    ) -> None:
        self.parts, self.rule, self.weights, self.floors = parts, rule, weights, floors

    def open(self, context: Context, /) -> None:
        """Open every part."""
        for part in self.parts:
            part.open(context)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """One fused ranking for each question."""
        answers = [part.map_batch(batch) for part in self.parts]
        return [self._fused(same) for same in zip(*answers, strict=True)]

    def close(self) -> None:
        """Close every part."""
        for part in self.parts:
            part.close()

    def _fused(self, results: Sequence[Result]) -> Result:
        rankings = [_ranking(result, floor) for result, floor in zip(results, self.floors, strict=True)]
        totals = get_fusion(self.rule)(rankings, self.weights)
        hits = _united(results)
        notes = tuple(dict.fromkeys(note for result in results for note in result.notes))
        return ranked(Result(results[0].query, (), notes), self.rule, [(hits[key], s) for key, s in totals.items()])


def ranked(result: Result, stage: str, scored: Sequence[tuple[Hit, float]]) -> Result:
    """`result` with these hits by score, each with `stage`'s word added to its steps; equal scores by id."""
    order = sorted(scored, key=lambda pair: (-pair[1], pair[0].document.id, pair[0].collection))
    hits = (
        Hit(hit.document, rank, score, (*hit.steps, Step(stage, rank, score)), hit.collection)
        for rank, (hit, score) in enumerate(order, start=1)
    )
    return Result(result.query, tuple(hits), result.notes)


def check_k(k: object, where: str) -> None:
    """Refuse a `k` that is no number of hits."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadValueError(f"{where} needs k, a whole number of 1 or more, got {k!r}")


def check_weights(weights: Sequence[float], parts: int) -> tuple[float, ...]:
    """The weights as floats, all 1 where none are given; refused where they don't match the parts."""
    if any(isinstance(weight, str) or not isinstance(weight, SupportsFloat) for weight in weights):
        raise BadValueError(f"weights must be numbers, got {weights!r}; give one for each ranking")
    given = tuple(float(weight) for weight in weights) or (1.0,) * parts
    if len(given) != parts:
        raise BadValueError(f"{parts} rankings are fused and {len(given)} weights given; give one for each")
    if not all(0 <= weight < float("inf") for weight in given) or not any(given):
        raise BadValueError(f"weights must be 0 or more and finite, and not all 0, got {given}")
    return given


def fuse(*parts: Stage, by: str = "rrf", weights: Sequence[float] = ()) -> Stage:
    """Fuse rankings by the rule called `by`: rrf, isr, minmax, tmm, zscore, dbsf, max or min.

    Raises UnknownNameError for another rule, BadValueError where the weights don't match.
    """
    if len(parts) < 2:
        raise BadValueError(f"fuse() needs two pipelines or more, got {len(parts)}")
    return Fused(tuple(_stage(part, "fuse()") for part in parts), by, tuple(weights))


def _stage(value: object, sign: str) -> Stage:
    if not isinstance(value, Stage):
        raise BadValueError(f"{sign} takes pipelines, got {value!r} ({type(value).__name__})")
    return value


def _then(first: Stage, second: Stage) -> Stage:
    return Then(first, second)


def _chain(stage: Stage) -> list[Stage]:
    return [*_chain(stage.first), stage.second] if isinstance(stage, Then) else [stage]


def _operands(stage: Stage) -> list[tuple[Stage, float]]:
    """The parts of a sum with their weights: nested sums are opened, so that `+` is associative."""
    if isinstance(stage, Fused) and stage.rule == "rrf":
        return list(zip(stage.parts, stage.weights, strict=True))
    return [(stage.stage, stage.weight)] if isinstance(stage, Weighted) else [(stage, 1.0)]


def _combined(left: Stage, right: Stage, rule: str) -> Stage:
    parts = [_operands_of(stage, rule) for stage in (left, right)]
    return Fused((*parts[0], *parts[1]), rule)


def _operands_of(stage: Stage, rule: str) -> tuple[Stage, ...]:
    plain = isinstance(stage, Fused) and stage.rule == rule and set(stage.weights) == {1.0}
    return cast(Any, stage).parts if plain else (stage,)


def _inner(stage: Stage) -> str:
    """`stage` printed so that it can stand inside an expression."""
    text = repr(stage)
    return f"({text})" if isinstance(stage, (Fused, Then, Weighted)) and not text.startswith("fuse(") else text


def _ranking(result: Result, floor: float | None) -> Ranking:
    return Ranking(tuple(map(_key, result.hits)), tuple(hit.score for hit in result.hits), floor)


def _united(results: Sequence[Result]) -> dict[Key, Hit]:
    """Each document once, with the steps of every ranking that holds it."""
    hits: dict[Key, Hit] = {}
    for result in results:
        for hit in result.hits:
            held = hits.get(_key(hit))
            steps = (*held.steps, *hit.steps) if held else hit.steps
            hits[_key(hit)] = Hit(hit.document, hit.rank, hit.score, steps, hit.collection)
    return hits


def _key(hit: Hit) -> Key:
    return hit.collection, hit.document.id
