"""What encoders and cross-encoders share: tokens once, batches by length, results in the order asked."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_nb.errors import ModelError
from sage_nb.models.batching import in_halves, token_batches
from sage_nb.models.device import Compute

Floats = npt.NDArray[np.float32]
Row = dict[str, list[int]]

# A CPU's caches like small batches, a GPU large ones: 2,048 tokens is 8 texts of 256 tokens or 16 of 128.
CPU_TOKENS, CPU_MOST = 2_048, 32
GPU_TOKENS, GPU_MOST = 65_536, 1_024


class Batched:
    """Runs a model's forward over tokenised inputs; one thread at a time."""

    def __init__(self, model: Any, compute: Compute, longest: int) -> None:
        self.truncated = 0
        self._model, self._compute, self._longest = model, compute, longest
        self._lock = Lock()

    def run(self, tokenize: Callable[..., Any], output: str) -> list[Any]:
        """One row (a float32 array) of the model's `output` for each input that `tokenize` was given, in that order."""
        with self._lock:
            encoded = tokenize(truncation=True, max_length=self._longest, padding=False)
            self.truncated += sum(bool(encoding.overflowing) for encoding in encoded.encodings)
            rows = [{name: encoded[name][i] for name in encoded} for i in range(len(encoded.encodings))]
            return self._in_order(rows, partial(self._forward, output))

    def _in_order(self, rows: Sequence[Row], forward: Callable[[Sequence[Row]], list[Any]]) -> list[Any]:
        cpu = self._compute.device == "cpu"
        budget, most = (CPU_TOKENS, CPU_MOST) if cpu else (GPU_TOKENS, GPU_MOST)
        outputs: list[Any] = [None] * len(rows)
        for batch in token_batches([len(row["input_ids"]) for row in rows], budget, most):
            for index, output in zip(batch, in_halves(forward, [rows[i] for i in batch]), strict=True):
                outputs[index] = output
        return outputs

    def _forward(self, name: str, rows: Sequence[Row]) -> list[Any]:
        import torch

        padded = self._model.tokenizer.pad(list(rows), return_tensors="pt")
        with torch.inference_mode():
            features = {each: tensor.to(self._compute.device) for each, tensor in padded.items()}
            output = self._model(features)[name].float().cpu().numpy()
        if not np.isfinite(output).all():
            raise ModelError(f"the model gave NaN or infinity in {self._compute.dtype}; try SAGE_DTYPE=float32")
        return list(output)


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
