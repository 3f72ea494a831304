"""Windows at work: time windows, sessions, and windows of counted records, each per key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial, reduce
from heapq import heappop, heappush
from itertools import count
from math import nextafter
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


def within(span: Span) -> float:
    """The last moment of a window: the time of its results, so that they fall into the same window further down."""
    return nextafter(span[1], span[0])


class Windowing(Operator):
    """The running half of a window over time; sessions merge, the others lie still."""

    spec: WindowSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._open: KeyedTable[Open] = KeyedTable(place.groups, lambda key: (key, {}))
        self._agenda = Agenda()
        self._now: tuple[Any, list[Span], list[Span]] = (None, [], [])  # a record's key and windows, and those grown
        self._wall = float("-inf")  # how far the wall's clock had come when it last rang
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
            spans, grown = self._spans(key, times[at])
            if not spans:
                late.append(at)
            else:
                self._now = key, spans, grown
                if self.guard.call(self._fold, value) is not LOST:
                    self.counters.passed += 1
                    out += self._overdue(key, spans)
            self._forget_if_empty(key)
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
            self._wall = now
            self._ring(now)

    def finish(self) -> None:
        """What is still open will get no more records."""
        self._wall = float("inf")
        self._ring(self._wall)

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

    @property
    def _reached(self) -> float:
        """How far the clock of these windows has come."""
        return self._wall if self._by_wall else self.watermark

    def _spans(self, key: Any, at: float) -> tuple[list[Span], list[Span]]:
        """The windows that a record of that time still finds open, and the sessions that grow into one with it."""
        windows = self.spec.windows
        if isinstance(windows, TimeWindows):
            return [span for span in windows.spans(at) if not self._gone(span)], []
        if isinstance(windows, SessionWindows):
            return self._session(key, (at, at + windows.gap))
        raise TypeError(windows)

    def _session(self, key: Any, span: Span) -> tuple[list[Span], list[Span]]:
        met = sorted(other for other in self._open.of(key)[1] if other[0] < span[1] and span[0] < other[1])
        grown = min([span[0], *(start for start, _ in met)]), max([span[1], *(end for _, end in met)])
        return ([] if self._gone(grown) else [grown]), ([] if met == [grown] else met)

    def _gone(self, span: Span) -> bool:
        return span[1] + self.spec.lateness <= self._reached

    def _fold(self, value: Any) -> None:
        """All or nothing: a record that fails, or is tried again, has left no trace."""
        key, spans, grown = self._now
        held, folding = self._open.of(key)[1], self.spec.folding
        folded = [folding.add(value, self._accumulated(held, grown or [span])) for span in spans]
        for span in grown:
            del held[span]
        for span, accumulator in zip(spans, folded, strict=True):
            if span in held:
                held[span][0] = accumulator
            else:
                held[span] = [accumulator, False]
                self._note(key, span)

    def _accumulated(self, held: dict[Span, list[Any]], spans: list[Span]) -> Any:
        """What these windows hold together."""
        found = [held[span][0] for span in spans if span in held]
        return reduce(self.spec.folding.merge, found) if found else self.spec.folding.create()

    def _note(self, key: Any, span: Span) -> None:
        self._agenda.add(span[1], key, span)
        if self.spec.lateness:
            self._agenda.add(span[1] + self.spec.lateness, key, span)

    def _overdue(self, key: Any, spans: list[Span]) -> list[Any]:
        """Results of windows that have ended already: given again with each record that came late."""
        ended = [span for span in spans if span[1] <= self._reached]
        return [each for span in ended for each in self._results(key, span)]

    def _ring(self, now: float) -> None:
        out: list[Any] = []
        for key, span in self._agenda.due(now):
            held = self._open.of(key)[1]
            window = held.get(span)  # None: grown into a longer session, or forgotten
            if window is not None and not window[1]:
                out += self._results(key, span)
            if window is not None and self._gone(span):
                del held[span]
            self._forget_if_empty(key)
        if out:
            self._give(out)

    def _results(self, key: Any, span: Span) -> list[Any]:
        window = self._open.of(key)[1][span]
        window[1] = True
        made = self.guard.call(partial(self.spec.folding.results, key, span), window[0], orphan=True)
        return [] if made is LOST else [(each, within(span)) for each in made]

    def _forget_if_empty(self, key: Any) -> None:
        if not self._open.of(key)[1]:
            self._open.drop(key)

    def _give(self, out: list[Any]) -> None:
        self.emit(Batch([value for value, _ in out], [time for _, time in out]))


class Counting(Operator):
    """The running half of a window over counted records."""

    spec: WindowSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._seen: KeyedTable[list[Any]] = KeyedTable(place.groups, lambda key: [key, 0, []])  # key, count, windows
        self._now: tuple[Any, float | None] = (None, None)  # key and time of the record being folded

    def open(self) -> None:
        """Nothing but the windows."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record into the windows that hold its number."""
        for at, value in enumerate(batch.values):
            key = batch.keys[at] if batch.keys is not None else None
            self._now = key, None if batch.times is None else batch.times[at]
            full = self.guard.call(self._fold, value)
            if full is not LOST:
                self.counters.passed += 1
                self._give(key, full)

    def finish(self) -> None:
        """Windows still open are given short."""
        for key, _, windows in list(self._seen.entries()):
            self._give(key, windows)
        self._seen.clear()

    def groups(self) -> dict[str, dict[int, Any]]:
        """By group: [key, count, [[first, length, accumulator, latest time], …]]."""
        return {"counts": {group: [list(entry) for entry in entries] for group, entries in self._seen.by_group()}}

    def restore(self, saved: Saved) -> None:
        """Windows of the groups owned."""
        super().restore(saved)
        self._seen.clear()
        for group, entries in saved.groups.get("counts", {}).items():
            for key, number, windows in entries if self.place.owns(group) else ():
                self._seen.of(key)[1:] = [number, windows]

    def _fold(self, value: Any) -> list[list[Any]]:
        """Fold a record in, into all or none; gives the windows that are full with it."""
        (key, time), windows, folding = self._now, self.spec.windows, self.spec.folding
        if not isinstance(windows, CountWindows):
            raise TypeError(windows)
        entry = self._seen.of(key)
        new = [[entry[1], 0, folding.create(), time]] if entry[1] % windows.slide == 0 else []
        folded = [
            [first, length + 1, folding.add(value, accumulator), _later(latest, time)]
            for first, length, accumulator, latest in (*entry[2], *new)
        ]
        entry[1:] = [entry[1] + 1, [window for window in folded if window[1] < windows.size]]
        return [window for window in folded if window[1] == windows.size]

    def _give(self, key: Any, windows: list[list[Any]]) -> None:
        for first, length, accumulator, latest in windows:
            given = partial(self.spec.folding.results, key, (first, first + length))
            made = self.guard.call(given, accumulator, orphan=True)
            if made is not LOST and (values := list(made)):
                self.emit(Batch(values, None if latest is None else [latest] * len(values)))


def _later(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)
