"""What travels between operators: batches of records, and the signs that keep order among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Batch:
    """Some records with what belongs to each: event time, key, round in a loop. A column is None where unused."""

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

    def extend(self, other: Batch) -> None:
        """Take `other`'s records behind its own; both have the same columns."""
        self.values += other.values
        if self.times is not None:
            self.times += other.times or ()
        if self.keys is not None:
            self.keys += other.keys or ()
        if self.rounds is not None:
            self.rounds += other.rounds or ()

    def fits(self, other: Batch) -> bool:
        """Whether both have the same columns."""
        return (
            (self.times is None) == (other.times is None)
            and (self.keys is None) == (other.keys is None)
            and (self.rounds is None) == (other.rounds is None)
        )

    def copy(self) -> Batch:
        """The same records in lists of its own."""
        return self.at(range(len(self.values)))


@dataclass(frozen=True)
class Watermark:
    """No record with an event time before `time` is still to come on this channel."""

    time: float


@dataclass(frozen=True)
class Idle:
    """Nothing comes on this channel for now: it does not hold the watermark back."""


@dataclass(frozen=True)
class Barrier:
    """Everything before it belongs to checkpoint `checkpoint`, nothing behind it does."""

    checkpoint: int


@dataclass(frozen=True)
class End:
    """The channel has no more records; barriers still come."""


@dataclass(frozen=True)
class Lap:
    """Goes round a loop behind all that was in it; `fed_back` counts what was sent round again since the last."""

    number: int
    fed_back: int = 0


Sign = Watermark | Idle | Barrier | End | Lap
Item = Batch | Sign
