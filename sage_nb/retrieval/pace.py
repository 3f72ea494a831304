"""How much work fits into a budget of time, learned as the work is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Pace:
    """Seconds that an item takes, of work that is noted with `saw`: what is long past counts less and less.

    Items count, not parts: a model that takes many at once takes a single one for much longer than its share.
    """

    def __init__(self) -> None:
        self._items = self._seconds = 0.0

    def saw(self, items: int, seconds: float) -> None:
        """So many items took so long."""
        self._items = self._items / 2 + items
        self._seconds = self._seconds / 2 + seconds

    def fits(self, seconds: float) -> int:
        """How many items fit into so many seconds; one as long as nothing has been seen.

        >>> pace = Pace()
        >>> pace.saw(10, 0.5)
        >>> pace.fits(1.0), pace.fits(-1.0)
        (20, 0)
        """
        return max(0, int(seconds * self._items / self._seconds)) if self._seconds else 1


def within(
    items: Sequence[Item], seconds: float, pace: Pace, clock: Callable[[], float] = time.monotonic
) -> Iterator[Sequence[Item]]:
    """`items` in parts, each to be worked on before the next is asked for, until the time is up.

    A part is half of what fits into the time left, so that a pace misjudged costs little; the first is never empty, for
    the pace is learned from it.

    >>> hours = iter([0.0, 0.0, 10.0, 15.0, 17.0, 18.0, 19.0, 20.0])
    >>> pace = Pace()
    >>> pace.saw(1, 1.0)
    >>> [len(part) for part in within(range(100), 20.0, pace, lambda: next(hours))]
    [10, 5, 2, 1, 1, 1]
    """
    end = clock() + seconds
    done = 0
    while done < len(items):
        fits = pace.fits(end - clock())
        if done and not fits:
            return
        part = items[done : done + max(1, fits // 2)]
        done += len(part)
        yield part
