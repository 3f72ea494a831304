"""Event time as it runs: the least of all channels counts, idle ones do not hold it back, what is late goes aside."""

from __future__ import annotations

import threading

import pytest

import sage_nb as sage
from tests.runtime.jobs import multiset, ran, until


class Halting(sage.SourceFunction):
    """Split "quick" gives records; split "still" gives one, then nothing until it may go on."""

    def __init__(self, go_on, late=()):
        self.go_on, self.late = go_on, late

    def __deepcopy__(self, memo):
        return self

    def splits(self):
        return ["still", "quick"]

    def read(self, split, start):
        if split == "quick":
            yield from ({"time": float(n), "split": split} for n in range(20))
        else:
            yield {"time": 0.0, "split": split}
            yield from self.late
        while not self.go_on.is_set():
            yield sage.IDLE


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("where", ["source", "behind"])
def test_an_idle_split_does_not_hold_time_back(where, parallelism):
    go_on, seen = threading.Event(), []
    strategy = sage.monotonous(idle_after=0.05)
    env = sage.LocalEnvironment("idle")
    if where == "source":
        timed = env.from_source(Halting(go_on), watermark=strategy, parallelism=parallelism)
    else:
        split = env.from_source(Halting(go_on), parallelism=parallelism)
        timed = split.map(dict, parallelism=parallelism).with_times(strategy, parallelism=parallelism)
    timed.window(sage.tumbling(5)).aggregate(sage.Count()).map(lambda w: w.start).for_each(seen.append)
    job = env.submit()
    try:
        until(lambda: len(seen) >= 3)
        assert job.status == "running"
    finally:
        go_on.set()
    job.wait(60)
    assert sorted(seen) == [0, 5, 10, 15]


def test_a_split_that_is_not_declared_idle_holds_time_back():
    go_on, seen = threading.Event(), []
    env = sage.LocalEnvironment("held")
    timed = env.from_source(Halting(go_on), watermark=sage.monotonous(), name="feed")
    timed.window(sage.tumbling(5)).aggregate(sage.Count()).for_each(seen.append)
    job = env.submit()
    try:
        until(lambda: job.metrics().total("feed", "received") == 21)
        assert seen == []
    finally:
        go_on.set()
    job.wait(60)
    assert [(w.start, w.value) for w in seen] == [(0, 6), (5, 5), (10, 5), (15, 5)]


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_records_out_of_order_within_the_bound_are_in_time_and_others_late(parallelism):
    times = [1.0, 4.0, 2.0, 11.0, 7.0, 20.0, 9.9, 21.0]
    data = [{"time": time} for time in times]
    strategy = sage.bounded_out_of_orderness(5, every=1)

    def build(env):
        windowed = env.from_collection(data, watermark=strategy).window(sage.tumbling(10)).aggregate(sage.Count())
        late = windowed.late.map(lambda record: ("late", record["time"]))
        return windowed.map(lambda w: (w.start, w.value)).union(late)

    rows, _ = ran(build, parallelism=parallelism)
    assert multiset(rows) == multiset([(0, 4), (10, 1), (20, 2), ("late", 9.9)])


def test_a_late_record_within_the_allowance_gives_its_window_again():
    data = [{"time": time} for time in (1.0, 12.0, 2.0, 30.0, 3.0)]

    def build(env):
        timed = env.from_collection(data, watermark=sage.monotonous(every=1))
        windowed = timed.window(sage.tumbling(10), allowed_lateness=5).aggregate(sage.Count())
        late = windowed.late.map(lambda record: ("late", record["time"]))
        return windowed.map(lambda w: (w.start, w.value)).union(late)

    rows, _ = ran(build)
    assert multiset(rows) == multiset([(0, 1), (0, 2), (10, 1), (30, 1), ("late", 3.0)])
