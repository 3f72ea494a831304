"""Cross-encoders: (question, passage) pairs to scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.models.device import Compute
from sage_nb.models.inference import Batched, Floats, quietly
from sage_nb.models.weights import weights_hash
from sage_nb.records.surrogates import encodable


class CrossEncoder(Protocol):
    """Scores pairs; higher is better."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights."""
        ...

    @property
    def truncated(self) -> int:
        """How many pairs so far were longer than it reads, and were cut."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]], /) -> Floats:
        """N pairs to (n,) float32."""
        ...


class PairScorer:
    """A sentence-transformers CrossEncoder with one label, batched by tokens across all pairs of a call.

    Scores are those of its own `predict`: the logit through the activation that the model's config names.
    """

    def __init__(self, name: str, folder: Path, compute: Compute) -> None:
        self.name = name
        self.fingerprint = weights_hash(folder)
        with quietly():
            from sentence_transformers import CrossEncoder as Library

            model = Library(
                str(folder),
                device=compute.device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        if model.num_labels != 1:
            raise ModelError(f"the model {name!r} gives {model.num_labels} scores a pair; a reranker gives one")
        model.to(compute.torch_dtype).eval()
        self._activation, self._tokenizer = model.activation_fn, model.tokenizer
        longest = min(int(model.max_seq_length or 512), 512)
        self._batched = Batched(model, compute, longest)

    @property
    def truncated(self) -> int:
        """How many pairs so far were cut to the model's limit."""
        return self._batched.truncated

    def score(self, pairs: Sequence[tuple[str, str]], /) -> Floats:
        """N (question, passage) pairs to (n,) float32; the longer side of a pair is cut first."""
        import torch

        if not pairs:
            return np.zeros(0, np.float32)
        questions, passages = ([encodable(text) for text in side] for side in zip(*pairs, strict=True))
        rows = self._batched.run(lambda **options: self._tokenizer(questions, passages, **options), "scores")
        return np.asarray(self._activation(torch.from_numpy(np.stack(rows))).numpy().reshape(-1), np.float32)
