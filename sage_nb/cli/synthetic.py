"""Passages and vectors made up for benches: as many as asked for, from a seed, and quickly."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sage_nb.models.registry import encoder
from sage_nb.records.values import Document

ENCODER = "made-up"
DIMENSION, LATENT, TOPICS = 384, 32, 1_000
WORDS, EACH = 50_000, 60  # of the vocabulary, and in a passage

Vectors = npt.NDArray[np.float32]


@encoder(ENCODER)
class MadeUp:
    """Gives each text a vector of its own, for nothing; as embeddings do they lie in groups, of few dimensions.

    A point about one of 1,000 centres in 32 dimensions, turned into 384 and scaled to length 1.

    >>> vectors = MadeUp().encode(["one", "other", "one"])
    >>> vectors.shape, bool((vectors[0] == vectors[2]).all()), bool((vectors[0] == vectors[1]).all())
    ((3, 384), True, False)
    """

    name, dimension, fingerprint, truncated = ENCODER, DIMENSION, "1", 0

    def __init__(self) -> None:
        made = np.random.default_rng(0)
        self._centres = made.standard_normal((TOPICS, LATENT), np.float32)
        self._turn = made.standard_normal((LATENT, DIMENSION), np.float32)

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """N texts to (n, 384)."""
        seeds = [zlib.crc32(text.encode()) for text in texts]
        beside = np.stack([np.random.default_rng(seed).standard_normal(LATENT, np.float32) for seed in seeds])
        points = (self._centres[np.array(seeds) % TOPICS] + 0.5 * beside) @ self._turn
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def passages(count: int, seed: int = 0) -> Iterator[Document]:
    """Of 60 words each, as frequent as Zipf has them: the n-th word 1/n as often as the first.

    >>> [len(document.text.split()) for document in passages(2)]
    [60, 60]
    """
    drawn, ranks = np.random.default_rng(seed), np.arange(1, WORDS + 1)
    upto = np.cumsum(1 / ranks) / np.sum(1 / ranks)
    for number in range(count):
        yield Document(f"d{number}", " ".join(f"w{word}" for word in np.searchsorted(upto, drawn.random(EACH))))
