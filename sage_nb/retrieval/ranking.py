"""What runs behind the algebra: results in, results out, and what becomes of a question that fails."""

from __future__ import annotations

from collections.abc import Sequence

from sage_nb.records.values import Hit, Result, Step
from sage_nb.retrieval.fusion import Key, Ranking, get_fusion
from sage_nb.stream.function import Context, MapFunction

Retrieving = MapFunction[Result, Result]
Gathered = tuple[Result | None, ...]


class Answering(MapFunction[Result, Result]):
    """Calls a retrieval function, past which questions that have failed before go as they are."""

    def __init__(self, function: Retrieving) -> None:
        self._function = function

    def open(self, context: Context, /) -> None:
        """Open it."""
        self._function.open(context)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """Its results for those that have not failed."""
        if not any(result.error for result in batch):
            return self._function.map_batch(batch)
        sound = [result for result in batch if not result.error]
        answers = dict(zip(map(id, sound), self._function.map_batch(sound) if sound else [], strict=True))
        return [answers.get(id(result), result) for result in batch]

    def close(self) -> None:
        """Close it."""
        self._function.close()


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


class Fusing(MapFunction[Gathered, Result]):
    """Rankings of one question by several parts, made one by a rule."""

    def __init__(
        self, parts: Sequence[str], rule: str, weights: Sequence[float], floors: Sequence[float | None]
    ) -> None:
        self.parts, self.rule, self.weights, self.floors = parts, rule, weights, floors

    def map(self, value: Gathered, /) -> Result:
        """One ranking; none where a part has failed, and that is said."""
        errors = [
            f"no ranking from {part}" if result is None else result.error
            for part, result in zip(self.parts, value, strict=True)
            if result is None or result.error
        ]
        results = [result for result in value if result is not None]
        notes = tuple(dict.fromkeys(note for result in results for note in result.notes))
        if errors:
            return Result(results[0].query, (), notes, "; ".join(dict.fromkeys(errors)))
        rankings = [_ranking(result, floor) for result, floor in zip(results, self.floors, strict=True)]
        totals = get_fusion(self.rule)(rankings, self.weights)
        hits = _united(results)
        return ranked(Result(results[0].query, (), notes), self.rule, [(hits[key], s) for key, s in totals.items()])


def ranked(result: Result, stage: str, scored: Sequence[tuple[Hit, float]]) -> Result:
    """`result` with these hits by score, each with `stage`'s word added to its steps; equal scores by id."""
    order = sorted(scored, key=lambda pair: (-pair[1], pair[0].document.id, pair[0].collection))
    hits = (
        Hit(hit.document, rank, score, (*hit.steps, Step(stage, rank, score)), hit.collection)
        for rank, (hit, score) in enumerate(order, start=1)
    )
    return Result(result.query, tuple(hits), result.notes)


def failed(operator: str, result: Result, error: Exception) -> Result:
    """The result of a question that an operator failed on."""
    return Result(result.query, (), result.notes, f"{operator} failed: {type(error).__name__}: {error}")


def unfused(rule: str, gathered: Gathered, error: Exception) -> Result:
    """The result of a question whose rankings could not be fused."""
    return failed(rule, next(result for result in gathered if result is not None), error)


def query_id(result: Result) -> str:
    """What a question is known by on its way."""
    return result.query.id


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
