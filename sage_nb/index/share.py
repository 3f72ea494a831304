"""A part of a collection: the same part of each segment's rows, so that new segments move nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_nb.errors import BadValueError
from sage_nb.index.manifest import SegmentEntry


@dataclass(frozen=True)
class Share:
    """Part `number` (from 0) of `of`; the default is all of it.

    >>> [list(Share(number, 3).rows(7)) for number in range(3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    """

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise BadValueError(f"a share is numbered from 0 to {self.of - 1}, got {self.number}; there are {self.of}")

    def rows(self, count: int) -> range:
        """The rows that it has of a segment of `count`."""
        return range(self.number * count // self.of, (self.number + 1) * count // self.of)

    def nearest(self, segments: Sequence[SegmentEntry]) -> list[range]:
        """The rows of each segment among which it looks for the nearest vectors.

        An approximate index cannot be searched in part: the shares take turns with them, the largest first.
        """
        load = [0] * self.of
        spans = [self.rows(segment.rows) for segment in segments]
        whole = [at for at, entry in enumerate(segments) if entry.dense is not None and entry.dense.kind != "flat"]
        for at in sorted(whole, key=lambda at: (-segments[at].rows, segments[at].id)):
            taker = load.index(min(load))
            load[taker] += segments[at].rows
            spans[at] = range(segments[at].rows if taker == self.number else 0)
        return spans


WHOLE = Share()
