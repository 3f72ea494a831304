"""Where a loop begins and ends.

What is in it is found out by laps: a head sends a lap behind everything it sent; each task of the body passes it on
once it has it from all its inputs; the tail adds how many records it sent round again since the lap before. When the
input has ended, a lap that comes home with no such record from any tail finds the loop empty. Then a last one goes
before the end, so that what operators of the body give at their end leaves the loop.

Event time passes a loop in the same way, while records still come in: a head holds it back until all that came in
before it has left. Between one lap and the next, a record in the loop comes to a tail at least once; so one that was
in it before lap 1 has been round n times when lap n has passed, and those that are younger need not be waited for.
"""

from __future__ import annotations

import time
from typing import Any

from sage_nb.runtime.hearing import Heard
from sage_nb.runtime.operators.guard import LOST
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch, Lap
from sage_nb.stream.graph import HeadSpec, Spec, TailSpec
from sage_nb.stream.time import FOREVER

AGAIN = "again"  # the tail's output that leads back to the head
FEEDBACK = 1  # the head's port for it
REST = 0.05  # seconds after event time has passed before laps go round for it again


class Laps:
    """A lap on its way into a task: whole once it has come on all channels."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._come: dict[int, Lap] = {}

    def whole(self, channel: int, lap: Lap) -> Lap | None:
        """The lap with what was counted on all channels, if this is the last of them."""
        self._come[channel] = lap
        if len(self._come) < self._channels:
            return None
        laps = [*self._come.values()]
        self._come.clear()
        fed_back, old = sum(each.fed_back for each in laps), sum(each.old for each in laps)
        return Lap(lap.number, fed_back, old, all(each.ended for each in laps), last=lap.last)


class Entering(Operator):
    """A loop's head. While a checkpoint's barrier goes round, it writes down what comes round before it."""

    spec: HeadSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._log: list[Batch] = []
        self._replay: list[Batch] = []
        self.logging = False
        self._forget_time()

    def _forget_time(self) -> None:
        self.heard: Heard = -FOREVER, -FOREVER
        self.upto: Heard = -FOREVER, -FOREVER  # what had been heard when lap 1 was sent
        self._lapping, self._resting = False, time.time()

    def open(self) -> None:
        """Nothing to open."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """On into the body; what is new is in round 0."""
        self.counters.passed += len(batch)
        rounds = batch.rounds if port == FEEDBACK else [0] * len(batch)
        self.emit(Batch(batch.values, batch.times, None, rounds))

    def begin_log(self) -> None:
        """A checkpoint's barrier goes into the loop."""
        self._log, self.logging = [], True

    def note(self, batch: Batch) -> None:
        """Write down a batch that came round before the barrier did."""
        if self.logging:
            self._log.append(batch)

    def own(self) -> Any:
        """What was in the loop when the barrier passed."""
        log, self._log, self.logging = self._log, [], False
        return [[batch.values, batch.times, batch.rounds] for batch in log]

    def restore(self, saved: Saved) -> None:
        """What was in the loop is to be sent into it first."""
        super().restore(saved)
        self._log, self.logging = [], False
        self._forget_time()
        mine = [log for at, log in saved.own.items() if at % self.place.parallelism == self.place.subtask]
        self._replay = [Batch(values, times, None, rounds) for log in mine for values, times, rounds in log]

    def resume(self) -> None:
        """Send what was in the loop when the checkpoint was taken."""
        replay, self._replay = self._replay, []
        for batch in replay:
            self.receive(batch, FEEDBACK)

    @property
    def deadline(self) -> float | None:
        """When a lap is to be sent for event time's sake, if any of it has been heard."""
        return None if self._lapping or self.heard[0] == -FOREVER else self._resting

    def asks(self, *, ended: bool) -> bool:
        """Whether lap 1 is to be sent now, which this notes."""
        timed = self.deadline is not None and self._resting <= time.time()
        if self._lapping or not (ended or timed):
            return False
        self._lapping, self.upto = True, self.heard
        return True

    def arrived(self, *, idle: bool) -> Heard:
        """How far event time has come behind the loop, now that all from before lap 1 has left it."""
        self._lapping, self._resting = False, time.time() + REST
        awake, latest = self.upto
        return (latest if awake is None and not idle else awake), latest


class Leaving(Operator):
    """A loop's tail: out when `until` holds or the rounds are used up, else round again."""

    spec: TailSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.closing = False  # no more rounds
        self._fed_back = self._old = self._lap = 0

    def open(self) -> None:
        """Nothing to open."""
        self.place.probe.at("open", self.place.uid)

    def process(self, batch: Batch, port: int) -> None:
        """Decide for each record."""
        rounds = batch.rounds or [0] * len(batch)
        most = self.spec.loop.max_rounds
        verdicts = [self.guard.call(self.spec.until, value) for value in batch.values]
        leaving: list[int] = []
        staying: list[int] = []
        for at, verdict in enumerate(verdicts):
            if verdict is not LOST:
                out = verdict or self.closing or (most is not None and rounds[at] + 1 >= most)
                (leaving if out else staying).append(at)
        self.counters.passed += len(leaving) + len(staying)
        if leaving:
            done = batch.at(leaving)
            self.emit(Batch(done.values, done.times))
        if staying:
            self._fed_back += len(staying)
            self._old += sum(rounds[at] >= self._lap for at in staying)
            again = batch.at(staying)
            self.emit(Batch(again.values, again.times, None, [rounds[at] + 1 for at in staying]), AGAIN)

    def restore(self, saved: Saved) -> None:
        """Laps are counted anew."""
        super().restore(saved)
        self.closing = False
        self._fed_back = self._old = self._lap = 0

    def lapped(self, lap: Lap) -> Lap:
        """The lap, with how many went round again since the one before."""
        found = Lap(lap.number, self._fed_back, self._old, lap.ended, lap.last)
        self._fed_back, self._old, self._lap = 0, 0, lap.number
        return found
