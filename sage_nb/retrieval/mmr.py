"""Maximal marginal relevance: hits that say something new, chosen one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.index.dense import Vectors
from sage_nb.index.text import indexed_text
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records.values import Result
from sage_nb.retrieval.given import check_k, check_number
from sage_nb.retrieval.ranking import Retrieving, placed
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.vectors import ByEncoder, Embedding
from sage_nb.retrieval.yaml import stage


@stage("mmr")
@dataclass(frozen=True, repr=False)
class Mmr(ByEncoder):
    """The `k` hits of the greatest marginal relevance; `encoder` is the one whose cosines say what is alike."""

    k: int = 10
    diversity: float = 0.3
    encoder: str = DEFAULT_ENCODER

    def __post_init__(self) -> None:
        check_k(self.k, "mmr()")
        check_number(self.diversity, "diversity= of mmr()")
        if not 0 <= self.diversity <= 1:
            raise BadValueError(f"diversity= of mmr() must be from 0 (as ranked) to 1, got {self.diversity!r}")

    def __repr__(self) -> str:
        encoder = "" if self.encoder == DEFAULT_ENCODER else f", encoder={self.encoder!r}"
        return f"mmr(k={self.k}, diversity={self.diversity!r}{encoder})"

    def function(self) -> Retrieving:
        """A `Diversifying`."""
        return Diversifying(self)


class Diversifying(Embedding):
    """The running half of `Mmr`."""

    def __init__(self, stage: Mmr) -> None:
        super().__init__(stage.encoder, repr(stage))
        self.stage = stage

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """The passages of all questions are encoded together."""
        passages = [[indexed_text(hit.document) for hit in result.hits] for result in batch]
        vectors = self.vectors([text for texts in passages for text in texts])
        ends = np.cumsum([len(texts) for texts in passages])
        return [self._chosen(*pair) for pair in zip(batch, np.split(vectors, ends[:-1]), strict=True)]

    def _chosen(self, result: Result, vectors: Vectors) -> Result:
        scores = [hit.score for hit in result.hits]
        chosen = marginal_relevance(scores, vectors, self.stage.k, self.stage.diversity)
        return placed(result, "mmr", [(result.hits[at], value) for at, value in chosen])


def mmr(k: int = 10, diversity: float = 0.3, *, encoder: str = DEFAULT_ENCODER) -> Stage:
    """The best `k` hits that don't say the same: each the one of most relevance, less its likeness to those before it.

        MMR = argmax over d of (1 - diversity) · rel(d) - diversity · max over chosen c of cos(d, c)

    Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries",
    SIGIR 1998; λ there is 1 - diversity. rel is the score of the stage before, 0 … 1 from the ranking's least to its
    greatest: `diversity=0` leaves the order as it is. Cosines below 0, and those to nothing, count as 0. `encoder` is
    the bundled one, or that of a collection. What the ranking puts first is chosen first among equals.

    >>> mmr(k=5, diversity=0.5)
    mmr(k=5, diversity=0.5)
    """
    return Mmr(k, diversity, encoder)


def marginal_relevance(scores: Sequence[float], vectors: Vectors, k: int, diversity: float) -> list[tuple[int, float]]:
    """Place and value of the `k` chosen, in turn: of n scores, best first, and (n, d) vectors of length 1.

    >>> east, north = [1.0, 0.0], [0.0, 1.0]
    >>> marginal_relevance([3.0, 2.0, 1.0], np.array([east, east, north], np.float32), 3, 0.5)
    [(0, 0.5), (2, 0.0), (1, -0.25)]
    """
    given = np.asarray(scores, float)
    spread = np.ptp(given) if len(given) else 0.0
    relevance = (given - given.min()) / spread if spread else np.ones(len(given))
    likeness, left = np.zeros(len(given)), np.ones(len(given), bool)
    chosen: list[tuple[int, float]] = []
    while left.any() and len(chosen) < k:
        value = np.where(left, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        best = int(value.argmax())
        chosen.append((best, float(value[best])))
        left[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return chosen
