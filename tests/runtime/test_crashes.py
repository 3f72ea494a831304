"""The crash matrix: a job fails at each point, in each topology, at each parallelism; the sink does not notice."""

from __future__ import annotations

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import TOPOLOGIES, CrashAt, Once, finished, multiset

POINTS = {  # name -> (the probe's crashes, the failures they cause)
    "open": (CrashAt, ("open", 2), 1),
    "before write": (CrashAt, ("before write",), 1),
    "after write": (CrashAt, ("after write",), 1),
    "before ack": (CrashAt, ("before ack",), 1),
    "after ack": (CrashAt, ("after ack",), 1),
    "before manifest": (CrashAt, ("before manifest", 2), 1),
    "after manifest": (CrashAt, ("after manifest", 2), 1),
    "notify": (CrashAt, ("notify",), 1),
    "end": (CrashAt, ("end",), 1),
    "close": (CrashAt, ("close",), 1),
}


def never(_):
    return False


def outcome(tmp_path, topology, parallelism, probe=None, bad=never):
    """The sink's records, those expected, and how often the job began again."""
    checkpoint = Checkpointing(str(tmp_path), every=0.005)
    env = LocalEnvironment("crash", parallelism=parallelism, checkpoint=checkpoint, restart=FixedDelay(9, 0.0))
    if probe is not None:
        env.probe = probe
    rows: list = []
    stream, expected = TOPOLOGIES[topology](env, Once(bad))
    stream.sink(CollectSink(rows))
    job = finished(env)
    return rows, expected, job.restarts


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_loses_and_doubles_nothing(tmp_path, point, topology, parallelism):
    kind, arguments, failures = POINTS[point]
    rows, expected, restarts = outcome(tmp_path, topology, parallelism, kind(*arguments))
    assert multiset(rows) == multiset(expected)
    assert restarts == failures


def number(record):
    """A record's number, in whatever form the topology has it there."""
    return record[1] if isinstance(record, tuple) else record["n"]


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("at", [0, 60, 99])
def test_a_record_that_fails_its_operator_is_met_again(tmp_path, at, topology, parallelism):
    rows, expected, restarts = outcome(tmp_path, topology, parallelism, bad=lambda record: number(record) == at)
    assert multiset(rows) == multiset(expected)
    assert restarts == 1
