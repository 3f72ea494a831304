"""Accounts: no record is lost or doubled without its being said, in jobs at work and finished."""

from __future__ import annotations

import threading

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.edge import InTurn, ToAll
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.gate import Gate
from sage_nb.runtime.operators.apply import OneToOne
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.batch import Batch
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import TOPOLOGIES, Endless, Once, Paced, clicks, finished, until


def everywhere(env, rows):
    numbers = env.from_collection(range(300)).map(abs)
    numbers.broadcast().map(abs, parallelism=3, name="all").sink(CollectSink(rows))


def test_a_record_sent_everywhere_is_counted_for_each_reader():
    env = LocalEnvironment()
    everywhere(env, rows := [])
    finished(env)
    assert sorted(rows) == sorted([*range(300)] * 3)


def test_other_numbers_of_readers_after_a_savepoint_do_not_confuse_it(tmp_path):
    for parallelism in (2, 3, 1):
        env = LocalEnvironment("wide", checkpoint=Checkpointing(str(tmp_path), every=0.02))
        data = clicks(600)
        source = env.from_source(Paced(data), uid="source").broadcast()
        source.map(lambda r: r["n"], parallelism=parallelism, uid="all").sink(CollectSink([]), uid="sink")
        job = env.submit()
        until(lambda job=job: job.metrics().committed > 0 or job.status != "running")
        assert (missing := job.unbalanced()) == [], missing
        job.pause()
    env = LocalEnvironment("wide", checkpoint=str(tmp_path))
    source = env.from_source(Paced(data), uid="source").broadcast()
    source.map(lambda r: r["n"], parallelism=2, uid="all").sink(CollectSink([]), uid="sink")
    finished(env)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_job_at_work_adds_up_at_any_moment(topology, tmp_path):
    env = LocalEnvironment(
        parallelism=2, checkpoint=Checkpointing(str(tmp_path), every=0.01), restart=FixedDelay(9, 0.0)
    )
    stream, _ = TOPOLOGIES[topology](env, Once(lambda record: "60" in repr(record)))
    stream.sink(CollectSink([]))
    job = env.submit()
    while job.status in ("running", "restarting"):
        assert (missing := job.unbalanced()) == [], missing
    assert job.wait(60) == "finished"
    assert (missing := job.unbalanced()) == [], missing


def test_records_that_wait_for_a_slow_operator_are_not_missing():
    gate = threading.Event()
    env = LocalEnvironment()
    numbers = env.from_collection(range(20_000)).flat_map(lambda n: [n] * 10)
    numbers.key_by(lambda n: n).map(lambda n: gate.wait(120), batch=(64, 0.01), parallelism=2).sink(CollectSink([]))
    numbers.broadcast().map(lambda n: gate.wait(120), parallelism=2).sink(CollectSink([]))
    job = env.submit()
    until(lambda: job.metrics().tasks[0].backpressured_ms_per_s > 500)
    assert (missing := job.unbalanced()) == [], missing
    job.cancel()
    gate.set()
    assert job.unbalanced() == []


def test_a_fast_job_at_work_adds_up():
    env = LocalEnvironment()
    numbers = env.from_collection(lambda: iter(int, 1)).map(lambda n: n + 1).filter(bool)
    numbers.key_by(lambda n: n).map(abs, parallelism=2).broadcast().map(abs, parallelism=2).sink(CollectSink([]))
    job = env.submit()
    try:
        for _ in range(5):
            assert (missing := job.unbalanced()) == [], missing
    finally:
        job.cancel()


# Negative controls: each loses or doubles records in another place, and has to be found out, at work and after it.


def losing_edge(monkeypatch):
    whole = InTurn.dealt
    monkeypatch.setattr(InTurn, "dealt", lambda self, batch: whole(self, batch)[1:])
    return "records for all were not sent"


def losing_broadcast(monkeypatch):
    whole = ToAll.dealt
    monkeypatch.setattr(ToAll, "dealt", lambda self, batch: whole(self, batch)[1:])
    return "records for each were not sent"


def doubling_broadcast(monkeypatch):
    whole = ToAll.dealt
    monkeypatch.setattr(ToAll, "dealt", lambda self, batch: [*whole(self, batch), *whole(self, batch)])
    return "records more sent to each than there were"


def losing_gate(monkeypatch):
    push, seen = Gate.push, []

    def lossy(self, attempt, channel, item):
        seen.append(item)
        return 0.0 if type(item) is Batch and len(seen) % 3 == 0 else push(self, attempt, channel, item)

    monkeypatch.setattr(Gate, "push", lossy)
    return "never came"


def doubling_gate(monkeypatch):
    push = Gate.push

    def twice(self, attempt, channel, item):
        if type(item) is Batch:
            push(self, attempt, channel, item)
        return push(self, attempt, channel, item)

    monkeypatch.setattr(Gate, "push", twice)
    return "records more came than were sent to it"


def losing_operator(monkeypatch):
    whole = OneToOne.handle
    monkeypatch.setattr(OneToOne, "handle", lambda self, batch, port: whole(self, batch.cut(slice(1)), port))
    return "records received are missing"


def doubling_operator(monkeypatch):
    whole = OneToOne.handle

    def twice(self, batch, port):
        whole(self, batch, port)
        whole(self, batch, port)

    monkeypatch.setattr(OneToOne, "handle", twice)
    return "records more accounted for than received"


BREACHES = [
    losing_edge, losing_broadcast, doubling_broadcast, losing_gate, doubling_gate, losing_operator, doubling_operator,
]  # fmt: skip


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found_out(breach, live, monkeypatch):
    said = breach(monkeypatch)
    env = LocalEnvironment()
    source = env.from_source(Endless()) if live else env.from_collection(range(5000))
    spread = source.map(abs, parallelism=3, name="all")
    spread.broadcast().map(abs, parallelism=2, name="each").sink(CollectSink([]))
    job = env.submit()
    if live:
        until(lambda: job.metrics().total("each", "received") > 500)
    else:
        job.wait(60)
    found = job.unbalanced()
    job.cancel()
    assert any(said in each for each in found), found
