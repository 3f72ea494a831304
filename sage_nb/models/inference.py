"""What encoders and cross-encoders share: tokens, batches, results in the order asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from sage_nb.errors import ModelError
from sage_nb.models.batching import in_halves
from sage_nb.models.packing import Row, Tokens
from sage_nb.models.threads import side_by_side

if TYPE_CHECKING:
    import torch
    from tokenizers import Encoding, Tokenizer

Floats = npt.NDArray[np.float32]
Texts = Sequence[str] | Sequence[tuple[str, str]]
Output = Literal["vectors", "tokens", "scores"]

TOGETHER = 4_096  # texts: while a GPU computes what so many ask for, the tokens of as many more are made (+20 %)


@dataclass(frozen=True)
class Launched:
    """What a model was set to compute for some texts; a GPU may still be at it.

    `output` has a row for each text; or, where `spans` tells which are whose, one for each token.
    """

    texts: Sequence[int]
    output: torch.Tensor
    spans: Sequence[slice] | None = None

    def fetched(self) -> list[Floats]:
        """Float32 for each text; waits for it."""
        values = self.output.float().cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError("the model gave NaN or infinity; try SAGE_DTYPE=float32, or look at its weights")
        return list(values) if self.spans is None else [values[span] for span in self.spans]


class Network(Protocol):
    """A model's forward, and how it wants texts put together."""

    @property
    def tokenizer(self) -> Tokenizer:
        """It cuts texts to what the model reads."""
        ...

    @property
    def at_once(self) -> int:
        """How many batches it computes at a time."""
        ...

    def batches(self, lengths: Sequence[int]) -> Iterable[Sequence[Row]]:
        """Rows of texts of these lengths, as many as are computed at once; each text in one of them."""
        ...

    def launch(self, texts: Sequence[Tokens], rows: Sequence[Row], output: Output) -> Launched:
        """Compute a batch."""
        ...


class Batched:
    """Runs a network over texts; one thread at a time."""

    def __init__(self, network: Network) -> None:
        self.truncated = 0
        self._network = network
        self._lock = Lock()

    def run(self, texts: Texts, output: Output) -> list[Floats]:
        """Of each text, in order: its vector, the vectors of its tokens but for those that frame it, or its scores.

        Vectors have length 1.
        """
        found, ahead = list[Floats](), _Chunk([], [])
        with self._lock:
            for at in range(0, len(texts), TOGETHER):
                chunk = self._launched(texts[at : at + TOGETHER], output)
                found += ahead.fetched(output)
                ahead = chunk
            return found + ahead.fetched(output)

    def _launched(self, texts: Texts, output: Output) -> _Chunk:
        encodings = self._network.tokenizer.encode_batch(list(texts))
        pairs = not isinstance(texts[0], str)
        self.truncated += sum(bool(encoding.overflowing) for encoding in encodings)
        tokens = [Tokens(each.ids, each.type_ids.count(0) if pairs else len(each.ids)) for each in encodings]
        launch = partial(in_halves, partial(self._launch, tokens, output))
        batches = list(self._network.batches([len(each.ids) for each in tokens]))
        launched = side_by_side(launch, batches, self._network.at_once)
        return _Chunk(encodings, list(chain.from_iterable(launched)))

    def _launch(self, tokens: Sequence[Tokens], output: Output, rows: Sequence[Row]) -> list[Launched]:
        import torch

        with torch.inference_mode():
            launched = self._network.launch(tokens, rows, output)
            if output == "scores":
                return [launched]
            return [replace(launched, output=torch.nn.functional.normalize(launched.output.float(), dim=-1))]


@dataclass(frozen=True)
class _Chunk:
    encodings: Sequence[Encoding]
    launched: Sequence[Launched]

    def fetched(self, output: Output) -> list[Floats]:
        found = dict[int, Floats]()
        for each in self.launched:
            found.update(zip(each.texts, each.fetched(), strict=True))
        if output == "tokens":
            return [found[at][_unframed(encoding)] for at, encoding in enumerate(self.encodings)]
        return [found[at] for at in range(len(self.encodings))]


def _unframed(encoding: Encoding) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
