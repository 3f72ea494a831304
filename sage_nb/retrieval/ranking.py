"""What runs behind the algebra: results in, results out, and what becomes of a question that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from itertools import accumulate
from typing import Any

import msgspec

from sage_nb.errors import SageError
from sage_nb.records.values import Hit, Result, Step
from sage_nb.retrieval.fusion import Key, Ranking, get_fusion
from sage_nb.retrieval.path import Mark
from sage_nb.retrieval.patience import Patient
from sage_nb.retrieval.recall import Known, Memory, Passing, result_of
from sage_nb.retrieval.turns import Stopwatch
from sage_nb.runtime.operators.guard import MisuseError, WrongReturnError
from sage_nb.runtime.operators.lifecycle import opened
from sage_nb.stream.function import Context, MapFunction

Retrieving = MapFunction[Result, Result]
Gathered = tuple[Passing | None, ...]

BEHIND = "behind"  # the step of a hit that a stage did not look at, and has left behind those that it did
CACHED, COMPUTED = "cached", "computed"  # counters of an operator whose results are kept: questions
TOOK = "took"  # the gauge of the seconds that its function took for those computed


class Answering(MapFunction[Passing, Passing]):
    """Calls a retrieval function, past which go questions that have failed, and those whose result is known.

    With a mark whose results are kept, it looks for them first, and keeps what it makes; then the function, with the
    models that it loads, is opened only when there is something to compute. It `waits` where others do the work.
    """

    def __init__(self, function: Retrieving, mark: Mark, *, waits: bool = False) -> None:
        self._function, self._mark, self._watch = function, mark, Stopwatch(waits=waits)
        self._is_open = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Answering:
        return Answering(deepcopy(self._function, memo), self._mark, waits=self._watch.waits)

    def open(self, context: Context, /) -> None:
        """Open it, or find the cache."""
        self._context, self._metrics = context, context.metrics
        self._watch.open(context)
        self._memory = Memory.opened(self._mark, context) if self._mark.key else None
        patience = self._mark.patience
        self._patient = Patient(patience.seconds, context.name) if patience else None
        if self._memory is None:
            with suppress(Exception) if patience else nullcontext():  # each question will meet it anew
                self._function.open(context)
                self._is_open = True

    def map_batch(self, batch: Sequence[Passing], /) -> list[Passing]:
        """Its results for those that have neither failed nor are known."""
        asked = {at: result_of(value) for at, value in enumerate(batch) if not self._passes(value)}
        answers = self._answers(asked)
        self._metrics.count(CACHED, sum(isinstance(value, Known) for at, value in enumerate(batch) if at not in asked))
        return [answers.get(at, value) for at, value in enumerate(batch)]

    def close(self) -> None:
        """Close it, and commit what waits to be kept."""
        if self._memory:
            self._memory.commit()
        if self._patient:
            self._patient.close()
        if self._is_open:
            self._is_open = False
            self._function.close()

    def _opened(self) -> Retrieving:
        """It, open; that it cannot be opened is no question's fault, and stops all but what can be done without."""
        if not self._is_open and self._patient:
            self._function.open(self._context)
        elif not self._is_open:
            try:
                opened(self._function, self._context)
            except SageError as error:
                raise MisuseError(str(error)) from error
        self._is_open = True
        return self._function

    def _made(self, asked: list[Result]) -> list[Result]:
        call = self._opened().map_batch
        with self._watch.running():
            made = self._patient.call(call, asked) if self._patient else call(asked)
        self._metrics.gauge(TOOK, self._watch.seconds)
        if not isinstance(made, list) or len(made) != len(asked):
            count = len(made) if isinstance(made, list) else f"a {type(made).__name__}"
            raise WrongReturnError(
                f"operator {self._context.name!r}: map_batch gave {count} for {len(asked)} values; "
                f"return a list with one for each"
            )
        return made

    def _passes(self, value: Passing) -> bool:
        return value.depth >= self._mark.depth if isinstance(value, Known) else bool(value.error)

    def _answers(self, asked: Mapping[int, Result]) -> dict[int, Result]:
        found = self._memory.found([result.query for result in asked.values()]) if self._memory and asked else {}
        new = {at: result for at, result in asked.items() if result.query.id not in found}
        made = dict(zip(new, self._made(list(new.values())), strict=True)) if new else {}
        if self._memory and made and self._memory.current:
            self._memory.keep(list(made.values()))
        self._metrics.count(CACHED, len(found))
        self._metrics.count(COMPUTED, len(made))
        return {at: made[at] if at in made else found[result.query.id] for at, result in asked.items()}


class Cutting(MapFunction[Result, Result]):
    """The first `k` of each ranking."""

    def __init__(self, k: int) -> None:
        self.k = k

    def map(self, value: Result, /) -> Result:
        """The first `k`."""
        return value.top(self.k)


