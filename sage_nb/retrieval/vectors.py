"""Vectors of texts that a cache holds: an encoder is asked for new ones only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sage_nb.index.dense import Vectors, check_vectors
from sage_nb.models.registry import Models, OwnModels
from sage_nb.records.markup import shortened
from sage_nb.records.values import Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.recall import Cell, given
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.scores import ITEMS_KNOWN
from sage_nb.retrieval.stage import Operation
from sage_nb.runtime.cellcache.store import Entry
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Context, MapFunction, Metrics


@dataclass(frozen=True)
class TextVectors:
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


@dataclass(frozen=True)
class ByEncoder(Operation):
    """A stage that looks at a ranking with an encoder's eyes."""

    @property
    @abstractmethod
    def encoder(self) -> str:
        """Its name."""

    @property
    def needs(self) -> Kind:
        """A ranking to look at."""
        return "ranking"

    @property
    def runs_model(self) -> bool:
        """Its encoder."""
        return True

    def beside(self) -> Mapping[str, Any]:
        """The weights of its encoder."""
        return {"weights": MODELS.encoder_fingerprint(self.encoder)}


class Embedding(MapFunction[Result, Result]):
    """A running half that wants vectors of texts: those that a cache holds, and an encoder's for the others."""

    def __init__(self, encoder: str, stage: str) -> None:
        self._name, self._stage = encoder, stage
        self._own = OwnModels.named(encoder=encoder)

    def open(self, context: Context, /) -> None:
        """Load the encoder, once per process."""
        self._own.introduce()
        self._encoder = context.get(Models).encoder(self._name)
        self._metrics = context.metrics
        cell, model = given(context), f"{self._encoder.name} {self._encoder.fingerprint}"
        self._known = TextVectors(cell, model, self._stage, context.metrics) if cell else None

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """N texts to (n, dimension) float32 of length 1; each is encoded once.

        Raises BadValueError where the encoder gives NaN, infinity or another shape.
        """
        different = list(dict.fromkeys(texts))
        if not different:
            return np.zeros((0, self._encoder.dimension), np.float32)
        made = self._known.encoded(different, self._encoded) if self._known else self._encoded(different)
        row = {text: at for at, text in enumerate(different)}
        return made[[row[text] for text in texts]]

    def _encoded(self, texts: Sequence[str]) -> Vectors:
        with self._metrics.model_time(len(texts)):
            made = np.asarray(self._encoder.encode(texts), np.float32)
        check_vectors(made, self._encoder.dimension, [shortened(text, 40) for text in texts])
        return made
