"""Rerank: score each (question, passage) pair with a model and keep the best."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import msgspec

from sage_nb.index.text import indexed_text
from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k, check_number, check_whole
from sage_nb.retrieval.mixture import BEFORE, CLOSELY, EARLIER, MODELS_MIXED, best_first, mixed, with_step
from sage_nb.retrieval.pace import Pace, within
from sage_nb.retrieval.pairing import Pairing
from sage_nb.retrieval.ranking import Retrieving, behind, ranked
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.scores import Pair
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

RERANKED = (8, 0.005)  # questions that are reranked together


@stage("rerank")
@dataclass(frozen=True, repr=False)
class Rerank(Operation):
    """The best `k` of a ranking by a model: a folder or a hub name; None mixes the bundled one with earlier scores.

    Only the first `top` hits are reranked, and of these as many as `budget` milliseconds allow; the others stay in
    their order behind them.
    """

    k: int = 10
    model: str | None = None
    top: int | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        check_k(self.k, "rerank()")
        if self.top is not None:
            check_whole(self.top, "top= of rerank(), hits,")
        if self.budget is not None:
            check_number(self.budget, "budget= of rerank(), in milliseconds,", above=0)

    def __repr__(self) -> str:
        given = {"k": self.k, "model": self.model, "top": self.top, "budget": self.budget}
        return f"rerank({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not None)})"

    @property
    def needs(self) -> Kind:
        """A ranking to reorder."""
        return "ranking"

    @property
    def runs_model(self) -> bool:
        """Its model."""
        return True

    @property
    def batch(self) -> tuple[int, float]:
        """A few: a question has a hundred pairs, and what is in hand is what a stop or a kill costs.

        One where time counts: then no question waits for another.
        """
        return RERANKED if self.budget is None else (1, 0.0)

    def beside(self) -> Mapping[str, Any]:
        """The weights of its models, and those of the mixture."""
        mixture = () if self.model else (EARLIER, MODELS_MIXED, BEFORE, CLOSELY)
        return {"weights": tuple(map(MODELS.reranker_fingerprint, self.models)), "mixture": mixture}

    @property
    def models(self) -> Sequence[str]:
        """Those that are asked; the second of the mixture, and the dearer, only where time does not count."""
        return [self.model] if self.model else list(MODELS_MIXED)[: None if self.budget is None else 1]

    def function(self) -> Retrieving:
        """A `Reranking`."""
        return Reranking(self)


class Reranking(MapFunction[Result, Result]):
    """The running half of `Rerank`."""

    def __init__(self, stage: Rerank) -> None:
        self.stage = stage
        self._first, *self._closer = (Pairing(name, repr(stage)) for name in stage.models)
        self._pace = Pace()

    def open(self, context: Context, /) -> None:
        """Load the models, once per process."""
        for pairing in (self._first, *self._closer):
            pairing.open(context)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All pairs of the batch in one call: the scorer fills its batches across questions.

        A note says where a lone question, or a passage for it, was cut; of more it is not known which one was.
        """
        cut = self._truncated()
        made = self._made(batch)
        if len(batch) == 1 and self._truncated() > cut:
            note = "the question, or a passage, was cut to what the reranker reads"
            made = [msgspec.structs.replace(result, notes=(*result.notes, note)) for result in made]
        return made

    def _truncated(self) -> int:
        return sum(pairing.truncated for pairing in (self._first, *self._closer))

    def _made(self, batch: Sequence[Result]) -> list[Result]:
        asked = [_pairs(result, result.hits[: self.stage.top]) for result in batch]
        if self.stage.budget is not None:
            return [self._within(result, pairs) for result, pairs in zip(batch, asked, strict=True)]
        return self._reranked(batch, _scored(self._first, asked))

    def _within(self, result: Result, pairs: Sequence[Pair]) -> Result:
        """As many as the budget allows, best first; what is known costs nothing."""
        begun = time.monotonic()
        scores = self._first.known(pairs)
        new = [pair for pair in dict.fromkeys(pairs) if pair not in scores]
        for part in within(new, (self.stage.budget or 0) / 1000 - (time.monotonic() - begun), self._pace):
            started = time.monotonic()
            scores.update(zip(part, self._first.scored(part), strict=True))
            self._pace.saw(len(part), time.monotonic() - started)
        done = [scores[pair] for pair in takewhile(scores.__contains__, pairs)]
        if len(done) < len(pairs):
            said = f"rerank: {len(done)} of {len(pairs)} within {self.stage.budget:g} ms"
            left = f"rerank of {len(pairs) - len(done)} hits"
            result = msgspec.structs.replace(result, notes=(*result.notes, said), missing=(*result.missing, left))
        return self._reranked([result], [done])[0]

    def _reranked(self, batch: Sequence[Result], rows: Sequence[Sequence[float]]) -> list[Result]:
        """The first hits of each result by these scores, a row for each result; the rest behind them."""
        hits: list[Sequence[Hit]] = [result.hits[: len(row)] for result, row in zip(batch, rows, strict=True)]
        if not self.stage.model:
            hits = [with_step(each, self._first.model, enumerate(row)) for each, row in zip(hits, rows, strict=True)]
            for pairing in self._closer:
                hits = _read_closely(pairing, batch, hits)
            rows = list(map(mixed, hits))
        return [self._ranked(*each) for each in zip(batch, hits, rows, strict=True)]

    def _ranked(self, result: Result, hits: Sequence[Hit], scores: Sequence[float]) -> Result:
        made, count = ranked(result, "rerank", list(zip(hits, scores, strict=True))), len(hits)
        if count < len(result.hits):
            made = behind(made, result.hits[count:], result.hits[count - 1])
        return made.top(self.stage.k)


