"""Texts of like length together, as many as a budget of tokens holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sage_nb.errors import ModelError

Item = TypeVar("Item")
Out = TypeVar("Out")


def token_batches(lengths: Sequence[int], budget: int, most: int) -> list[list[int]]:
    """Indices in batches whose longest text times their number is at most `budget` (a longer one goes alone).

    Longest first, so that a batch too large for the memory shows at once.

    >>> token_batches([5, 100, 6, 90], budget=200, most=8)
    [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        room = batches and len(batches[-1]) < most and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget
        if room:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def in_halves(run: Callable[[Sequence[Item]], list[Out]], batch: Sequence[Item]) -> list[Out]:
    """`run(batch)`; where the memory does not hold it, each half by itself, and so on.

    Raises ModelError when not even one item fits.
    """
    try:
        return run(batch)
    except (RuntimeError, MemoryError) as failed:
        if not _out_of_memory(failed):
            raise
        if len(batch) == 1:
            raise ModelError(
                f"one text alone does not fit the memory ({type(failed).__name__}); "
                f"use a smaller model, or SAGE_DEVICE=cpu"
            ) from failed
    middle = len(batch) // 2
    return [*in_halves(run, batch[:middle]), *in_halves(run, batch[middle:])]


def _out_of_memory(error: Exception) -> bool:
    """Whether it is torch's CUDA error, or the words of its CPU allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory"))
