"""sentence-transformers runs the models that are no plain BERT: texts of like length together, padded."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_nb.models.batching import token_batches
from sage_nb.models.device import Compute
from sage_nb.models.inference import Launched, Output
from sage_nb.models.packing import Row, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A CPU's caches like small batches, a GPU large ones: 2,048 tokens is 8 texts of 256 tokens or 16 of 128.
CPU_TOKENS, CPU_MOST = 2_048, 32
GPU_TOKENS, GPU_MOST = 65_536, 1_024
NAMES: dict[Output, str] = {"vectors": "sentence_embedding", "tokens": "token_embeddings", "scores": "scores"}
OPTIONS: dict[str, Any] = {"local_files_only": True, "model_kwargs": {"use_safetensors": True}}


class Library:
    """A loaded SentenceTransformer or CrossEncoder."""

    def __init__(self, model: Any, compute: Compute, longest: int) -> None:
        self._model, self._compute = model.to(compute.torch_dtype).eval(), compute
        self.tokenizer: Tokenizer = model.tokenizer.backend_tokenizer
        self._has_sides = "token_type_ids" in model.tokenizer.model_input_names
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(longest, direction=model.tokenizer.truncation_side)

    @property
    def at_once(self) -> int:
        """One: not all of these models say that threads may share them."""
        return 1

    def batches(self, lengths: Sequence[int]) -> list[list[Row]]:
        """Longest first."""
        cpu = self._compute.device == "cpu"
        budget, most = (CPU_TOKENS, CPU_MOST) if cpu else (GPU_TOKENS, GPU_MOST)
        return [[[text] for text in batch] for batch in token_batches(lengths, budget, most)]

    def launch(self, texts: Sequence[Tokens], rows: Sequence[Row], output: Output) -> Launched:
        """Compute the texts of a batch, one in each row."""
        order = [text for (text,) in rows]
        tokenizer = self._model.tokenizer
        inputs = [self._inputs(texts[text]) for text in order]
        padded = tokenizer.pad(inputs, return_tensors="pt")
        features = {name: tensor.to(self._compute.device) for name, tensor in padded.items()}
        found = self._model(features)[NAMES[output]]
        scored = output == "scores"
        return Launched(order, self._model.activation_fn(found.float()) if scored else found)

    def _inputs(self, text: Tokens) -> dict[str, Sequence[int]]:
        sides = [0] * text.first + [1] * (len(text.ids) - text.first)
        return {"input_ids": text.ids} | ({"token_type_ids": sides} if self._has_sides else {})


def sentence_transformer(folder: Path, compute: Compute) -> Any:
    """The library's encoder in a folder."""
    with quietly():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device=compute.device, **OPTIONS)


def cross_encoder(folder: Path, compute: Compute) -> Any:
    """The library's cross-encoder in a folder."""
    with quietly():
        from sentence_transformers import CrossEncoder

        return CrossEncoder(str(folder), device=compute.device, **OPTIONS)


@contextmanager
def quietly() -> Iterator[None]:
    """Model libraries talk while they load; what they say is not for a cell's output."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    said = logging.getLogger("sentence_transformers")
    before = said.level
    said.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.setLevel(before)
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
