"""Sources: splits of records that can be read again from any place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sage_nb.errors import BadValueError
from sage_nb.records.load import load
from sage_nb.stream.function import Function

Out = TypeVar("Out")


class _Word:
    """The type of `IDLE` and `STOP`.

    >>> class Polled(SourceFunction[str]):
    ...     def read(self, split, start):
    ...         yield from ["first", IDLE, "second"][start:]
    >>> list(Polled().read("0", 0))
    ['first', IDLE, 'second']
    """

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


IDLE: Final = _Word("IDLE")  # a source yields it to say: nothing now, ask again
STOP: Final = _Word("STOP")  # and this: nothing more in this run; the next one, from its checkpoint, reads on behind it


class SourceFunction(Function, Generic[Out]):
    """Records in splits. Reading a split again must give the same records: that is what exactly-once rests on.

    A source that waits for the outside yields `IDLE` now and then, so that a checkpoint need not wait with it.

    >>> class Squares(SourceFunction[int]):
    ...     def read(self, split, start):
    ...         yield from (n * n for n in range(start, 10))
    >>> squares = Squares()
    >>> list(squares.read("0", 8)), squares.splits()
    ([64, 81], ('0',))
    >>> squares.replayable, squares.at_hand, squares.at_home
    (True, False, False)
    >>> squares.resume(["0"])  # a checkpoint knows this split: nothing to object to
    """

    @property
    def replayable(self) -> bool:
        """Whether a split can be read again."""
        return True

    @property
    def at_hand(self) -> bool:
        """Whether all records lie there, so that reading the next one never waits and never gives `IDLE`."""
        return False

    @property
    def at_home(self) -> bool:
        """Whether it must run in the process that made it."""
        return False

    def splits(self) -> Sequence[str]:
        """Names of the splits; they are shared out among the subtasks."""
        return ("0",)

    def resume(self, known: Sequence[str], /) -> None:
        """Look at the names of the splits that a checkpoint knows, before any is read on.

        Raises BadValueError where this is not the source that they are of.
        """

    def read(self, split: str, start: int, /) -> Iterable[Out]:
        """The records of `split` from number `start` (from 0) on."""
        raise NotImplementedError


class CollectionSource(SourceFunction[Out]):
    """The items of a sequence, dealt out to `parts` splits; or of what a function returns, or an iterator gives."""

    def __init__(self, items: Iterable[Out] | Callable[[], Iterable[Out]], parts: int = 1) -> None:
        if isinstance(items, (str, bytes, Mapping)) or not (callable(items) or isinstance(items, Iterable)):
            raise BadValueError(
                f"from_collection() takes a list, an iterator or a function that returns one, got {items!r:.60}"
            )
        self._items, self._parts, self._begun = items, parts, False
        if parts > 1 and not isinstance(items, Sequence):
            raise BadValueError(f"only a list can be dealt out to {parts} splits; pass a list, or parallelism=1")

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectionSource[Out]:
        return self  # it only reads; a generator could not be copied

    @property
    def replayable(self) -> bool:
        """An iterator is gone once read."""
        return callable(self._items) or not isinstance(self._items, Iterator)

    @property
    def at_home(self) -> bool:
        """An iterator cannot leave its process."""
        return not self.replayable

    @property
    def at_hand(self) -> bool:
        """What a function returns, or an iterator gives, may take its time."""
        return type(self._items) in (list, tuple, range)

    def splits(self) -> Sequence[str]:
        """Number and how many there are: `0/1` is the whole."""
        return [f"{part}/{self._parts}" for part in range(self._parts)]

    def resume(self, known: Sequence[str], /) -> None:
        """The splits of a list are of one number.

        Raises BadValueError where it was dealt out otherwise.
        """
        then = {name.partition("/")[2] for name in known} - {str(self._parts)}
        if then:
            raise BadValueError(
                f"the list of from_collection() was dealt out to {min(then)} subtasks when the checkpoint was taken "
                f"and is now to {self._parts}; give it parallelism={min(then)} again"
            )

    def read(self, split: str, start: int, /) -> Iterable[Out]:
        """Every `parts`-th item.

        Raises BadValueError for an iterator that was read before.
        """
        part = split.partition("/")[0]
        if isinstance(self._items, Iterator):
            if self._begun:
                raise BadValueError(
                    "from_collection() was given an iterator, which an earlier run has read; "
                    "give it a list, or a function that returns the iterator"
                )
            self._begun = True
        items = self._items() if callable(self._items) else self._items
        if isinstance(items, Sequence):
            return islice(_every(items, int(part), self._parts), start, None)
        return islice(items, start, None)


class FileSource(SourceFunction[Any]):
    """The records of files: a split each. `read` makes records of a path; by default `sage_nb.load`."""

    def __init__(self, pattern: str | Path, read: Callable[[Path], Iterable[Any]] = load) -> None:
        self._pattern, self._read = Path(pattern), read

    def splits(self) -> Sequence[str]:
        """The files, in the order of their names.

        Raises BadValueError where there is none.
        """
        folder = Path(self._pattern.anchor) if self._pattern.is_absolute() else Path()
        pattern = str(self._pattern.relative_to(self._pattern.anchor)) if self._pattern.is_absolute() else None
        found = sorted(str(path) for path in folder.glob(pattern or str(self._pattern)) if path.is_file())
        if not found:
            raise BadValueError(f"no file matches {str(self._pattern)!r}; look at the folder and the pattern")
        return found

    def read(self, split: str, start: int, /) -> Iterable[Any]:
        """The file's records, the first `start` passed over."""
        return islice(self._read(Path(split)), start, None)


def _every(items: Sequence[Out], first: int, step: int) -> Iterator[Out]:
    return iter(items) if step == 1 else (items[at] for at in range(first, len(items), step))
