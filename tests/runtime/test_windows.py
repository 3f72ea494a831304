"""Windows, case by case: where records fall, when results are given, what a late or failing record does."""

from __future__ import annotations

import threading

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.source import IDLE, SourceFunction
from sage_nb.stream.window import count_window
from tests.runtime.jobs import Boom, clicks, finished


class SlowWriters(Probe):
    """Holds the first checkpoint's writers back until `go`; the job fails when that checkpoint is committed."""

    def __init__(self):
        super().__init__()
        self.writing, self.go, self.due = threading.Event(), threading.Event(), True

    def at(self, point, where):
        if point == "before write":
            self.writing.set()
            assert self.go.wait(60)
        if point == "after manifest" and self.due:
            self.due = False
            raise Boom("after the first checkpoint")


class Halves(SourceFunction):
    """Some records, and the others once `event` is set."""

    def __init__(self, records, event):
        self.records, self.event = records, event

    def __deepcopy__(self, memo):
        return self

    def read(self, split, start):
        yield from self.records[start:20]
        while not self.event.is_set():
            yield IDLE
        yield from self.records[max(start, 20) :]


def test_what_is_folded_behind_the_barrier_is_not_in_the_checkpoint(tmp_path):
    checkpoint = Checkpointing(str(tmp_path), every=0.01)
    env = LocalEnvironment("late writers", parallelism=3, checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    env.probe = probe = SlowWriters()
    folded: list = []

    def concat(one, other):
        folded.append(other)
        if len(folded) >= 80:  # all keys but for their first record
            probe.go.set()
        one.extend(other)  # in place, as a careless function does
        return one

    rows: list = []
    records = Halves(clicks(100, keys=20), probe.writing)
    stream = env.from_source(records).map(lambda r: {**r, "all": [r["n"]]}).key_by("key")
    windowed = stream.window(count_window(1000)).reduce(lambda a, b: {**a, "all": concat(a["all"], b["all"])})
    windowed.flat_map(lambda w: w.value["all"]).sink(CollectSink(rows))
    job = finished(env, 60)
    assert sorted(rows) == list(range(100))
    assert job.restarts == 1
