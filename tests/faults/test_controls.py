"""Negative controls: with a safeguard off, what it guards against happens, and the tests' counting sees it."""

from __future__ import annotations

import threading
import time
from collections import Counter

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import CrashAt, Halting, Once, Running, clicks, lines, multiset, until


def environment(tmp_path, every=60.0):
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=every)
    return LocalEnvironment("control", checkpoint=checkpoint, restart=FixedDelay(9, 0.0))


def shown_twice(tmp_path, *, two_phase):
    """A failure after 60 records that no checkpoint holds: how often each number is in the files."""
    env = environment(tmp_path)
    env.probe.two_phase = two_phase
    source = Halting(clicks(100), at=60)
    out = str(tmp_path / "out")
    stream = env.from_source(source).key_by("n").map(lambda r: r)
    stream.map(Once(lambda r: r["n"] == 60), on_error="fail").sink(JsonlSink(out), name="sink")
    job = env.submit()
    until(lambda: job.metrics().total("sink", "received") == 60)
    source.go.set()
    assert job.wait(60) == "finished"
    assert job.restarts == 1
    return Counter(row["n"] for row in lines(out))


def test_without_two_phase_commit_records_are_shown_twice(tmp_path):
    assert shown_twice(tmp_path / "on", two_phase=True) == Counter(range(100))
    assert shown_twice(tmp_path / "off", two_phase=False) == Counter(range(100)) + Counter(range(60))


class Zombie:
    """At its 11th record, in its first attempt, it dawdles until the next attempt has begun elsewhere."""

    def __init__(self):
        self.dawdling, self.go, self.due = threading.Event(), threading.Event(), True

    def __call__(self, record):
        if self.due and record["n"] == 10:
            self.due = False
            self.dawdling.set()
            assert self.go.wait(60)
        return record


def overtaken(tmp_path, *, fencing):
    """A task of the first attempt sends on while the second one runs: the records, numbered by key."""
    env = environment(tmp_path)
    env.probe.fencing = fencing
    zombie, rows = Zombie(), []
    other = Halting([{"key": "bad", "n": -1}], at=0)
    slow = env.from_source(Halting(clicks(30, keys=1), at=99)).map(zombie, batch=(30, 60.0))
    both = slow.union(env.from_source(other).map(Once(lambda r: True), on_error="fail"))
    both.key_by("key").process(Running()).sink(CollectSink(rows))
    job = env.submit()
    assert zombie.dawdling.wait(60)
    other.go.set()
    until(lambda: job.restarts == 1 and job.status == "running")
    zombie.go.set()
    assert job.wait(60) == "finished"
    return rows


def test_without_fencing_a_task_of_an_earlier_attempt_doubles_records(tmp_path):
    right = [{**r, "number": r["n"] + 1} for r in clicks(30, keys=1)] + [{"key": "bad", "n": -1, "number": 1}]
    assert multiset(overtaken(tmp_path / "on", fencing=True)) == multiset(right)
    wrong = overtaken(tmp_path / "off", fencing=False)
    assert len(wrong) > len(right)
    assert max(row["number"] for row in wrong) > 30


class Passing(CrashAt):
    """Fails after the first manifest; notes when the quick stream has let its barrier go."""

    def __init__(self, **switches):
        super().__init__(point="after manifest", **switches)
        self.gone = threading.Event()

    def at(self, point, where):
        if point == "before write" and where == "quick":
            self.gone.set()
        super().at(point, where)


class Quick(Halting):
    """Sends 400 records of one key, slowly until the other stream has brought its barrier."""

    def __init__(self, go):
        super().__init__(clicks(400, keys=1), at=400)
        self.go = go

    def read(self, split, start):
        for record in super().read(split, start):
            time.sleep(0 if self.go.is_set() else 0.002)
            yield record


class Slow(Halting):
    """One record; it returns to its task, and so to the barrier, 20 records after the other stream's, or 0.4 s."""

    def __init__(self, go, gone, seen):
        super().__init__([{"key": "slow", "n": 0}], at=1)
        self.go, self.gone, self.seen = go, gone, seen

    def read(self, split, start):
        assert self.go.is_set() or self.gone.wait(60)
        enough, end = len(self.seen) + 20, time.monotonic() + 0.4
        while len(self.seen) < enough and time.monotonic() < end:
            time.sleep(0.005)
        self.go.set()
        yield from super().read(split, start)


def mixed(tmp_path, *, alignment):
    """Two streams of which one is slow to bring its barrier, and a failure after that checkpoint."""
    env = environment(tmp_path, every=0.3)
    env.probe = probe = Passing(alignment=alignment)
    rows: list = []
    seen: list = []

    def note(record):
        seen.append(record["n"])
        return record

    go = threading.Event()
    quick = env.from_source(Quick(go), uid="quick")
    both = quick.union(env.from_source(Slow(go, probe.gone, seen), uid="slow"))
    both.map(note).key_by("key").process(Running()).sink(CollectSink(rows))
    job = env.submit()
    assert job.wait(60) == "finished"
    assert job.restarts == 1
    return [row["number"] for row in rows if row["key"] == "k0"]


def test_without_alignment_records_behind_the_barrier_are_counted_twice(tmp_path):
    assert mixed(tmp_path / "on", alignment=True) == list(range(1, 401))
    wrong = mixed(tmp_path / "off", alignment=False)
    assert max(wrong) > 400
