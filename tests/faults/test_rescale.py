"""A job goes on at another parallelism, from a checkpoint or a savepoint, and nobody sees it in the results."""

from __future__ import annotations

import json

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.stream.sink import JsonlSink
from tests.runtime.jobs import TOPOLOGIES, Halting, lines, multiset, until

STEPS = [(1, 25), (2, 50), (3, 75), (1, None)]  # parallelism, and the record before which each split halts


def step(environment, tmp_path, topology, parallelism, at, **submit):
    """The job at that parallelism, all that it may read read; and what it shall have given at its end."""
    keep = submit.pop("keep")
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=0.02) if keep else None
    env = environment("rescaled", parallelism=parallelism, checkpoint=checkpoint)
    sources: list[Halting] = []

    def read(*splits):
        sources.append(Halting(*splits, at=at or 0))
        return sources[-1]

    stream, expected = TOPOLOGIES[topology](env, lambda record: record, read)
    stream.sink(JsonlSink(str(tmp_path / "out")), uid="sink")
    for source in sources:
        if at is None:
            source.go.set()
    job = env.submit(**submit)
    if at is not None:
        uids = ["source", "source-2"][: len(sources)]
        until(lambda: all(job.metrics().total(uid, "received") == at for uid in uids))
    return job, json.loads(json.dumps(expected))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_from_a_checkpoint(environment, tmp_path, topology):
    for parallelism, at in STEPS:
        job, expected = step(environment, tmp_path, topology, parallelism, at, keep=True)
        if at is not None:
            job.pause()
            assert job.status == "paused"
    assert job.wait(60) == "finished"
    assert job.unbalanced() == []
    assert multiset(lines(tmp_path / "out")) == multiset(expected)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_from_a_savepoint(environment, tmp_path, topology):
    submit: dict = {}
    for parallelism, at in STEPS:
        job, expected = step(environment, tmp_path, topology, parallelism, at, keep=False, **submit)
        if at is not None:
            submit = {"savepoint": job.savepoint(str(tmp_path / f"savepoint-{at}"))}
            job.cancel()
    assert job.wait(60) == "finished"
    assert job.unbalanced() == []
    assert multiset(lines(tmp_path / "out")) == multiset(expected)
