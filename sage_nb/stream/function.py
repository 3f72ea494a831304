"""What an operator is: Flink's life cycle, and a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
Resource = TypeVar("Resource")


class Context(Protocol):
    """What a running function may ask of its runtime."""

    @property
    def subtask(self) -> int:
        """Index of this copy, from 0."""
        ...

    def get(self, kind: type[Resource], /) -> Resource:
        """The resource of that type which this process shares: its models, its collections."""
        ...


class MapFunction(Generic[In, Out]):
    """One value out for each value in: `open` once, `map` or `map_batch` many times, `close` once.

    Write whichever of the two maps is natural; each is defined by the other.

    >>> class Shout(MapFunction[str, str]):
    ...     def map(self, value):
    ...         return value.upper()
    >>> Shout().map_batch(["a", "b"])
    ['A', 'B']
    """

    def open(self, context: Context, /) -> None:
        """Acquire: load the model, open the index."""

    def map(self, value: In, /) -> Out:
        """The value that `value` becomes."""
        return self.map_batch([value])[0]

    def map_batch(self, batch: Sequence[In], /) -> list[Out]:
        """The values of a batch, in its order; as many as came."""
        return [self.map(value) for value in batch]

    def close(self) -> None:
        """Release what `open` took."""


class Chain(MapFunction[In, In]):
    """Functions in a row, fused: no queue between them."""

    def __init__(self, *links: MapFunction[In, In]) -> None:
        self.links = links

    def open(self, context: Context, /) -> None:
        """Open every link, first to last."""
        for link in self.links:
            link.open(context)

    def map_batch(self, batch: Sequence[In], /) -> list[In]:
        """Each link's output is the next one's input."""
        values = list(batch)
        for link in self.links:
            values = link.map_batch(values)
        return values

    def close(self) -> None:
        """Close every link, last to first."""
        for link in reversed(self.links):
            link.close()
