"""Cross-encoders: (question, passage) pairs to scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sage_nb.errors import ModelError
from sage_nb.models.bert import Bert
from sage_nb.models.device import Compute
from sage_nb.models.inference import Batched, Floats, Network
from sage_nb.models.library import Library, cross_encoder
from sage_nb.models.settings import LONGEST, Settings
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
    """A cross-encoder in a folder, with one label, batched by tokens across all pairs of a call.

    Scores are those of sentence-transformers' `predict`: the logit through the activation that the config names.
    """

    def __init__(self, name: str, folder: Path, compute: Compute) -> None:
        self.name = name
        self.fingerprint = weights_hash(folder)
        self._batched = Batched(_network(name, folder, compute))

    @property
    def truncated(self) -> int:
        """How many pairs so far were cut to the model's limit."""
        return self._batched.truncated

    def score(self, pairs: Sequence[tuple[str, str]], /) -> Floats:
        """N (question, passage) pairs to (n,) float32; the longer side of a pair is cut first."""
        sound = [(encodable(question), encodable(passage)) for question, passage in pairs]
        return np.array(self._batched.run(sound, "scores"), np.float32).reshape(-1)


def _network(name: str, folder: Path, compute: Compute) -> Network:
    """The program that runs the model in `folder`."""
    settings = Settings.of(folder, "cross-encoder")
    if settings is not None:
        return Bert(folder, settings, compute)
    model = cross_encoder(folder, compute)
    if model.num_labels != 1:
        raise ModelError(f"the model {name!r} gives {model.num_labels} scores a pair; a reranker gives one")
    return Library(model, compute, min(int(model.max_seq_length or LONGEST), LONGEST))
