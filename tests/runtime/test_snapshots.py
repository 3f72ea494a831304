"""A checkpoint holds each task as it was at the barrier, however late it is written."""

from __future__ import annotations

import threading

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import KeyedProcessFunction
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.state import ListState
from tests.runtime.jobs import Boom, Paced, clicks, finished


class Gathering(KeyedProcessFunction):
    """Keeps each key's numbers in a list, and gives the list with each record."""

    def open(self, context):
        self.numbers = context.state(ListState("numbers"))

    def process(self, value, context):
        self.numbers.add(value["n"])
        yield tuple(self.numbers.get())


class SlowDisk(Probe):
    """The first parts of the first checkpoint are written only once 50 more records have come; then an accident."""

    def __init__(self):
        super().__init__()
        self.barrier_passed, self.fifty_more = threading.Event(), threading.Event()
        self._after = 0
        self.crashes = 1

    def at(self, point, where):
        if point == "before write":
            self.barrier_passed.set()
            assert self.fifty_more.wait(60)
        elif point == "after manifest" and self.crashes:
            self.crashes = 0
            raise Boom("after the first checkpoint")

    def seen(self, value):
        self._after += self.barrier_passed.is_set()
        if self._after == 50:
            self.fifty_more.set()
        return value


def test_state_that_changes_after_the_barrier_is_not_in_the_checkpoint(tmp_path):
    env = LocalEnvironment("j", checkpoint=Checkpointing(str(tmp_path), every=0.01), restart=FixedDelay(3, 0.0))
    env.probe = probe = SlowDisk()
    rows = []
    source = env.from_source(Paced(clicks(400, keys=2)))
    numbered = source.key_by("key").map(lambda r: r, name="even").key_by("key")
    numbered.process(Gathering(), name="gather").map(probe.seen).sink(CollectSink(rows))
    job = finished(env)
    assert job.restarts == 1
    assert sorted(map(len, rows)) == sorted([*range(1, 201)] * 2)
    assert max(rows, key=len) in (tuple(range(0, 400, 2)), tuple(range(1, 400, 2)))
