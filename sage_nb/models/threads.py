"""How many threads models compute with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import TypeVar

from sage_nb.errors import ModelError

Item = TypeVar("Item")
Out = TypeVar("Out")

THREADS_SET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # what libraries read as they are loaded


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with so many threads here, and in libraries and processes that are begun meanwhile.

    >>> import torch
    >>> with fixed_threads(1):
    ...     torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]
    (1, '1')
    """
    held = {name: os.environ.get(name) for name in THREADS_SET}
    os.environ.update(dict.fromkeys(THREADS_SET, str(count)))
    import torch  # reads them, if it is the first to load it

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        for name, value in held.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def side_by_side(run: Callable[[Item], Out], items: Sequence[Item], count: int) -> list[Out]:
    """`run` of each item, in order: by `count` threads that compute with one core each.

    A lone item is run here, with all that torch has. On two cores a model's batches take 0.7 to 0.8 times as long as
    one after the other on both: nobody waits for the other core at the end of each product.

    >>> import torch
    >>> side_by_side(lambda item: (item, torch.get_num_threads()), ["a", "b"], count=2)
    [('a', 1), ('b', 1)]
    """
    if count == 1 or len(items) == 1:
        return [run(item) for item in items]
    return list(_workers(count, os.getpid()).map(run, items))


@cache
def _workers(count: int, process: int) -> ThreadPoolExecutor:
    """Of all models: two that compute at once share them. A process that was forked has none of its parent's."""
    import torch

    whole = torch.get_num_threads()
    workers = ThreadPoolExecutor(count, f"sage-models-{process}", initializer=_compute_alone)
    all_there = Barrier(count)
    try:
        for begun in [workers.submit(all_there.wait) for _ in range(count)]:
            begun.result()
    except RuntimeError as failed:
        all_there.abort()  # those that wait for one which will not come
        raise ModelError(
            f"{count} threads for models cannot be started ({failed}); end some of this machine's"
        ) from failed
    torch.set_num_threads(whole)  # what a thread sets is also what those begun after it have
    return workers


def _compute_alone() -> None:
    import torch

    torch.get_num_threads()  # the first call in a thread takes over what others set last
    torch.set_num_threads(1)
