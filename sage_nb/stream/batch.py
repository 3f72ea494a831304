"""What travels between operators: batches of records, and the signs that keep order among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

FULL: Final = 256  # records of a full batch
FROZEN: Final = frozenset((type(None), bool, int, float, str, bytes))
HEAVY: Final = 65_536  # bytes of a full batch, where so many records would weigh more


class Batch:
    """Some records with what belongs to each: event time, key, round in a loop. A column is None where unused.

    A batch is never changed once it is made, so operators, branches and subtasks may share one, and its columns: that
    spares copies (0.04 µs a record and reader). Functions of users get lists of their own; and since some change the
    very records they are given, readers of the same output get copies of records that are plain, changeable data.
    """

    __slots__ = ("keys", "rounds", "times", "values")

    def __init__(
        self,
        values: list[Any],
        times: list[float] | None = None,
        keys: list[Any] | None = None,
        rounds: list[int] | None = None,
    ) -> None:
        self.values, self.times, self.keys, self.rounds = values, times, keys, rounds

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Batch({self.values!r:.60}, times={self.times!r:.40})"

    def holding(self, values: list[Any]) -> Batch:
        """The same columns under other values, one for each."""
        return Batch(values, self.times, self.keys, self.rounds)

    def picked(self, values: list[Any], origins: Sequence[int]) -> Batch:
        """`values`, each with the columns of the record at its origin."""
        return Batch(
            values,
            None if self.times is None else [self.times[at] for at in origins],
            None if self.keys is None else [self.keys[at] for at in origins],
            None if self.rounds is None else [self.rounds[at] for at in origins],
        )

    def at(self, origins: Sequence[int]) -> Batch:
        """The records at these places."""
        values = self.values
        return self.picked([values[at] for at in origins], origins)

    def cut(self, part: slice) -> Batch:
        """The records of a slice."""
        return Batch(
            self.values[part],
            None if self.times is None else self.times[part],
            None if self.keys is None else self.keys[part],
            None if self.rounds is None else self.rounds[part],
        )

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """The records of all, in their order; all have the same columns.

        >>> Batch.joined([Batch([1], [0.5]), Batch([2, 3], [1.5, 2.5])]).times
        [0.5, 1.5, 2.5]
        """
        if len(batches) == 1:
            return batches[0]
        return cls(
            [each for batch in batches for each in batch.values],
            None if batches[0].times is None else [each for batch in batches for each in batch.times or ()],
            None if batches[0].keys is None else [each for batch in batches for each in batch.keys or ()],
            None if batches[0].rounds is None else [each for batch in batches for each in batch.rounds or ()],
        )

    def fits(self, other: Batch) -> bool:
        """Whether both have the same columns."""
        return (
            (self.times is None) == (other.times is None)
            and (self.keys is None) == (other.keys is None)
            and (self.rounds is None) == (other.rounds is None)
        )

    def copies(self, count: int) -> list[Batch]:
        """The batch for so many readers: itself for the last; what the others get can be changed without its notice."""
        if count < 2 or FROZEN.issuperset(map(type, self.values)):
            return [self] * count
        return [*(self.holding([apart(value) for value in self.values]) for _ in range(count - 1)), self]

    @property
    def heavy(self) -> int:
        """How many records like these weigh as much as a batch may, as far as the outer ones show it.

        >>> Batch(["x" * 900]).heavy > 64, Batch(["x" * 30_000]).heavy, Batch(["x" * 90_000]).heavy
        (True, 2, 1)
        """
        outer = (self.values[0], self.values[-1]) if len(self.values) > 1 else self.values
        return max(1, HEAVY // max(1, *map(weight, outer)))

    def pieces(self) -> list[Batch]:
        """The batch, or full ones of its records where they are more than that.

        >>> [len(piece) for piece in Batch(range(600)).pieces()]
        [256, 256, 88]
        """
        if len(self) <= FULL:
            return [self]
        return [self.cut(slice(at, at + FULL)) for at in range(0, len(self), FULL)]


def apart(value: Any) -> Any:
    """A copy of plain data and arrays that shares nothing changeable with it; other objects are shared.

    >>> record = {"tags": ["a"]}
    >>> copy = apart(record)
    >>> copy["tags"].append("b")
    >>> record
    {'tags': ['a']}
    """
    kind = type(value)
    if kind in FROZEN:
        return value
    if kind is dict:
        return {key: apart(each) for key, each in value.items()}
    if kind in (list, tuple):
        return kind(map(apart, value))
    return value.copy() if kind in (set, np.ndarray) else value


def weight(value: Any, depth: int = 5) -> int:
    """About how many bytes a record takes, by the text and arrays in it; of a long list, by its first few.

    >>> weight({"text": "four", "tags": ["one", "two"]}), weight(7)
    (42, 8)
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    elif isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)) and value and depth:
        few = value[:16]
        return len(value) * (8 + sum(weight(each, depth - 1) for each in few) // len(few))
    return getattr(value, "nbytes", 8)


@dataclass(frozen=True)
class Watermark:
    """No record with an event time before `time` is still to come on this channel."""

    time: float


@dataclass(frozen=True)
class Idle:
    """Nothing comes on this channel for now: it does not hold the watermark back."""


@dataclass(frozen=True)
class Barrier:
    """Everything before it belongs to checkpoint `checkpoint`, kept at `where`; nothing behind it does."""

    checkpoint: int
    where: str | None = None  # a folder; "": in memory; None: nowhere


@dataclass(frozen=True)
class End:
    """The channel has no more records; barriers still come."""


@dataclass(frozen=True)
class Lap:
    """Goes round a loop behind all that was in it; `fed_back` counts what was sent round again since the lap before.

    `old` are those of them that came into the loop before lap 1; `ended`: no more can come in. The `last` one says that
    the loop is empty: what still comes of its operators' ends leaves it.
    """

    number: int
    fed_back: int = 0
    old: int = 0
    ended: bool = False
    last: bool = False


Sign = Watermark | Idle | Barrier | End | Lap
Item = Batch | Sign
