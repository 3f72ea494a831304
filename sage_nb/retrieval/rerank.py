"""Rerank: score each (question, passage) pair with a cross-encoder and keep the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.index.text import indexed_text
from sage_nb.models.registry import Models, OwnModels
from sage_nb.records.values import Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.recall import given
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.scores import PairScores
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

RERANKED = (8, 0.005)  # questions that are reranked together


@stage("rerank")
@dataclass(frozen=True, repr=False)
class Rerank(Operation):
    """The best `k` of a ranking by a cross-encoder; `model` is a folder or a hub name, None the default."""

    k: int = 10
    model: str | None = None

    def __post_init__(self) -> None:
        check_k(self.k, "rerank()")

    def __repr__(self) -> str:
        return f"rerank(k={self.k}" + (f", model={self.model!r})" if self.model is not None else ")")

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
        """A few: a question has a hundred pairs, and what is in hand is what a stop or a kill costs."""
        return RERANKED

    def beside(self) -> Mapping[str, Any]:
        """The weights of its model."""
        return {"weights": MODELS.reranker_fingerprint(self.model)}

    def function(self) -> Retrieving:
        """A `Reranking`."""
        return Reranking(self)


class Reranking(MapFunction[Result, Result]):
    """The running half of `Rerank`."""

    def __init__(self, stage: Rerank) -> None:
        self.stage = stage
        self._own = OwnModels.named(cross_encoder=stage.model or "")

    def open(self, context: Context, /) -> None:
        """Load the model, once per process."""
        self._own.introduce()
        models = context.get(Models)
        self._scorer = models.cross_encoder(self.stage.model)
        self._metrics = context.metrics
        cell = given(context)
        model = models.reranker_fingerprint(self.stage.model) if cell else ""
        self._known = PairScores(cell, model, repr(self.stage), context.metrics) if cell else None

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All pairs of the batch in one call: the scorer fills its batches across questions."""
        pairs = [(result.query.text, indexed_text(hit.document)) for result in batch for hit in result.hits]
        scores = iter(self._known.scored(pairs, self._scores) if self._known else self._scores(pairs))
        scored = [[(hit, next(scores)) for hit in result.hits] for result in batch]
        return [ranked(result, "rerank", pairs).top(self.stage.k) for result, pairs in zip(batch, scored, strict=True)]

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """A finite score for each pair, whoever wrote the scorer."""
        with self._metrics.model_time(len(pairs)):
            name, scores = self._scorer.name, np.asarray(self._scorer.score(pairs), np.float32).reshape(-1)
        if len(scores) != len(pairs):
            raise ModelError(
                f"the reranker {name!r} gave {len(scores)} scores for {len(pairs)} pairs; return one for each"
            )
        if not np.isfinite(scores).all():
            raise ModelError(f"the reranker {name!r} gave NaN or infinity; try SAGE_DTYPE=float32")
        return scores.tolist()


def rerank(k: int = 10, model: str | None = None) -> Stage:
    """The best `k` of a ranking, by a cross-encoder (a folder or a hub name).

    >>> rerank(k=5, model="models/mine")
    rerank(k=5, model='models/mine')
    """
    return Rerank(k, model)
