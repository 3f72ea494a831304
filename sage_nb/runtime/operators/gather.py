"""gather: one record of each of several streams, by key."""

from __future__ import annotations

from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.runtime.keyed import KeyedTable
from sage_nb.runtime.operators.guard import WrongReturnError
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import GatherSpec, Spec

Slots = list[Any]  # key, round in a loop or None, then for each stream [] or [its record], or its records


class Gathering(Operator):
    """The running half of `gather`: a tuple goes out when the last of its records comes."""

    spec: GatherSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._open: KeyedTable[Slots] = KeyedTable(place.groups, self._empty)

    def open(self) -> None:
        """Nothing but what is kept."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record into its key's tuple; those that are whole with it go out."""
        if batch.keys is None:
            raise BadValueError(f"operator {self.place.name!r} gathers by key; give gather() on=…")
        whole = [slots for at in range(len(batch)) if (slots := self._filled(batch, at, port)) is not None]
        self.counters.passed += len(batch)
        self._give(whole)

    def finish(self) -> None:
        """What is not whole will not become so: it goes out with None for what is missing."""
        left = list(self._open.entries())
        self._open.clear()
        self._give(left)

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: what is not whole yet."""
        return {"slots": {group: [list(slots) for slots in entries] for group, entries in self._open.by_group()}}

    def restore(self, saved: Saved) -> None:
        """Tuples of the groups owned."""
        super().restore(saved)
        self._open.clear()
        for group, entries in saved.groups.get("slots", {}).items():
            for slots in entries if self.place.owns(group) else ():
                self._open.of(slots[0])[:] = slots

    def _empty(self, key: Any) -> Slots:
        return [key, None, *([] for _ in range(self.spec.streams))]

    def _filled(self, batch: Batch, at: int, port: int) -> Slots | None:
        key = batch.keys[at] if batch.keys is not None else None
        slots = self._open.of(key)
        if slots[2 + port] and not (self.spec.count and port == self.spec.streams - 1):
            raise WrongReturnError(
                f"operator {self.place.name!r} got a second record of the key {key!r:.60} from stream {port}, before "
                f"the others brought their first; gather() takes one of each"
            )
        slots[2 + port] = [*slots[2 + port], batch.values[at]]
        if batch.rounds is not None:
            slots[1] = max(slots[1] or 0, batch.rounds[at])
        if not self._whole(slots):
            return None
        self._open.drop(key)
        return slots

    def _whole(self, slots: Slots) -> bool:
        if self.spec.count is None:
            return all(slots[2:])
        return all(slots[2:-1]) and len(slots[-1]) >= self.spec.count(slots[2][0])

    def _give(self, tuples: list[Slots]) -> None:
        if tuples:
            values = [self._tuple(slots[2:]) for slots in tuples]
            rounds = None if tuples[0][1] is None else [slots[1] for slots in tuples]
            self.emit(Batch(values, None, None, rounds))

    def _tuple(self, held: list[Any]) -> tuple[Any, ...]:
        if self.spec.count is None:
            return tuple(each[0] if each else None for each in held)
        return (*(each[0] if each else None for each in held[:-1]), *held[-1])
