"""Taking turns: operators that compute one at a time, so that what one of them takes is not what the others are at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import Self

from sage_nb.errors import UnknownNameError
from sage_nb.stream.function import Context


class Turns:
    """A resource of an environment: its operators then compute in turn, in each of its processes.

    >>> turns = Turns()
    >>> with turns.one():
    ...     turns.taken
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()  # another process has turns of its own

    @property
    def taken(self) -> bool:
        """Whether somebody has it."""
        return self._lock.locked()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for one, and have it."""
        with self._lock:
            yield


class Stopwatch:
    """Times what an operator computes, in its turn where there are turns and it `waits` for nobody else."""

    def __init__(self, *, waits: bool) -> None:
        self._waits, self._turns = waits, Turns()
        self.seconds = 0.0

    def open(self, context: Context) -> Self:
        """Take part in the turns of the environment, if it has any."""
        try:
            self._turns = Turns() if self._waits else context.get(Turns)
        except UnknownNameError:
            self._turns = Turns()  # nobody else's
        return self

    @contextmanager
    def running(self) -> Iterator[None]:
        """What runs inside counts."""
        with self._turns.one():
            begun = time.perf_counter()
            try:
                yield
            finally:
                self.seconds += time.perf_counter() - begun
