"""The crash matrix: a job fails at each point, in each topology, at each parallelism; the sink does not notice."""

from __future__ import annotations

import json
from functools import partial

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import JsonlSink
from sage_nb.stream.testing import ABORT, EOF, TestingSource
from tests.runtime.jobs import ORDERED, TOPOLOGIES, CrashAt, CrashTwice, Once, Paced, Running, finished, lines, multiset

POINTS = {  # name -> (what fails, how often the job begins again)
    "open": (lambda: CrashAt(point="open", nth=2), 1),
    "before write": (lambda: CrashAt(point="before write"), 1),
    "after write": (lambda: CrashAt(point="after write"), 1),
    "before ack": (lambda: CrashAt(point="before ack"), 1),
    "after ack": (lambda: CrashAt(point="after ack"), 1),
    "before manifest": (lambda: CrashAt(point="before manifest", nth=2), 1),
    "after manifest": (lambda: CrashAt(point="after manifest", nth=2), 1),
    "notify": (lambda: CrashAt(point="notify"), 1),
    "restore": (CrashTwice, 2),
    "end": (lambda: CrashAt(point="end"), 1),
    "close": (lambda: CrashAt(point="close"), 0),  # all is committed by then
}


def never(_):
    return False


def outcome(environment, tmp_path, topology, parallelism, probe=None, bad=never):
    """The files' records, those expected, and how often the job began again."""
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=0.005)
    env = environment("crash", parallelism=parallelism, checkpoint=checkpoint, restart=FixedDelay(9, 0.0))
    env.probe = probe or env.probe
    hold = getattr(probe, "hold", None)
    stream, expected = TOPOLOGIES[topology](env, Once(bad), partial(Paced, hold=hold))
    stream.sink(JsonlSink(str(tmp_path / "out")))
    job = finished(env)
    return lines(str(tmp_path / "out")), json.loads(json.dumps(expected)), job.restarts


def disordered(topology, parallelism, records):
    """Records that come after a later one of the same key, in topologies that promise an order."""
    if topology not in ORDERED or (topology == "linear" and parallelism > 1):
        return []
    latest: dict = {}
    found = []
    for record in records:
        key, place = ORDERED[topology](record)
        found += [record] if latest.get(key, place) > place else []
        latest[key] = place
    return found


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_loses_doubles_and_disorders_nothing(environment, tmp_path, point, topology, parallelism):
    probe, failures = POINTS[point]
    records, expected, restarts = outcome(environment, tmp_path, topology, parallelism, probe())
    assert multiset(records) == multiset(expected)
    assert disordered(topology, parallelism, records) == []
    assert restarts == failures


def number(record):
    """A record's number, in whatever form the topology has it there."""
    return record[1] if isinstance(record, tuple) else record["n"]


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("at", [0, 60, 99])
def test_a_record_that_fails_its_operator_is_met_again(environment, tmp_path, at, topology, parallelism):
    records, expected, restarts = outcome(
        environment, tmp_path, topology, parallelism, bad=lambda record: number(record) == at
    )
    assert multiset(records) == multiset(expected)
    assert disordered(topology, parallelism, records) == []
    assert restarts == 1


def test_disorder_would_be_noticed():
    records = [{"key": "a", "n": 1}, {"key": "b", "n": 0}, {"key": "a", "n": 0}]
    assert disordered("keyed", 2, records) == records[2:]


def counted(environment, tmp_path, source, parallelism):
    """A job that numbers each key's records, from a source that crashes and ends as its data says."""
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=0.005)
    env = environment("data", parallelism=parallelism, checkpoint=checkpoint, restart=FixedDelay(9, 0.0))
    env.from_source(source).key_by("key").process(Running()).sink(JsonlSink(str(tmp_path / "out")))
    return env


def letters(text):
    return [{"key": letter} for letter in text]


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_a_source_crashes_where_its_data_says(environment, tmp_path, parallelism):
    one = [*letters("aab"), ABORT(), *letters("b"), ABORT(), *letters("a"), ABORT()]
    two = [ABORT(), *letters("bc")]
    job = finished(counted(environment, tmp_path, TestingSource(one, two), parallelism))
    assert job.restarts == 4
    numbers = sorted((row["key"], row["number"]) for row in lines(tmp_path / "out"))
    assert numbers == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_a_source_that_ended_for_this_run_reads_on_in_the_next(environment, tmp_path, parallelism):
    source = TestingSource([*letters("aab"), EOF(), *letters("bb"), EOF(), *letters("a")])
    seen = []
    for _ in range(4):
        finished(counted(environment, tmp_path, source, parallelism))
        seen.append(sorted((row["key"], row["number"]) for row in lines(tmp_path / "out")))
    first = [("a", 1), ("a", 2), ("b", 1)]
    second = sorted([*first, ("b", 2), ("b", 3)])
    whole = sorted([*second, ("a", 3)])
    assert seen == [first, second, whole, whole]
