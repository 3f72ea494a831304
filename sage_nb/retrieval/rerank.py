"""Rerank: score each (question, passage) pair with a cross-encoder and keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.index.text import indexed_text
from sage_nb.models.registry import Models
from sage_nb.records.values import Result
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.stage import Kind, Operation, Stage, check_k
from sage_nb.stream.function import Context, MapFunction


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

    def function(self) -> Retrieving:
        """A `Reranking`."""
        return Reranking(self)


class Reranking(MapFunction[Result, Result]):
    """The running half of `Rerank`."""

    def __init__(self, stage: Rerank) -> None:
        self.stage = stage

    def open(self, context: Context, /) -> None:
        """Load the model, once per process."""
        self._scorer = context.get(Models).cross_encoder(self.stage.model)
        self._metrics = context.metrics

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All pairs of the batch in one call: the scorer fills its batches across questions."""
        pairs = [(result.query.text, indexed_text(hit.document)) for result in batch for hit in result.hits]
        with self._metrics.model_time():
            scores = iter(self._scores(pairs))
        scored = [[(hit, next(scores)) for hit in result.hits] for result in batch]
        return [ranked(result, "rerank", pairs).top(self.stage.k) for result, pairs in zip(batch, scored, strict=True)]

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """A finite score for each pair, whoever wrote the scorer."""
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
