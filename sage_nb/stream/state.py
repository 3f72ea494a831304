"""Keyed state: what a function declares in `open`, and always sees as the current key's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Value = TypeVar("Value")
Held = TypeVar("Held", covariant=True)


class Cell(Protocol):
    """Where the runtime keeps one piece of state of the current key."""

    def read(self) -> Any:
        """What is there; None where nothing is, or where it is too old."""
        ...

    def write(self, value: Any) -> None:
        """Keep it; None forgets it."""
        ...


class State(Protocol[Held]):
    """A declared piece of state: its name, how long it lives, and the handle to it."""

    @property
    def name(self) -> str:
        """Unique within the operator."""
        ...

    @property
    def ttl(self) -> float | None:
        """Seconds after the last write until it is forgotten; None: never."""
        ...

    def handle(self, cell: Cell) -> Held:
        """What the function reads and writes."""
        ...


class ValueHandle(Generic[Value]):
    """One value per key."""

    def __init__(self, cell: Cell, default: Value) -> None:
        self._cell, self._default = cell, default

    def value(self) -> Value:
        """The current key's value."""
        held = self._cell.read()
        return deepcopy(self._default) if held is None else held[0]  # a list of one key must not be another's

    def update(self, value: Value) -> None:
        """Keep another."""
        self._cell.write([value])

    def clear(self) -> None:
        """Back to the default."""
        self._cell.write(None)


class ListHandle(Generic[Value]):
    """A list per key."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def get(self) -> list[Value]:
        """The current key's list, oldest first; a copy."""
        return list(self._cell.read() or ())

    def add(self, value: Value) -> None:
        """Append."""
        held = self._cell.read() or []
        held.append(value)
        self._cell.write(held)

    def update(self, values: list[Value]) -> None:
        """Keep these instead."""
        self._cell.write(list(values) or None)

    def clear(self) -> None:
        """Empty it."""
        self._cell.write(None)


class MapHandle(Generic[Value]):
    """A mapping per key."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def get(self, name: Any, default: Value | None = None) -> Value | None:
        """What lies under `name`."""
        return (self._cell.read() or {}).get(name, default)

    def put(self, name: Any, value: Value) -> None:
        """Keep `value` under `name`."""
        held = self._cell.read() or {}
        held[name] = value
        self._cell.write(held)

    def remove(self, name: Any) -> None:
        """Forget what lies under `name`, if anything does."""
        held = self._cell.read() or {}
        held.pop(name, None)
        self._cell.write(held or None)

    def items(self) -> Iterator[tuple[Any, Value]]:
        """Names and values, as they were first put; of a copy."""
        return iter(list((self._cell.read() or {}).items()))

    def __contains__(self, name: object) -> bool:
        return name in (self._cell.read() or {})

    def __len__(self) -> int:
        return len(self._cell.read() or ())

    def clear(self) -> None:
        """Empty it."""
        self._cell.write(None)


class ReducingHandle(Generic[Value]):
    """One value per key, into which each added one is folded."""

    def __init__(self, cell: Cell, reduce: Callable[[Value, Value], Value]) -> None:
        self._cell, self._reduce = cell, reduce

    def get(self) -> Value | None:
        """The fold of all that was added, None of nothing."""
        held = self._cell.read()
        return None if held is None else held[0]

    def add(self, value: Value) -> None:
        """Fold `value` in."""
        held = self._cell.read()
        self._cell.write([value if held is None else self._reduce(held[0], value)])

    def clear(self) -> None:
        """Back to nothing."""
        self._cell.write(None)


@dataclass(frozen=True)
class ValueState(Generic[Value]):
    """Declares one value per key, `default` where none was kept.

    >>> seen = ValueState("seen", default=0, ttl=3600)
    >>> from sage_nb.stream.testing import MemoryCell
    >>> held = ValueState("count", default=0).handle(MemoryCell())
    >>> held.update(held.value() + 1)
    >>> held.value()
    1
    """

    name: str
    default: Value = None  # type: ignore[assignment]
    ttl: float | None = None

    def handle(self, cell: Cell) -> ValueHandle[Value]:
        """`.value()`, `.update(value)`, `.clear()`."""
        return ValueHandle(cell, self.default)


@dataclass(frozen=True)
class ListState(Generic[Value]):
    """Declares a list per key.

    >>> history = ListState("history", ttl=3600)
    >>> from sage_nb.stream.testing import MemoryCell
    >>> held = ListState("history").handle(MemoryCell())
    >>> held.add("one")
    >>> held.add("two")
    >>> held.get()
    ['one', 'two']
    """

    name: str
    ttl: float | None = None

    def handle(self, cell: Cell) -> ListHandle[Value]:
        """`.get()`, `.add(value)`, `.update(values)`, `.clear()`."""
        return ListHandle(cell)


@dataclass(frozen=True)
class MapState(Generic[Value]):
    """Declares a mapping per key.

    >>> clicks = MapState("clicks by page")
    >>> from sage_nb.stream.testing import MemoryCell
    >>> held = MapState("clicks by page").handle(MemoryCell())
    >>> held.put("home", 3)
    >>> held.get("home"), "about" in held
    (3, False)
    """

    name: str
    ttl: float | None = None

    def handle(self, cell: Cell) -> MapHandle[Value]:
        """`.get(name)`, `.put(name, value)`, `.remove(name)`, `.items()`, `.clear()`, `in`, `len`."""
        return MapHandle(cell)


@dataclass(frozen=True)
class ReducingState(Generic[Value]):
    """Declares a fold per key.

    >>> total = ReducingState("total", lambda a, b: a + b)
    >>> from sage_nb.stream.testing import MemoryCell
    >>> held = ReducingState("total", lambda a, b: a + b).handle(MemoryCell())
    >>> held.add(2)
    >>> held.add(3)
    >>> held.get()
    5
    """

    name: str
    reduce: Callable[[Value, Value], Value]
    ttl: float | None = None

    def handle(self, cell: Cell) -> ReducingHandle[Value]:
        """`.get()`, `.add(value)`, `.clear()`."""
        return ReducingHandle(cell, self.reduce)
