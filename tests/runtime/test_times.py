"""Event time as it runs: the least of all channels counts, idle ones do not hold it back, what is late goes aside."""

from __future__ import annotations

import json
import threading

import pytest

import sage_nb as sage
from sage_nb.stream.testing import EOF, TestingSource
from tests.runtime.jobs import finished, multiset, ran, until


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


class Later(sage.SourceFunction):
    """Times, a list for each split; a list may grow, and others may come, between one run and the next."""

    def __init__(self, *lists):
        self.lists = list(lists)

    def __deepcopy__(self, memo):
        return self

    def splits(self):
        return [str(at) for at in range(len(self.lists))]

    def read(self, split, start):
        yield from ({"time": time} for time in self.lists[int(split)][start:])


def counted(folder, source, strategy, *, behind=False):
    """Windows of 10 s, from the last checkpoint to the end: which it gave, with their counts, and what was late."""
    env, given, late = sage.LocalEnvironment("counted", checkpoint=str(folder)), [], []
    timed = env.from_source(source).with_times(strategy) if behind else env.from_source(source, watermark=strategy)
    windowed = timed.window(sage.tumbling(10)).aggregate(sage.Count(), name="count")
    windowed.map(lambda w: (w.start, w.value)).for_each(given.append)
    windowed.late.map(lambda record: record["time"]).for_each(late.append)
    finished(env)
    return sorted(given), sorted(late)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("every", [None, 100])
def test_after_its_end_a_job_takes_new_records_by_the_time_it_had_reached(tmp_path, every, behind):
    source = Later([1.0, 2.0, 11.0])
    strategy = sage.monotonous(every=every)
    assert counted(tmp_path, source, strategy, behind=behind) == ([(0, 2), (10, 1)], [])
    source.lists.append([5.0, 21.0, 22.0, 31.0])  # the window of 5.0 was given when 11.0 came
    assert counted(tmp_path, source, strategy, behind=behind) == ([(20, 2), (30, 1)], [5.0])


def test_new_files_of_a_job_that_has_ended_are_in_time(tmp_path):
    def put(name, *times):
        (tmp_path / name).write_text("".join(json.dumps({"time": time}) + "\n" for time in times))

    def run():
        env, given = sage.LocalEnvironment("files", checkpoint=str(tmp_path / "checkpoints")), []
        lines = env.from_files(
            str(tmp_path / "*.jsonl"),
            lambda path: map(json.loads, path.read_text().splitlines()),
            watermark=sage.bounded_out_of_orderness(0),
        )
        lines.window(sage.tumbling(10)).aggregate(sage.Count()).for_each(given.append)
        finished(env)
        return sorted((w.start, w.value) for w in given)

    put("a.jsonl", 1, 2, 11)
    assert run() == [(0, 2), (10, 1)]
    put("b.jsonl", 21, 22, 31)
    assert run() == [(20, 2), (30, 1)]


def test_a_split_that_is_read_on_in_the_next_run_holds_time_back(tmp_path):
    def split(*times):
        return [time if isinstance(time, EOF) else {"time": float(time)} for time in times]

    source = TestingSource(split(1, 2, EOF(), 3, 15), split(1, 25, EOF(), 31))
    strategy = sage.monotonous()
    assert counted(tmp_path, source, strategy) == ([(0, 3), (20, 1)], [])
    assert counted(tmp_path, source, strategy) == ([(0, 1), (10, 1), (30, 1)], [])
