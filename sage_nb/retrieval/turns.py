"""Taking turns: operators that compute one at a time, so that what one of them takes is not what the others are at."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import Self

from sage_nb.stream.function import Context


class Turns:
    """A resource of an environment: its operators then compute in turn, in each of its processes; who waits is next.

    >>> turns = Turns()
    >>> with turns.one():
    ...     turns.taken
    True
    """

    def __init__(self) -> None:
        self._queue: deque[object] = deque()  # who has the turn, then those who wait
        self._changed = threading.Condition()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()  # another process has turns of its own

    @property
    def taken(self) -> bool:
        """Whether somebody has it."""
        return bool(self._queue)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for one, and have it. A plain lock would be taken again by who has just let go of it."""
        me = object()
        with self._changed:
            self._queue.append(me)
            self._changed.wait_for(lambda: self._queue[0] is me)
        try:
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()


class Stopwatch:
    """Times what an operator computes, in its turn where there are turns and it `waits` for nobody else."""

    def __init__(self, *, waits: bool) -> None:
        self.waits, self._turns = waits, Turns()
        self.seconds = 0.0

    def open(self, context: Context) -> Self:
        """Take part in the turns of the environment, if it has any."""
        shared = None if self.waits else context.find(Turns)
        self._turns = shared or Turns()  # which are nobody else's
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
