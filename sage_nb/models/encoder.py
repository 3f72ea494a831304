"""Encoders: texts to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.models.device import Compute
from sage_nb.models.inference import Batched, Floats, quietly
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
    """A sentence-transformers model, batched by tokens across all texts of a call."""

    def __init__(self, name: str, folder: Path, compute: Compute) -> None:
        self.name = name
        self.fingerprint = weights_hash(folder)
        with quietly():
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                str(folder),
                device=compute.device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        model.to(compute.torch_dtype).eval()
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"the model {name!r} does not tell its vectors' dimension; name a sentence encoder")
        self.dimension = int(dimension)
        self._tokenizer = model.tokenizer
        self._batched = Batched(model, compute, int(model.max_seq_length or 512))

    @property
    def truncated(self) -> int:
        """How many texts so far were cut to the model's limit."""
        return self._batched.truncated

    def encode(self, texts: Sequence[str], /) -> Floats:
        """N texts to (n, dimension) float32 of length 1; which other texts they come with does not matter."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        sound = [encodable(text) for text in texts]
        vectors = np.stack(self._batched.run(lambda **options: self._tokenizer(sound, **options), "sentence_embedding"))
        return _unit(vectors)

    def tokens(self, texts: Sequence[str], /) -> list[Floats]:
        """N texts to n arrays (tokens, dimension) float32, rows of length 1; without the tokens that frame a text."""
        sound, framing = [encodable(text) for text in texts], list[list[int]]()

        def tokenize(**options: Any) -> Any:
            encoded = self._tokenizer(sound, **options)
            framing.extend(each.special_tokens_mask for each in encoded.encodings)
            return encoded

        rows = self._batched.run(tokenize, "token_embeddings") if texts else []
        return [_unit(row[np.flatnonzero(np.array(mask) == 0)]) for row, mask in zip(rows, framing, strict=True)]


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
