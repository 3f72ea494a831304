"""Event time given to records: by a source, or behind it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from sage_nb.runtime.operators.guard import LOST, Guard, WrongReturnError, shown
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import Spec, TimesSpec
from sage_nb.stream.time import FOREVER, WatermarkStrategy


class Timing(Operator):
    """The running half of `with_times`: it takes no notice of the watermarks from before."""

    spec: TimesSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.time = self.reached = -FOREVER  # how far event time has said to have come, and has come
        self._records = 0
        self._last = time.time()
        self.idle = False

    def open(self) -> None:
        """Nothing to open."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Each record with its time."""
        out, self.reached = timed(self.guard, self.spec.watermark, batch, self.reached)
        self._last, self.idle = time.time(), False
        self._records += len(batch)
        if self._records % (self.spec.watermark.every or 1) == 0:
            self.time = self.reached
        self.counters.passed += len(out)
        if out.values:
            self.emit(out)

    def accepted(self, made: Any) -> Any:
        """An event time."""
        return stand_in(made, self.place.name)

    @property
    def deadline(self) -> float | None:
        """When it is idle, if no record comes."""
        after = self.spec.watermark.idle_after
        return None if after is None or self.idle else self._last + after

    def wake(self, now: float) -> None:
        """Nothing has come for so long."""
        self.idle = True

    def own(self) -> Any:
        """How far event time has come, and how many records have."""
        return [self.time, self.reached, self._records]

    def cut(self, batch: Batch) -> Iterator[Batch]:
        """The batch in parts, each no further than to the next watermark."""
        every, done = self.spec.watermark.every or len(batch), 0
        while done < len(batch):
            upto = min(len(batch), done + every - self._records % every)
            yield batch.cut(slice(done, upto))
            done = upto

    def restore(self, saved: Saved) -> None:
        """At another parallelism, the least of all: nothing becomes late by it."""
        super().restore(saved)
        same = saved.parallelism == self.place.parallelism
        mine = [saved.own[self.place.subtask]] if same else list(saved.own.values())
        self.time, self.reached, self._records = (
            (min(column) for column in zip(*mine, strict=True)) if mine else (-FOREVER, -FOREVER, 0)
        )


def timed(guard: Guard, strategy: WatermarkStrategy, batch: Batch, reached: float) -> tuple[Batch, float]:
    """The batch with event times, less the records that have none, and how far time has come behind it."""

    def read(value: Any) -> tuple[float, float | None]:
        return strategy.time_of(value), strategy.marked(value)

    found = [guard.call(read, value) for value in batch.values]
    if any(each is LOST for each in found):
        kept = [place for place, each in enumerate(found) if each is not LOST]
        batch, found = batch.at(kept), [found[place] for place in kept]
    times = []
    for at, marked in found:
        times.append(at)
        reached = strategy.after(reached, at, marked)
    return Batch(batch.values, times, None, batch.rounds), reached


def stand_in(made: Any, name: str) -> tuple[float, None]:
    """The event time that `on_error` gives a record that has none.

    Raises WrongReturnError where it is no time.
    """
    if isinstance(made, bool) or not isinstance(made, (int, float)) or not math.isfinite(made):
        raise WrongReturnError(f"on_error of {name!r} must give the record's event time in seconds, got {shown(made)}")
    return float(made), None
