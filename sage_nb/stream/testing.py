"""A source for tests: crashes and ends are items in its data (as bytewax has them)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sage_nb.stream.source import STOP, SourceFunction


class Crash(Exception):  # noqa: N818  it is asked for, not an error of anyone's
    """What `ABORT` raises."""


class ABORT:
    """An item at which the source fails, the first time it comes to it."""

    def __init__(self) -> None:
        self.due = True


class EOF:
    """An item at which the source ends for this run; the next one reads on behind it."""

    def __init__(self) -> None:
        self.due = True


class TestingSource(SourceFunction[Any]):
    """The items of lists, one split each; `ABORT()` and `EOF()` among them do what they say, once.

    >>> list(TestingSource([1, 2], [3]).read("0", 1))
    [2]
    """

    __test__ = False

    def __init__(self, *splits: Sequence[Any]) -> None:
        self._splits = splits

    def __deepcopy__(self, memo: dict[int, Any]) -> TestingSource:
        return self  # a crash that has happened must be remembered beyond the attempt

    def splits(self) -> Sequence[str]:
        """Numbers."""
        return [str(at) for at in range(len(self._splits))]

    def read(self, split: str, start: int, /) -> Iterable[Any]:
        """The items that are records, from the `start`-th on."""
        at = 0
        for item in self._splits[int(split)]:
            if isinstance(item, (ABORT, EOF)):
                due, item.due = item.due and at >= start, False
                if due and isinstance(item, ABORT):
                    raise Crash(f"asked for after record {at} of split {split}")
                if due:
                    yield STOP
                continue
            if at >= start:
                yield item
            at += 1


class MemoryCell:
    """Where the state of one key lies, for testing what a function does with it, without a job.

    >>> cell = MemoryCell()
    >>> cell.write([3])
    >>> cell.read()
    [3]
    """

    def __init__(self) -> None:
        self._held: Any = None

    def read(self) -> Any:
        """What was written last; None where nothing was."""
        return self._held

    def write(self, value: Any) -> None:
        """Keep it."""
        self._held = value
