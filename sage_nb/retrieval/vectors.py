"""Vectors of questions that a cache holds: an encoder is asked for new ones only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sage_nb.index.dense import Vectors
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.scores import ITEMS_KNOWN
from sage_nb.runtime.cellcache.store import Entry
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Metrics


@dataclass(frozen=True)
class QuestionVectors:
    """The vectors by one encoder that a cell's cache holds."""

    cell: Cell
    model: str
    stage: str
    metrics: Metrics

    def encoded(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """N texts to (n, dimension) float32; `encode` is called once, for the new ones, each of them once."""
        keys = {text: fingerprint(("vector", self.model, text)) for text in texts}
        held = self.cell.get(list(keys.values()))
        known = {text: np.frombuffer(held[key], np.float32) for text, key in keys.items() if key in held}
        new = [text for text in keys if text not in known]
        fresh = dict(zip(new, encode(new) if new else (), strict=True))
        entries = [
            Entry(keys[text], each.astype(np.float32).tobytes(), self.cell.name, self.stage)
            for text, each in fresh.items()
        ]
        self.cell.cache.put(entries)
        self.metrics.count(ITEMS_KNOWN, len(known))
        return np.stack([known[text] if text in known else fresh[text] for text in texts])
