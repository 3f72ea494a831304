"""Keyed state and timers of one subtask, by key group, so that any parallelism can take them over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from sage_nb.errors import BadValueError
from sage_nb.runtime.keys import KeyGroups
from sage_nb.stream.state import State

Entry = TypeVar("Entry")
Held = TypeVar("Held")


class KeyedTable(Generic[Entry]):
    """An entry for each key, made by `new` when the key is first seen."""

    def __init__(self, groups: KeyGroups, new: Callable[[Any], Entry]) -> None:
        self._groups, self._new = groups, new
        self._tables: dict[int, dict[bytes, Entry]] = {}

    def of(self, key: Any) -> Entry:
        """The key's entry."""
        code, group = self._groups.of(key)
        table = self._tables.get(group)
        if table is None:
            table = self._tables[group] = {}
        entry = table.get(code)
        if entry is None:
            entry = table[code] = self._new(key)
        return entry

    def drop(self, key: Any) -> None:
        """Forget the key's entry."""
        code, group = self._groups.of(key)
        self._tables.get(group, {}).pop(code, None)

    def group(self, key: Any) -> int:
        """The key's group."""
        return self._groups.of(key)[1]

    def by_group(self) -> Iterator[tuple[int, list[Entry]]]:
        """The entries, group by group."""
        return ((group, list(table.values())) for group, table in self._tables.items() if table)

    def entries(self) -> Iterator[Entry]:
        """All entries."""
        return (entry for table in self._tables.values() for entry in table.values())

    def clear(self) -> None:
        """Forget all."""
        self._tables.clear()


class KeyedStore:
    """The declared state of a function; `select` says whose it is now."""

    def __init__(self, groups: KeyGroups) -> None:
        self._table: KeyedTable[tuple[Any, dict[str, Any]]] = KeyedTable(groups, lambda key: (key, {}))
        self._ttl: dict[str, float | None] = {}
        self._kinds: dict[str, type] = {}
        self._names: set[str] = set()  # declared here, or found in a checkpoint
        self.key: Any = None
        self._current: dict[str, Any] | None = None

    @property
    def used(self) -> bool:
        """Whether any state was declared."""
        return bool(self._ttl)

    def declare(self, declared: State[Held]) -> Held:
        """The handle to a piece of state.

        Raises BadValueError where another kind of state has its name.
        """
        name, ttl = declared.name, declared.ttl
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not ttl > 0):
            raise BadValueError(f"the ttl of the state {name!r} must be more than 0 seconds, got {ttl!r}")
        if self._kinds.setdefault(name, type(declared)) is not type(declared) or self._ttl.get(name, ttl) != ttl:
            raise BadValueError(f"the state {name!r} is declared twice, and differently; give each state its own name")
        self._ttl[name] = ttl
        self._names.add(name)
        return declared.handle(StateCell(self, name, ttl))

    def select(self, key: Any) -> None:
        """From now on state is this key's; of the one before, an entry stays only if there is something in it."""
        if self._current is not None and not self._current:
            self._table.drop(self.key)
        self.key = key
        self._current = self._table.of(key)[1]

    def current(self) -> dict[str, Any]:
        """The current key's pieces: [written at, value] by name."""
        if self._current is None:
            raise BadValueError(
                "keyed state belongs to a key; read and write it in map, process or on_timer, not in open()"
            )
        return self._current

    def snapshot(self) -> dict[int, Any]:
        """By group: each piece's keys, times written and values, in columns; what is too old is left out.

        Columns of plain values are packed at a stroke: a third of the time that a mapping for each key takes.
        """
        now = time.time()
        found = ((group, self._columns(entries, now)) for group, entries in self._table.by_group())
        return {group: columns for group, columns in found if columns}

    def restore(self, groups: Mapping[int, Any]) -> None:
        """Exactly what these groups hold."""
        self._table.clear()
        self._current = None
        for columns in groups.values():
            self._names.update(columns)
            for name, held in columns.items():
                for key, written, value in zip(*held, strict=True):
                    self._table.of(key)[1][name] = [written, value]

    def _columns(self, entries: list[tuple[Any, dict[str, Any]]], now: float) -> dict[str, Any]:
        columns = {}
        for name in self._names:
            ttl = self._ttl.get(name)
            held = [(key, *pieces[name]) for key, pieces in entries if name in pieces]
            if ttl is not None:
                held = [each for each in held if now - each[1] < ttl]
            if held:
                columns[name] = [list(column) for column in zip(*held, strict=True)]
        return columns


class StateCell:
    """One piece of the current key's state."""

    def __init__(self, store: KeyedStore, name: str, ttl: float | None) -> None:
        self._store, self._name, self._ttl = store, name, ttl

    def read(self) -> Any:
        """What is there and not too old."""
        pieces = self._store.current()
        held = pieces.get(self._name)
        if held is None:
            return None
        if self._ttl is not None and time.time() - held[0] >= self._ttl:
            del pieces[self._name]
            return None
        return held[1]

    def write(self, value: Any) -> None:
        """Keep it, or forget it for None."""
        if value is None:
            self._store.current().pop(self._name, None)
        else:
            self._store.current()[self._name] = [time.time() if self._ttl is not None else 0.0, value]


class Timers:
    """Times at which keys want to be called, earliest first, each once."""

    def __init__(self, groups: KeyGroups) -> None:
        self._groups = groups
        self._set: dict[tuple[float, bytes], tuple[int, Any]] = {}
        self._heap: list[tuple[float, bytes]] = []

    def set(self, at: float, key: Any) -> None:
        """Call for this key at `at`."""
        code, group = self._groups.of(key)
        if (at, code) not in self._set:
            self._set[at, code] = (group, key)
            heappush(self._heap, (at, code))

    def clear(self, at: float, key: Any) -> None:
        """Not any more."""
        self._set.pop((at, self._groups.of(key)[0]), None)

    @property
    def next(self) -> float | None:
        """The earliest time set."""
        while self._heap and self._heap[0] not in self._set:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, Any]]:
        """Times up to `now` with their keys, taken out one by one; what is set meanwhile comes too, if due."""
        while (at := self.next) is not None and at <= now:
            _, key = self._set.pop(heappop(self._heap))
            yield at, key

    def taken(self) -> list[tuple[float, Any]]:
        """All times with their keys, earliest first; none is left."""
        taken = [(at, key) for (at, _), (_, key) in sorted(self._set.items(), key=lambda timer: timer[0])]
        self.restore({})
        return taken

    def __len__(self) -> int:
        return len(self._set)

    def snapshot(self) -> dict[int, Any]:
        """By group: [time, key]."""
        groups: dict[int, Any] = {}
        for (at, _), (group, key) in self._set.items():
            groups.setdefault(group, []).append([at, key])
        return groups

    def restore(self, groups: Mapping[int, Any]) -> None:
        """Exactly what these groups hold."""
        self._set.clear()
        self._heap.clear()
        for entries in groups.values():
            for at, key in entries:
                self.set(at, key)
