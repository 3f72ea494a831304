"""Where a loop begins and ends.

Its end is found by laps: when its input has ended, the head sends a lap behind everything it sent; each task of the
body passes it on once it has it from all its inputs; the tail adds how many records it sent round again since the lap
before. A lap that comes home with no such record from any tail finds the loop empty. Then a last one goes before the
end, so that what operators of the body give at their end leaves the loop.
"""

from __future__ import annotations

from typing import Any

from sage_nb.runtime.operators.guard import LOST
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import HeadSpec, Spec, TailSpec

AGAIN = "again"  # the tail's output that leads back to the head
FEEDBACK = 1  # the head's port for it


class Entering(Operator):
    """A loop's head. While a checkpoint's barrier goes round, it writes down what comes round before it."""

    spec: HeadSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._log: list[Batch] = []
        self._replay: list[Batch] = []
        self.logging = False

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
        mine = [log for at, log in saved.own.items() if at % self.place.parallelism == self.place.subtask]
        self._replay = [Batch(values, times, None, rounds) for log in mine for values, times, rounds in log]

    def resume(self) -> None:
        """Send what was in the loop when the checkpoint was taken."""
        replay, self._replay = self._replay, []
        for batch in replay:
            self.receive(batch, FEEDBACK)


class Leaving(Operator):
    """A loop's tail: out when `until` holds or the rounds are used up, else round again."""

    spec: TailSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.fed_back = 0
        self.closing = False  # no more rounds

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
            self.fed_back += len(staying)
            again = batch.at(staying)
            self.emit(Batch(again.values, again.times, None, [rounds[at] + 1 for at in staying]), AGAIN)

    def restore(self, saved: Saved) -> None:
        """Laps are counted anew."""
        super().restore(saved)
        self.fed_back, self.closing = 0, False

    def lapped(self) -> int:
        """How many went round again since it was last asked."""
        fed_back, self.fed_back = self.fed_back, 0
        return fed_back
