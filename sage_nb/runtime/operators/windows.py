"""Windows at work: time windows, sessions, and windows of counted records, each per key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.runtime.keyed import KeyedTable
from sage_nb.runtime.operators.guard import LOST
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import LATE, Spec, WindowSpec
from sage_nb.stream.window import CountWindows, SessionWindows, Span, TimeWindows

Open = tuple[Any, dict[Span, list[Any]]]  # a key with its windows: accumulator, and whether it was given


class Agenda:
    """Windows by the time at which something is due for them; what is due twice is asked about twice."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, int, Any, Span]] = []
        self._order = count()

    def add(self, at: float, key: Any, span: Span) -> None:
        """Something is due for this key's window at `at`."""
        heappush(self._heap, (at, span[0], next(self._order), key, span))

    @property
    def next(self) -> float | None:
        """The earliest time."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[Any, Span]]:
        """Keys and windows due by `now`, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            *_, key, span = heappop(self._heap)
            yield key, span


class Windowing(Operator):
    """The running half of a window over time; sessions merge, the others lie still."""

    spec: WindowSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._open: KeyedTable[Open] = KeyedTable(place.groups, lambda key: (key, {}))
        self._agenda = Agenda()
        self._now: tuple[Any, list[Span]] = (None, [])  # whose record is being folded
        windows = self.spec.windows
        self._by_wall = not isinstance(windows, CountWindows) and windows.clock == "processing"

    def open(self) -> None:
        """Nothing but the windows."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record into its windows; one whose windows are all past is late."""
        times, late, out = self._times(batch), [], []
        for at, value in enumerate(batch.values):
            key = batch.keys[at] if batch.keys is not None else None
            spans = self._spans(key, times[at])
            if not spans:
                late.append(at)
                continue
            self._now = key, spans
            if self.guard.call(self._fold, value) is not LOST:
                self.counters.passed += 1
                out += self._overdue(key, spans)
        if out:
            self._give(out)
        if late:
            self.counters.late += len(late)
            self.emit(batch.at(late), LATE)

    def advance(self, watermark: float) -> None:
        """Windows that end by now give their results; those past their lateness are forgotten."""
        super().advance(watermark)
        if not self._by_wall:
            self._ring(watermark)

    @property
    def deadline(self) -> float | None:
        """The next window's end on the wall's clock."""
        return self._agenda.next if self._by_wall else None

    def wake(self, now: float) -> None:
        """Windows of the wall's clock."""
        if self._by_wall:
            self.watermark = now
            self._ring(now)

    def finish(self) -> None:
        """What is still open will get no more records."""
        self._ring(float("inf"))

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: [key, [start, end, accumulator, given], …]."""
        return {
            "windows": {
                group: [[key, [[*span, *window] for span, window in spans.items()]] for key, spans in entries]
                for group, entries in self._open.by_group()
            }
        }

    def restore(self, saved: Saved) -> None:
        """Windows of the groups owned."""
        super().restore(saved)
        self._open.clear()
        self._agenda = Agenda()
        for group, entries in saved.groups.get("windows", {}).items():
            for key, spans in entries if self.place.owns(group) else ():
                for start, end, *window in spans:
                    self._open.of(key)[1][start, end] = window
                    self._note(key, (start, end))

    def _times(self, batch: Batch) -> list[float]:
        if self._by_wall:
            return [time.time()] * len(batch)
        if batch.times is None:
            raise BadValueError(
                f"operator {self.place.name!r} windows by event time and its records have none; "
                f"give the source a watermark=, or put .with_times(…) before it"
            )
        return batch.times

    def _spans(self, key: Any, at: float) -> list[Span]:
        """The windows that a record of that time still finds open; a session grows to hold it."""
        windows, closed = self.spec.windows, self.watermark - self.spec.lateness
        if isinstance(windows, TimeWindows):
            return [span for span in windows.spans(at) if span[1] > closed]
        if isinstance(windows, SessionWindows):
            return self._session(key, (at, at + windows.gap), closed)
        raise TypeError(windows)

    def _session(self, key: Any, span: Span, closed: float) -> list[Span]:
        held = self._open.of(key)[1]
        met = [other for other in held if other[0] < span[1] and span[0] < other[1]]
        grown = (min(span[0], *(s for s, _ in met)), max(span[1], *(e for _, e in met))) if met else span
        if grown[1] <= closed:
            self._forget_if_empty(key)
            return []
        if met and met != [grown]:
            merged, _ = held.pop(met[0])
            for other in met[1:]:
                merged = self.spec.folding.merge(merged, held.pop(other)[0])
            held[grown] = [merged, False]
            self._note(key, grown)
        return [grown]

    def _fold(self, value: Any) -> None:
        key, spans = self._now
        held, folding = self._open.of(key)[1], self.spec.folding
        for span in spans:
            window = held.get(span)
            if window is None:
                held[span] = [folding.add(value, folding.create()), False]
                self._note(key, span)
            else:
                window[0] = folding.add(value, window[0])

    def _note(self, key: Any, span: Span) -> None:
        self._agenda.add(span[1], key, span)
        if self.spec.lateness:
            self._agenda.add(span[1] + self.spec.lateness, key, span)

    def _overdue(self, key: Any, spans: list[Span]) -> list[Any]:
        """Results of windows that have ended already: given again with each record that came late."""
        ended = [span for span in spans if span[1] <= self.watermark]
        return [each for span in ended for each in self._results(key, span)]

    def _ring(self, now: float) -> None:
        out: list[Any] = []
        for key, span in self._agenda.due(now):
            held = self._open.of(key)[1]
            window = held.get(span)  # None: grown into a longer session, or forgotten
            if window is not None and not window[1]:
                out += self._results(key, span)
            if window is not None and span[1] + self.spec.lateness <= now:
                del held[span]
            self._forget_if_empty(key)
        if out:
            self._give(out)

    def _results(self, key: Any, span: Span) -> list[Any]:
        window = self._open.of(key)[1][span]
        window[1] = True
        made = self.guard.call(partial(self.spec.folding.results, key, span), window[0], orphan=True)
        return [] if made is LOST else [(each, span[1]) for each in made]

    def _forget_if_empty(self, key: Any) -> None:
        if not self._open.of(key)[1]:
            self._open.drop(key)

    def _give(self, out: list[Any]) -> None:
        self.emit(Batch([value for value, _ in out], [end for _, end in out]))


class Counting(Operator):
    """The running half of a window over counted records."""

    spec: WindowSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._seen: KeyedTable[list[Any]] = KeyedTable(place.groups, lambda key: [key, 0, []])  # key, count, windows
        self._key: Any = None

    def open(self) -> None:
        """Nothing but the windows."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record into the windows that hold its number."""
        for at, value in enumerate(batch.values):
            self._key = batch.keys[at] if batch.keys is not None else None
            full = self.guard.call(self._fold, value)
            if full is not LOST:
                self.counters.passed += 1
                self._give(self._key, full, None if batch.times is None else batch.times[at])

    def finish(self) -> None:
        """Windows still open are given short."""
        for key, _, windows in list(self._seen.entries()):
            self._give(key, windows, None)
        self._seen.clear()

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: [key, count, [[first, length, accumulator], …]]."""
        return {"counts": {group: [list(entry) for entry in entries] for group, entries in self._seen.by_group()}}

    def restore(self, saved: Saved) -> None:
        """Windows of the groups owned."""
        super().restore(saved)
        self._seen.clear()
        for group, entries in saved.groups.get("counts", {}).items():
            for key, number, windows in entries if self.place.owns(group) else ():
                self._seen.of(key)[1:] = [number, windows]

    def _fold(self, value: Any) -> list[list[Any]]:
        """Fold a record in; gives the windows that are full with it."""
        entry, windows, folding = self._seen.of(self._key), self.spec.windows, self.spec.folding
        if not isinstance(windows, CountWindows):
            raise TypeError(windows)
        if entry[1] % windows.slide == 0:
            entry[2].append([entry[1], 0, folding.create()])
        entry[1] += 1
        for window in entry[2]:
            window[2] = folding.add(value, window[2])
            window[1] += 1
        full = [window for window in entry[2] if window[1] == windows.size]
        entry[2] = entry[2][len(full) :]
        return full

    def _give(self, key: Any, windows: list[list[Any]], time: float | None) -> None:
        for first, length, accumulator in windows:
            given = partial(self.spec.folding.results, key, (first, first + length))
            made = self.guard.call(given, accumulator, orphan=True)
            if made is not LOST and (values := list(made)):
                self.emit(Batch(values, None if time is None else [time] * len(values)))
