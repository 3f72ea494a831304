"""BERT's forward over packed texts, for the models that are just that: most small encoders and cross-encoders are.

In the place of sentence-transformers' own it computes no padding, and the first answer in a notebook comes sooner: to
import that library takes longer than torch and a model's weights together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sage_nb.models.device import Compute, multiplies_bf16
from sage_nb.models.inference import Launched, Output
from sage_nb.models.linear import Linear, linear
from sage_nb.models.packing import Packed, Row, Tokens, rows_of, width_for
from sage_nb.models.settings import Settings

if TYPE_CHECKING:
    import torch

    Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

WORDS, POSITIONS, SIDES = (f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type"))
CPU_TOKENS, GPU_TOKENS = 2_048, 32_768  # of a batch
WIDEST = 256  # numbers in a head, of those that flash attention takes
SEGMENTED = ("cpu", "cuda")  # what torch 2.13 has segment_reduce for: Apple's GPUs it has not


class Bert:
    """A model's weights on the device, and in the dtype, that it computes with.

    J. Devlin et al., "BERT: pre-training of deep bidirectional transformers" (NAACL 2019), as an encoder or, with its
    head, a cross-encoder.
    """

    def __init__(self, folder: Path, settings: Settings, compute: Compute) -> None:
        weights = _Weights.of(folder, compute)
        self.tokenizer = settings.tokenizer(folder)
        self._settings, self._compute = settings, compute
        self._tables = [weights.tensor(f"{name}.weight") for name in (WORDS, POSITIONS, SIDES)]
        self._norm = weights.norm("embeddings.LayerNorm", settings.epsilon)
        self._layers = [_Layer(weights, f"encoder.layer.{at}", settings) for at in range(settings.layers)]
        self._head = [weights.linear("pooler.dense"), weights.linear("classifier")] if settings.activation else []
        self._of_any_length = _attention_of_any_length(compute, settings.dimension // settings.heads)

    @property
    def at_once(self) -> int:
        """On a CPU one for each of torch's threads."""
        import torch

        return torch.get_num_threads() if self._compute.device == "cpu" else 1

    def batches(self, lengths: Sequence[int]) -> Iterator[Sequence[Row]]:
        """Rows that short texts fill up; the texts as they come, where attention takes them one after the other."""
        if self._of_any_length:
            last = np.cumsum(lengths) // GPU_TOKENS
            for part in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(last)) + 1):
                yield part[:, None].tolist()
            return
        width = width_for(lengths)
        rows = rows_of(lengths, width)
        tokens = CPU_TOKENS if self._compute.device == "cpu" else GPU_TOKENS
        count = -(-len(rows) * width // (tokens * self.at_once)) * self.at_once
        for part in np.array_split(np.arange(len(rows)), min(count, len(rows))):  # threads end together
            yield [rows[at] for at in part]

    def launch(self, texts: Sequence[Tokens], rows: Sequence[Row], output: Output) -> Launched:
        """Compute the texts of a batch."""
        width = 0 if self._of_any_length else width_for([sum(len(texts[text].ids) for text in row) for row in rows])
        packed = Packed.of(texts, rows, width)
        hidden = self._hidden(packed)
        order = [text for row in rows for text in row]
        if output == "tokens":
            spans = zip(packed.starts.tolist(), packed.lengths.tolist(), strict=True)
            return Launched(order, hidden, [slice(start, start + length) for start, length in spans])
        return Launched(order, self._scores(hidden, packed) if output == "scores" else self._pooled(hidden, packed))

    def _hidden(self, packed: Packed) -> torch.Tensor:
        """(tokens, width of the model)."""
        import torch

        ids, positions, sides = self._moved(np.stack([packed.ids, packed.positions, packed.sides]))
        looked_up = map(torch.nn.functional.embedding, (ids, positions, sides), self._tables)
        hidden = self._norm(reduce(torch.Tensor.add_, looked_up))
        attention = self._attention(packed)
        for layer in self._layers:
            hidden = layer(hidden, attention)
        return hidden

    def _attention(self, packed: Packed) -> Attention:
        """Of each token to those of its text."""
        import torch

        if self._of_any_length:
            ends = self._moved(np.concatenate([[0], packed.lengths.cumsum()]).astype(np.int32))
            longest = int(packed.lengths.max())
            return partial(self._of_any_length, ends, longest)
        owners = self._moved(packed.rows)
        apart = owners[:, None, :, None] != owners[:, None, None, :]
        mask = torch.zeros(apart.shape, dtype=self._compute.torch_dtype, device=owners.device)
        return partial(_attention_in_rows, mask.masked_fill_(apart, float("-inf")))

    def _pooled(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """(texts, width of the model): of each text the first token's, or the mean of all."""
        import torch

        if self._settings.pooling == "cls":
            return hidden[self._moved(packed.starts)]
        own, lengths = packed.owners >= 0, self._moved(packed.lengths)
        held = hidden[self._moved(np.flatnonzero(own))].float() if packed.width else hidden.float()
        if hidden.device.type in SEGMENTED:
            return torch.segment_reduce(held, "mean", lengths=lengths, axis=0, unsafe=True)
        sums = held.new_zeros(len(lengths), held.shape[1])
        return sums.index_add_(0, self._moved(packed.owners[own]), held) / lengths[:, None]

    def _scores(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """(pairs, 1), of each pair's first token."""
        pool, classify = self._head
        logits = classify(pool(hidden[self._moved(packed.starts)]).tanh()).float()
        return logits.sigmoid() if self._settings.activation == "sigmoid" else logits

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        """To the device: from pinned memory, so that what a GPU is at need not end first."""
        import torch

        tensor = torch.from_numpy(array)
        if self._compute.device.startswith("cuda"):
            return tensor.pin_memory().to(self._compute.device, non_blocking=True)
        return tensor.to(self._compute.device)


@dataclass(frozen=True)
class _Weights:
    held: Mapping[str, torch.Tensor]
    compute: Compute

    @classmethod
    def of(cls, folder: Path, compute: Compute) -> _Weights:
        from safetensors.torch import load_file

        held = load_file(folder / "model.safetensors")
        return cls({name.removeprefix("bert."): value for name, value in held.items()}, compute)

    def tensor(self, *names: str) -> torch.Tensor:
        """Of these names, one below the other."""
        import torch

        whole = torch.cat([self.held[name] for name in names])
        return whole.to(self.compute.device, self.compute.torch_dtype)

    def linear(self, *names: str) -> Linear:
        weight, bias = (self.tensor(*(f"{name}.{kind}" for name in names)) for kind in ("weight", "bias"))
        return linear(weight, bias, self.compute)

    def norm(self, name: str, epsilon: float) -> Callable[[torch.Tensor], torch.Tensor]:
        import torch

        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        shape = tuple(weight.shape)
        return lambda x: torch.nn.functional.layer_norm(x, shape, weight, bias, epsilon)


class _Layer:
    """Query, key and value are one product: their weights lie one below the other."""

    def __init__(self, weights: _Weights, name: str, settings: Settings) -> None:
        attention = f"{name}.attention"
        self._heads = settings.heads
        self._asked = weights.linear(*(f"{attention}.self.{each}" for each in ("query", "key", "value")))
        self._answered = weights.linear(f"{attention}.output.dense")
        self._widened = weights.linear(f"{name}.intermediate.dense")
        self._narrowed = weights.linear(f"{name}.output.dense")
        self._norms = [
            weights.norm(f"{each}.LayerNorm", settings.epsilon) for each in (f"{attention}.output", f"{name}.output")
        ]

    def __call__(self, hidden: torch.Tensor, attention: Attention) -> torch.Tensor:
        first, second = self._norms
        query, key, value = self._asked(hidden).view(len(hidden), 3, self._heads, -1).unbind(1)
        seen = attention(query, key, value).reshape(hidden.shape)
        hidden = first(self._answered.plus(seen, hidden))
        return second(self._narrowed.plus(self._widened.gelu(hidden), hidden))


def _attention_in_rows(mask: torch.Tensor, *asked: torch.Tensor) -> torch.Tensor:
    """Of (tokens, heads, width) each, with a mask (rows, 1, tokens of a row, tokens of a row)."""
    import torch

    rows, width = len(mask), mask.shape[-1]
    query, key, value = (each.view(rows, width, *each.shape[1:]).transpose(1, 2) for each in asked)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def _attention_of_any_length(compute: Compute, width: int) -> Callable[..., torch.Tensor] | None:
    """What takes texts one after the other without a mask, for heads of that width.

    Flash attention: torch has it from 2.10 on, if it was built with it, in half precision and for GPUs since Ampere.
    """
    if compute.dtype == "float32" or width % 8 or width > WIDEST or not multiplies_bf16(compute.device):
        return None  # before the import, which takes as long as that of torch
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    import torch

    if not torch.backends.cuda.is_flash_attention_available():
        return None

    def attention(ends: torch.Tensor, longest: int, *asked: torch.Tensor) -> torch.Tensor:
        query, key, value = asked
        return varlen_attn(query, key, value, ends, ends, longest, longest)  # type: ignore[return-value]

    return attention
