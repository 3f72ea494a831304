"""What one model says of (question, passage) pairs; those that a cache knows are not asked again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.models.registry import Models, OwnModels
from sage_nb.retrieval.recall import given
from sage_nb.retrieval.scores import PAIRS, Pair, PairScores
from sage_nb.stream.function import Context


class Pairing:
    """Scores by the model of that name; `stage` is what they are listed under in a cache."""

    def __init__(self, model: str, stage: str) -> None:
        self.model, self._stage = model, stage
        self._own = OwnModels.named(cross_encoder=model)

    def open(self, context: Context, /) -> None:
        """Load the model, once per process."""
        self._own.introduce()
        models = context.get(Models)
        self._scorer = models.cross_encoder(self.model)
        self._metrics = context.metrics
        cell = given(context)
        weights = models.reranker_fingerprint(self.model) if cell else ""
        self._known = PairScores(cell, weights, self._stage, context.metrics) if cell else None

    @property
    def truncated(self) -> int:
        """How many texts or pairs so far were cut to what the model reads."""
        return self._scorer.truncated

    def known(self, pairs: Sequence[Pair]) -> dict[Pair, float]:
        """The scores that cost nothing."""
        return self._known.known(pairs) if self._known else {}

    def scored(self, pairs: Sequence[Pair]) -> list[float]:
        """One finite score for each, whoever wrote the model; those that a cache holds are not computed."""
        return self._known.scored(pairs, self._scores) if self._known else self._scores(pairs)

    def _scores(self, pairs: Sequence[Pair]) -> list[float]:
        self._metrics.count(PAIRS, len(pairs))
        with self._metrics.model_time(len(pairs)):
            name, scores = self._scorer.name, np.asarray(self._scorer.score(pairs), np.float32).reshape(-1)
        if len(scores) != len(pairs):
            raise ModelError(
                f"the reranker {name!r} gave {len(scores)} scores for {len(pairs)} pairs; return one for each"
            )
        if not np.isfinite(scores).all():
            raise ModelError(f"the reranker {name!r} gave NaN or infinity; try SAGE_DTYPE=float32")
        return scores.tolist()
