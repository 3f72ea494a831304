"""process: the general operator, with state, timers and side outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sage_nb.runtime.gate import FencedError
from sage_nb.runtime.keyed import Timers
from sage_nb.runtime.operators.apply import Applying
from sage_nb.runtime.operators.guard import LOST, MisuseError
from sage_nb.runtime.operators.running import Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.function import Clock
from sage_nb.stream.graph import MAIN, ProcessSpec, Spec

ENDLESS = 1_000  # timers that the last ones of a stream may set in turn, on average, before it is called endless


class Asked:
    """What a process function sees of the record at hand (a `ProcessContext`)."""

    def __init__(self, operator: Processing) -> None:
        self._operator = operator
        self.time: float | None = None
        self.round: int | None = None
        self.sides: list[tuple[str, Batch]] = []  # what goes out aside, once the function is through

    @property
    def key(self) -> Any:
        """The current key."""
        return self._operator.store.key

    @property
    def watermark(self) -> float:
        """How far event time has come."""
        return self._operator.watermark

    def output(self, name: str, value: object) -> None:
        """To a side output."""
        if name == MAIN:
            raise MisuseError("output() sends to side outputs; yield or return what goes to the main one")
        times = None if self.time is None else [self.time]
        self.sides.append((name, Batch([value], times, None, None if self.round is None else [self.round])))

    def set_timer(self, at: float, clock: Clock = "event") -> None:
        """Ring for the current key."""
        timers = self._timers(clock)
        if isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at):
            raise MisuseError(f"operator {self._operator.place.name!r} sets a timer at {at!r}; give it seconds")
        timers.set(float(at), self.key)

    def clear_timer(self, at: float, clock: Clock = "event") -> None:
        """Don't."""
        self._timers(clock).clear(at, self.key)

    def _timers(self, clock: Clock) -> Timers:
        if not self._operator.place.keyed:
            raise MisuseError(
                f"operator {self._operator.place.name!r} sets a timer on a stream without keys; put .key_by(…)"
            )
        if clock not in self._operator.timers:
            name = self._operator.place.name
            raise MisuseError(f"operator {name!r} sets a timer on the clock {clock!r}; it is 'event' or 'processing'")
        return self._operator.timers[clock]


class Processing(Applying):
    """The running half of `process`."""

    spec: ProcessSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.timers = {clock: Timers(place.groups) for clock in ("event", "processing")}
        self._asked = Asked(self)

    def handle(self, batch: Batch, port: int) -> None:
        """Each record with its key and time; what comes of it goes out before the next is looked at."""
        made: list[Any] = []
        origins: list[int] = []
        asked, keys, times, rounds = self._asked, batch.keys, batch.times, batch.rounds
        call, process, select = self.guard.call, self._process, self.store.select
        for at, value in enumerate(batch.values):
            asked.time = None if times is None else times[at]
            asked.round = None if rounds is None else rounds[at]
            if keys is not None:
                select(keys[at])
            results = call(process, value)
            if asked.sides:
                self._aside(results)
            if results is not LOST:
                self.counters.passed += 1
                made += results
                origins += [at] * len(results)
        if made:
            out = batch.picked(made, origins)
            self.emit(Batch(made, out.times, None, out.rounds))

    def advance(self, watermark: float) -> None:
        """Ring the timers that are due."""
        super().advance(watermark)
        due = self.timers["event"].due(watermark)
        self._ring("event", due if watermark < math.inf else self._last(due))

    @property
    def deadline(self) -> float | None:
        """The next timer on the wall's clock, or a batch that has waited."""
        known = [at for at in (super().deadline, self.timers["processing"].next) if at is not None]
        return min(known, default=None)

    def wake(self, now: float) -> None:
        """Timers of the wall's clock."""
        super().wake(now)
        self._ring("processing", self.timers["processing"].due(now))

    def finish(self) -> None:
        """No time is left to wait for: all timers ring; one of the wall's clock that is set by then does not."""
        self._ring("processing", self.timers["processing"].taken())

    def groups(self) -> dict[str, dict[int, Any]]:
        """State, and timers of both clocks."""
        timers = {f"timers.{clock}": timers.snapshot() for clock, timers in self.timers.items()}
        return {**super().groups(), **timers}

    def restore(self, saved: Saved) -> None:
        """State and timers of the groups owned."""
        super().restore(saved)
        for clock, timers in self.timers.items():
            held = saved.groups.get(f"timers.{clock}", {})
            timers.restore({group: entries for group, entries in held.items() if self.place.owns(group)})

    def _process(self, value: Any) -> list[Any]:
        return self._attempt(self._function.process, value)

    def accepted(self, made: Any) -> list[Any]:
        """Records, or None for none."""
        return [] if made is None else self.listed(made)

    def _ring(self, clock: str, due: Iterable[tuple[float, Any]]) -> None:
        for at, key in due:
            self.store.select(key)
            self._asked.time, self._asked.round = at if clock == "event" else None, None
            made = self._aside(self.guard.call(self._rung, at, orphan=True))
            if made is not LOST and made:
                times = [at] * len(made) if clock == "event" else None
                self.emit(Batch(made, times))

    def _rung(self, at: float) -> list[Any]:
        return self._attempt(self._function.on_timer, at)

    def _attempt(self, function: Callable[[Any, Asked], Any], value: Any) -> list[Any]:
        try:
            return self.accepted(function(value, self._asked))
        except Exception:
            self._asked.sides.clear()  # of a record that fails, or is tried again, nothing went aside
            raise

    def _aside(self, made: Any) -> Any:
        """Send on what went aside."""
        sides, self._asked.sides = self._asked.sides, []
        for name, batch in sides:
            self.emit(batch, name)
        return made

    def _last(self, due: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
        """The timers that ring at the end of time, and those they set; not for ever."""
        most = ENDLESS * (1 + len(self.timers["event"]))
        for number, timer in enumerate(due):
            if self.guard.halt.is_set():
                raise FencedError
            if number >= most:
                raise MisuseError(
                    f"operator {self.place.name!r} sets a timer each time that one rings, and at the end of the stream "
                    f"all timers ring, this one for {timer[0]:g}; set none when context.watermark is infinite"
                )
            yield timer
