"""How many threads models compute with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