class Scaling(MapFunction[Result, Result]):
    """Every score times a weight."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def map(self, value: Result, /) -> Result:
        """Every score times the weight."""
        scaled = [(hit, hit.score * self.weight) for hit in value.hits]
        return ranked(value, f"x{self.weight:g}", scaled)


class Fusing(MapFunction[Gathered, Passing]):
    """Rankings of one question by several parts, made one by a rule; one that is known goes on as it is."""

    def __init__(
        self, parts: Sequence[str], rule: str, weights: Sequence[float], floors: Sequence[float | None]
    ) -> None:
        self.parts, self.rule, self.weights, self.floors = parts, rule, weights, floors

    def open(self, context: Context, /) -> None:
        """It counts."""
        self._metrics = context.metrics

    def map(self, value: Gathered, /) -> Passing:
        """One ranking; none where a part has failed, and that is said."""
        known = value[0]
        self._metrics.count(CACHED if isinstance(known, Known) else COMPUTED)
        if isinstance(known, Known):  # as each branch was told it
            return known
        given = [None if each is None else result_of(each) for each in value]
        errors = [
            f"no ranking from {part}" if result is None else result.error
            for part, result in zip(self.parts, given, strict=True)
            if result is None or result.error
        ]
        results = [result for result in given if result is not None]
        if errors:
            return msgspec.structs.replace(together(results), error="; ".join(dict.fromkeys(errors)))
        return fused(results, self.rule, self.weights, self.floors)


def fused(results: Sequence[Result], rule: str, weights: Sequence[float], floors: Sequence[float | None]) -> Result:
    """Several rankings of one question made one by a rule."""
    rankings = [ranking_of(result, floor) for result, floor in zip(results, floors, strict=True)]
    hits, totals = _united(results), get_fusion(rule)(rankings, weights)
    return ranked(together(results), rule, [(hits[key], score) for key, score in totals.items()])


def together(results: Sequence[Result]) -> Result:
    """Several results of one question as one without hits: what is noted in any, and what any is missing."""
    notes = tuple(dict.fromkeys(note for result in results for note in result.notes))
    missing = tuple(dict.fromkeys(each for result in results for each in result.missing))
    return Result(results[0].query, (), notes, missing=missing)


def ranking_of(result: Result, floor: float | None) -> Ranking:
    """What a fusion rule sees of a result."""
    return Ranking(tuple(map(_key, result.hits)), tuple(hit.score for hit in result.hits), floor)


def ranked(result: Result, stage: str, scored: Sequence[tuple[Hit, float]]) -> Result:
    """`result` with these hits by score, each with `stage`'s word added to its steps; equal scores by id."""
    return placed(result, stage, sorted(scored, key=lambda pair: (-pair[1], pair[0].document.id, pair[0].collection)))


def placed(result: Result, stage: str, scored: Sequence[tuple[Hit, float]], first: int = 1) -> Result:
    """`result` with these hits in this order, from rank `first`, each with `stage`'s word added to its steps."""
    hits = (
        msgspec.structs.replace(hit, rank=rank, score=score, steps=(*hit.steps, Step(stage, rank, score)))
        for rank, (hit, score) in enumerate(scored, start=first)
    )
    return msgspec.structs.replace(result, hits=tuple(hits))


def behind(result: Result, rest: Sequence[Hit], last: Hit) -> Result:
    """`result` with the `rest` of an earlier ranking behind it, in its order; `last` stood before them there.

    Their scores are of another kind: they are shifted by what makes the score of `last` that of the last hit now, and
    never rise.
    """
    low = result.hits[-1].score
    falling = accumulate((min(low, hit.score + low - last.score) for hit in rest), min)
    kept = placed(result, BEHIND, list(zip(rest, falling, strict=True)), len(result.hits) + 1)
    return msgspec.structs.replace(result, hits=(*result.hits, *kept.hits))


def failed(operator: str, value: Passing, error: Exception) -> Result:
    """The result of a question that an operator failed on."""
    result = result_of(value)
    return Result(result.query, (), result.notes, f"{operator} failed: {type(error).__name__}: {error}")


def unfused(rule: str, gathered: Gathered, error: Exception) -> Result:
    """The result of a question whose rankings could not be fused."""
    return failed(rule, next(result for result in gathered if result is not None), error)


def query_id(value: Passing) -> str:
    """What a question is known by on its way."""
    return result_of(value).query.id


def _united(results: Sequence[Result]) -> dict[Key, Hit]:
    """Each document once, with the steps of every ranking that holds it."""
    hits: dict[Key, Hit] = {}
    for result in results:
        for hit in result.hits:
            held = hits.get(_key(hit))
            steps = (*held.steps, *hit.steps) if held else hit.steps
            hits[_key(hit)] = msgspec.structs.replace(hit, steps=steps)
    return hits


def _key(hit: Hit) -> Key:
    return hit.collection, hit.document.id
