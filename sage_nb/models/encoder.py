"""Encoders: texts to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.models.bert import Bert
from sage_nb.models.device import Compute
from sage_nb.models.inference import Batched, Floats, Network
from sage_nb.models.library import Library, sentence_transformer
from sage_nb.models.settings import LONGEST, Settings
from sage_nb.models.weights import weights_hash
from sage_nb.records.surrogates import encodable


class Encoder(Protocol):
    """Texts to vectors of length 1, so that an inner product is a cosine."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights."""
        ...

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than it reads, and were cut."""
        ...

    def encode(self, texts: Sequence[str], /) -> Floats:
        """N texts to (n, dimension) float32."""
        ...


class SentenceEncoder:
    """An encoder in a folder, as sentence-transformers keeps them; batched by tokens across all texts of a call."""

    def __init__(self, name: str, folder: Path, compute: Compute) -> None:
        self.name = name
        self.fingerprint = weights_hash(folder)
        network, self.dimension = _network(name, folder, compute)
        self._batched = Batched(network)

    @property
    def truncated(self) -> int:
        """How many texts so far were cut to the model's limit."""
        return self._batched.truncated

    def encode(self, texts: Sequence[str], /) -> Floats:
        """N texts to (n, dimension) float32 of length 1; which other texts they come with does not matter."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        return np.stack(self._batched.run([encodable(text) for text in texts], "vectors"))

    def tokens(self, texts: Sequence[str], /) -> list[Floats]:
        """N texts to n arrays (tokens, dimension) float32, rows of length 1; without the tokens that frame a text."""
        return self._batched.run([encodable(text) for text in texts], "tokens")


def _network(name: str, folder: Path, compute: Compute) -> tuple[Network, int]:
    """The program that runs the model in `folder`, and the dimension of its vectors."""
    settings = Settings.of(folder, "encoder")
    if settings is not None:
        return Bert(folder, settings, compute), settings.dimension
    model = sentence_transformer(folder, compute)
    dimension = model.get_embedding_dimension()
    if dimension is None:
        raise ModelError(f"the model {name!r} does not tell its vectors' dimension; name a sentence encoder")
    return Library(model, compute, int(model.max_seq_length or LONGEST)), int(dimension)
