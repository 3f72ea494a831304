"""Joins of two keyed inputs: in windows, or within an interval of time."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.runtime.keyed import KeyedTable
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.runtime.operators.windows import Agenda, within
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import LATE, IntervalJoinSpec, Spec, WindowJoinSpec
from sage_nb.stream.window import Span

Sides = tuple[Any, dict[Span, tuple[list[Any], list[Any]]]]
Kept = tuple[Any, tuple[list[list[Any]], list[list[Any]]]]  # a key with [time, record] of either side


class Joining(Operator):
    """What both joins share: records need times and keys; what comes too late goes aside."""

    def open(self) -> None:
        """Nothing but what is kept."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record to its partners."""
        if batch.times is None or batch.keys is None:
            raise BadValueError(
                f"operator {self.place.name!r} joins by event time and its records have none; "
                f"give the sources a watermark=, or put .with_times(…) before it"
            )
        late = [
            at
            for at, (key, time, value) in enumerate(zip(batch.keys, batch.times, batch.values, strict=True))
            if not self.take(key, time, value, port)
        ]
        self.counters.passed += len(batch) - len(late)
        if late:
            self.counters.late += len(late)
            self.emit(batch.at(late), LATE)

    def take(self, key: Any, time: float, value: Any, port: int) -> bool:
        """Keep and pair a record; False where it is too late."""
        raise NotImplementedError


class WindowJoining(Joining):
    """The running half of a join in windows: pairs go out when their window ends."""

    spec: WindowJoinSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._open: KeyedTable[Sides] = KeyedTable(place.groups, lambda key: (key, {}))
        self._agenda = Agenda()

    def take(self, key: Any, time: float, value: Any, port: int) -> bool:
        """Into the windows that are still open."""
        spans = [span for span in self.spec.windows.spans(time) if span[1] > self.watermark]
        for span in spans:
            held = self._open.of(key)[1]
            if span not in held:
                held[span] = ([], [])
                self._agenda.add(span[1], key, span)
            held[span][port].append(value)
        return bool(spans)

    def advance(self, watermark: float) -> None:
        """Windows that end by now."""
        super().advance(watermark)
        for key, span in self._agenda.due(watermark):
            held = self._open.of(key)[1]
            pairs = self._pairs(*held.pop(span))
            if not held:
                self._open.drop(key)
            if pairs:
                self.emit(Batch(pairs, [within(span)] * len(pairs)))

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: [key, [start, end, left, right], …]."""
        return {
            "sides": {
                group: [[key, [[*span, *sides] for span, sides in spans.items()]] for key, spans in entries]
                for group, entries in self._open.by_group()
            }
        }

    def restore(self, saved: Saved) -> None:
        """Windows of the groups owned."""
        super().restore(saved)
        self._open.clear()
        self._agenda = Agenda()
        for group, entries in saved.groups.get("sides", {}).items():
            for key, spans in entries if self.place.owns(group) else ():
                for start, end, left, right in spans:
                    self._open.of(key)[1][start, end] = (left, right)
                    self._agenda.add(end, key, (start, end))

    def _pairs(self, left: list[Any], right: list[Any]) -> list[tuple[Any, Any]]:
        lefts = left or ([None] if self.spec.how in ("right", "outer") else [])
        rights = right or ([None] if self.spec.how in ("left", "outer") else [])
        return [(one, other) for one in lefts for other in rights]


class IntervalJoining(Joining):
    """The running half of a join by interval: a pair goes out when its second record comes."""

    spec: IntervalJoinSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._kept: KeyedTable[Kept] = KeyedTable(place.groups, lambda key: (key, ([], [])))
        self._expiring: list[tuple[float, int, Any]] = []
        self._order = count()

    def take(self, key: Any, time: float, value: Any, port: int) -> bool:
        """Pair with what the other side has kept, then keep."""
        if time < self.watermark:
            return False
        sides = self._kept.of(key)[1]
        partners = [held for held in sides[1 - port] if self._meets(time, held[0], port)]
        pairs = [(value, held[1]) if port == 0 else (held[1], value) for held in partners]
        if pairs:
            self.emit(Batch(pairs, [max(time, held[0]) for held in partners]))
        sides[port].append([time, value])
        self._note(key, time, port)
        return True

    def advance(self, watermark: float) -> None:
        """Records that no later one can meet are forgotten."""
        super().advance(watermark)
        while self._expiring and self._expiring[0][0] < watermark:
            _, _, key = heappop(self._expiring)
            sides = self._kept.of(key)[1]
            for port in (0, 1):
                sides[port][:] = [held for held in sides[port] if self._expiry(held[0], port) >= watermark]
            if not any(sides):
                self._kept.drop(key)

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: [key, left, right]."""
        return {
            "kept": {
                group: [[key, left, right] for key, (left, right) in entries]
                for group, entries in self._kept.by_group()
            }
        }

    def restore(self, saved: Saved) -> None:
        """Records of the groups owned."""
        super().restore(saved)
        self._kept.clear()
        self._expiring.clear()
        for group, entries in saved.groups.get("kept", {}).items():
            for key, *kept in entries if self.place.owns(group) else ():
                for port, side in enumerate(kept):
                    self._kept.of(key)[1][port].extend(side)
                    for time, _ in side:
                        self._note(key, time, port)

    def _meets(self, time: float, other: float, port: int) -> bool:
        """Neither comes after the other has expired; the same sums decide both, or rounding would part them."""
        return other <= self._expiry(time, port) and time <= self._expiry(other, 1 - port)

    def _expiry(self, time: float, port: int) -> float:
        """The latest time at which a partner can come."""
        return time + self.spec.upper if port == 0 else time - self.spec.lower

    def _note(self, key: Any, time: float, port: int) -> None:
        heappush(self._expiring, (self._expiry(time, port), next(self._order), key))
