"""What a machine can do at best, measured: matrix products and memory; and the work that a transformer is."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sage_nb.models.device import Compute

if TYPE_CHECKING:
    import torch

GIGA = 1e9
FEWEST = 3  # calls that are timed together, however long one takes
CPUINFO = Path("/proc/cpuinfo")
FAST = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # what matrix products can use


@dataclass(frozen=True)
class Product:
    """A matrix of `rows` and `inner` columns times one of so many rows and of `columns`.

    >>> str(Product(8192, 384, 1536)), Product(2, 3, 4).operations
    ('8192x384x1536', 48)
    """

    rows: int
    inner: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.inner}x{self.columns}"

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Shape:
    """A transformer's size, as its config.json has it."""

    layers: int
    hidden_size: int
    inner: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """That of the model in a folder.

        >>> from sage_nb.models.weights import bundled_folder
        >>> Shape.of(bundled_folder())
        Shape(layers=6, hidden_size=384, inner=1536)
        """
        config = json.loads((folder / "config.json").read_bytes())
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])

    def products(self, tokens: int) -> list[Product]:
        """The kinds of product with weights in a layer, of so many tokens."""
        width = self.hidden_size
        return [Product(tokens, *sides) for sides in ((width, width), (width, self.inner), (self.inner, width))]

    def operations(self, lengths: Iterable[int]) -> int:
        """Multiplications and additions for texts of these lengths in tokens, none of padding.

        In each layer two for each weight and token (query, key, value, output: 4 h²; feed-forward: 2 h f), and for
        each token of a text of n tokens 2 n h for its attention weights and as many for the sum that they weigh: Kaplan
        et al., "Scaling Laws for Neural Language Models" (arXiv:2001.08361, 2020), table 1, whose halved attention is
        a causal model's. Biases, norms, activations and looking embeddings up are left out, there as here.

        >>> Shape(layers=1, hidden_size=2, inner=3).operations([10])  # 10 · 2 · (16 + 12) + 10 · 4 · 10 · 2
        1360
        """
        h, f = self.hidden_size, self.inner
        return self.layers * sum(n * (2 * (4 * h * h + 2 * h * f) + 4 * n * h) for n in lengths)


def describe_cpu(cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """Its name, cores and what it has for matrix products, as far as the system tells.

    >>> sorted(describe_cpu())
    ['CPU', 'CPU features', 'cores']
    """
    told = cpuinfo.read_text() if cpuinfo.exists() else ""
    named = re.search(r"^model name\s*: (.*)$", told, re.MULTILINE)
    has = set(told.split())
    return {
        "CPU": named[1] if named else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "CPU features": ", ".join(each for each in FAST if each in has) or "not told",
    }


def product_rate(product: Product, dtype: str, compute: Compute, seconds: float) -> float | None:
    """Billions of operations a second, over `seconds` or more; None where torch has no such product here.

    `dtype` is float32, bfloat16, float16, or int8 (accumulated in int32).

    >>> product_rate(Product(64, 64, 64), "float32", Compute("cpu", "float32"), 0.001) > 0
    True
    """
    import torch

    left = _filled((product.rows, product.inner), dtype, compute)
    right = _filled((product.columns, product.inner), dtype, compute).T  # weights lie as torch.nn.Linear keeps them
    multiply = torch._int_mm if dtype == "int8" else torch.mm  # noqa: SLF001  torch has no public one
    try:
        took = _seconds_a_call(lambda: multiply(left, right), compute, seconds)
    except (RuntimeError, NotImplementedError):
        return None
    return product.operations / took / GIGA


def memory_rates(megabytes: float, compute: Compute, seconds: float) -> dict[str, float]:
    """GB/s read and written by "copy" (a = b) and "triad" (a = b + s c), of arrays of so many megabytes.

    As STREAM counts them (McCalpin, 1995): a line that is fetched only to be overwritten does not count.

    >>> sorted(memory_rates(0.1, Compute("cpu", "float32"), 0.001))
    ['copy', 'triad']
    """
    import torch

    a, b, c = (_filled((int(megabytes * 2**20 / 4),), "float32", compute) for _ in range(3))
    moved = a.numel() * a.element_size() / GIGA
    return {
        "copy": 2 * moved / _seconds_a_call(lambda: a.copy_(b), compute, seconds),
        "triad": 3 * moved / _seconds_a_call(lambda: torch.add(b, c, alpha=3.0, out=a), compute, seconds),
    }


def _filled(shape: tuple[int, ...], dtype: str, compute: Compute) -> torch.Tensor:
    """Small numbers: denormal and infinite ones are slow on some machines."""
    import torch

    return torch.randint(-4, 5, shape, device=compute.device).to(getattr(torch, dtype))


def _seconds_a_call(work: Callable[[], object], compute: Compute, seconds: float) -> float:
    """The mean, once it has been called."""
    import torch

    def waited() -> float:
        if compute.device.startswith("cuda"):
            torch.cuda.synchronize(compute.device)
        return time.perf_counter()

    with torch.inference_mode():
        work()
        begun, calls = waited(), 0
        while calls < FEWEST or time.perf_counter() - begun < seconds:
            work()
            calls += 1
        return (waited() - begun) / calls
