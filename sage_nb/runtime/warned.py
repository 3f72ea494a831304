"""The warnings of a job, which may run for months: the first and the last of them, and how many there were."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

KEPT = 100  # of the first, and of the last


class Warnings:
    """What went not as it should and was mended.

    >>> warnings = Warnings(["a damaged checkpoint"])
    >>> warnings.append("one given up")
    >>> list(warnings), warnings.count
    (['a damaged checkpoint', 'one given up'], 2)
    """

    def __init__(self, said: Iterable[str] = ()) -> None:
        self.count = 0
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        for each in said:
            self.append(each)

    def append(self, warning: str) -> None:
        """One more, from any thread."""
        with self._lock:
            self.count += 1
            (self._first if len(self._first) < KEPT else self._last).append(warning)

    def once(self, warning: str) -> None:
        """One more, where it is not among those kept."""
        if warning not in list(self):
            self.append(warning)

    def __iter__(self) -> Iterator[str]:
        """Those kept, and between them how many are not."""
        with self._lock:
            first, last = [*self._first], [*self._last]
            left = self.count - len(first) - len(last)
        yield from first
        if left:
            yield f"… {left} warnings more …"
        yield from last
