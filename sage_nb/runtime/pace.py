"""How many records a task takes on at once."""

from __future__ import annotations

from sage_nb.stream.batch import FULL

LONG = 0.2  # seconds of work at once: so long may a checkpoint, a pause or the first result have to wait for it


class Pace:
    """From one record at first to full batches where they are quick; down to one where each takes long.

    >>> pace = Pace()
    >>> pace.note(1, 0.001)
    >>> pace.most
    4
    >>> pace.note(4, 0.8)
    >>> pace.most
    1
    """

    def __init__(self) -> None:
        self.most = 1

    def note(self, records: int, seconds: float) -> None:
        """So many were handled in so long."""
        if seconds > LONG:
            self.most = max(1, int(records * LONG / seconds))
        elif records >= self.most and seconds < LONG / 8:
            self.most = min(FULL, 4 * self.most)
