"""Dense retrieval: the nearest passages by an encoder's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from sage_nb.errors import CollectionError, ModelError
from sage_nb.index.dense import Vectors, check_vectors
from sage_nb.index.manifest import Settings
from sage_nb.models.encoder import Encoder
from sage_nb.models.registry import ENCODERS, Models, OwnModels
from sage_nb.models.weights import model_folder, weights_hash
from sage_nb.records.values import Result
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.lexical import hits_of, notes_of
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.reader import Pinned
from sage_nb.retrieval.recall import given
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Operation
from sage_nb.retrieval.vectors import TextVectors
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction


@stage("dense")
@dataclass(frozen=True, repr=False)
class Dense(Operation):
    """The best `k` passages by cosine similarity of the collection's own encoder.

    Of a question that has been expanded it takes the mean of the question's vector and those of the passages, at unit
    length: (q + p₁ + … + pₙ) / (n + 1), as in HyDE (Gao, Ma, Lin & Callan, ACL 2023; arXiv:2212.10496, 2022).
    """

    source: Source
    k: int = 100

    def __post_init__(self) -> None:
        check_k(self.k, "dense()")

    def __repr__(self) -> str:
        return f"{self.source!r}.dense(k={self.k})"

    @property
    def floor(self) -> float | None:
        """A cosine is never below -1."""
        return -1.0

    @property
    def runs_model(self) -> bool:
        """Its model."""
        return True

    def function(self) -> Retrieving:
        """A `DenseSearching`."""
        return DenseSearching(self)


class DenseSearching(MapFunction[Result, Result]):
    """The running half of `Dense`."""

    def __init__(self, stage: Dense) -> None:
        self.stage = stage
        self._encoder = QuestionEncoder(stage.source, repr(stage))

    def open(self, context: Context, /) -> None:
        """Load the encoder that the collection was built with, once per process."""
        self._reader = self.stage.source.reader(context)
        self._encoder.open(context, self._reader.settings)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All questions encoded in one call, then searched, at one commit."""
        return self._reader.read(partial(self._answered, batch))

    def _answered(self, batch: Sequence[Result], pinned: Pinned) -> list[Result]:
        vectors, note = self._encoder.vectors(batch, pinned.manifest.settings.dimension)
        answers = pinned.dense(vectors, self.stage.k)
        notes = (*note, *notes_of(answers, self.stage.k, pinned.manifest.rows, self.stage.source))
        return [
            ranked(
                Result(r.query, (), (*r.notes, *notes), missing=(*r.missing, *answers.missing)),
                "dense",
                hits_of(passages, self.stage.source.name),
            )
            for r, passages in zip(batch, answers.passages, strict=True)
        ]


class QuestionEncoder:
    """Questions as vectors, by the encoder that a collection was built with; `stage` asks for them."""

    def __init__(self, source: Source, stage: str) -> None:
        self._collection, self._stage = source.name, stage
        self._own = OwnModels.named(encoder=COLLECTIONS.folder(source.path).snapshot().manifest.settings.encoder)

    def open(self, context: Context, settings: Settings) -> None:
        """Load it, once per process; find the cache.

        Raises CollectionError where there are no vectors to compare with, ModelError where its weights are others now.
        """
        self._own.introduce()
        self._encoder = encoder_of(settings, self._collection, context.get(Models))
        self._metrics = context.metrics
        cell, model = given(context), f"{self._encoder.name} {self._encoder.fingerprint}"
        self._known = TextVectors(cell, model, self._stage, context.metrics) if cell else None

    def vectors(self, batch: Sequence[Result], dimension: int) -> tuple[Vectors, tuple[str, ...]]:
        """One for each question, (n, dimension), all encoded in one call; and a note where a lone one was cut."""
        cut = self._encoder.truncated
        texts = [(r.query.text, *(r.expansion.passages if r.expansion else ())) for r in batch]
        flat = list(chain.from_iterable(texts))
        vectors = self._known.encoded(flat, self._encoded) if self._known else self._encoded(flat)
        check_vectors(vectors, dimension, [r.query.id for r, each in zip(batch, texts, strict=True) for _ in each])
        ends = np.cumsum([len(each) for each in texts])
        expanded = any(len(each) > 1 for each in texts)
        what = "the question, or a passage in its place," if expanded else "the question"
        was_cut = len(batch) == 1 and self._encoder.truncated > cut  # of more it is not known which one was
        note = (f"{what} was cut to what the encoder reads",) if was_cut else ()
        return np.stack([_mean(part) for part in np.split(vectors, ends[:-1])]), note

    def _encoded(self, texts: Sequence[str]) -> Vectors:
        with self._metrics.model_time(len(texts)):
            return np.asarray(self._encoder.encode(texts), np.float32)


def _mean(vectors: Vectors) -> Vectors:
    """The mean of some vectors at unit length; one alone as it is."""
    mean: Vectors = vectors.mean(axis=0)
    if len(vectors) > 1:
        mean /= np.linalg.norm(mean) or 1.0
    return mean


def encoder_of(settings: Settings, collection: str, models: Models) -> Encoder:
    """The encoder that a collection was built with, refused where its weights are no longer the same."""
    if not settings.encoder:
        raise CollectionError(
            f"the collection {collection!r} was built without an encoder, so it has no vectors; "
            f"use .lexical(), or build it again with an encoder"
        )
    encoder = models.encoder(settings.encoder)
    check_encoder(encoder, settings, collection)
    return encoder


def same_weights(name: str, settings: Settings) -> bool:
    """Whether an encoder is surely the one that a collection was built with, told without loading it.

    One's own, which is known when it is loaded only, never is.
    """
    if not name or name != settings.encoder or name in ENCODERS:
        return False
    return weights_hash(model_folder(name)) == settings.encoder_fingerprint


def check_encoder(encoder: Encoder, settings: Settings, collection: str) -> None:
    """Refuse an encoder whose vectors would not mean what the collection's do."""
    if encoder.dimension != settings.dimension:
        raise ModelError(
            f"the collection {collection!r} holds vectors of {settings.dimension} dimensions and {encoder.name!r} "
            f"makes {encoder.dimension}; open it with the model it was built with"
        )
    if encoder.fingerprint != settings.encoder_fingerprint:
        raise ModelError(
            f"the weights of {encoder.name!r} are not those that the collection {collection!r} was built with; "
            f"put the old model back, or build the collection again"
        )