def _pairs(result: Result, hits: Sequence[Hit]) -> list[Pair]:
    return [(result.query.text, indexed_text(hit.document)) for hit in hits]


def _scored(pairing: Pairing, asked: Sequence[Sequence[Pair]]) -> list[list[float]]:
    """As many rows as given, in one call: the model fills its batches across questions."""
    scores = iter(pairing.scored([pair for pairs in asked for pair in pairs]))
    return [list(islice(scores, len(pairs))) for pairs in asked]


def _read_closely(pairing: Pairing, batch: Sequence[Result], hits: Sequence[Sequence[Hit]]) -> list[Sequence[Hit]]:
    """The hits, the best of each result with this model's word, too."""
    places = [best_first(each, dict(enumerate(mixed(each))))[:CLOSELY] for each in hits]
    best = [[each[at] for at in found] for each, found in zip(hits, places, strict=True)]
    rows = _scored(pairing, list(map(_pairs, batch, best)))
    return [
        with_step(each, pairing.model, zip(*found, strict=True))
        for each, *found in zip(hits, places, rows, strict=True)
    ]


def rerank(k: int = 10, model: str | None = None, *, top: int | None = None, budget: float | None = None) -> Stage:
    """The best `k` of a ranking, by a cross-encoder (a folder or a hub name), or by what the package brings.

    Without a `model` it is the weighted mean of standard scores (`sage_nb.retrieval.mixture`): of the bundled late
    interaction, of the BM25 and dense scores that the hits came with, or of their ranking where they have none, and of
    the bundled cross-encoder for the 20 best by these. Such a score says which passage is better for this question, not
    how good it is. `model="sage-reranker"` is that cross-encoder alone; its card lies in `sage_nb/models/reranker`.

    `top=30` reranks the first 30 only; `budget=100` as many, from the first on, as 100 milliseconds a question allow:
    the mixture does without the cross-encoder then. The others stay behind them in the order they had, as far as `k`
    reaches. A cascade is two of them, the cheap model first. A result for which the time did not suffice says so; it is
    not kept in a cache, the scores of its pairs are.

    >>> rerank(k=5, model="models/mine")
    rerank(k=5, model='models/mine')
    >>> rerank(k=200, model="models/cheap") >> rerank(k=100, model="models/strong", top=30)
    rerank(k=200, model='models/cheap') >> rerank(k=100, model='models/strong', top=30)
    """
    return Rerank(k, model, top, budget)
