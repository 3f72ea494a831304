"""Actors killed with -9 at random: nothing lost, nothing twice, and the living keep what they have loaded."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.ray.crew import RemoteTask
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.pool import POOL
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import Paced, Running, Tally, clicks, lines, until

KEYS = 23


def actors(job):
    """The tasks of a job that are in actors."""
    return [task for task in job.tasks if isinstance(task, RemoteTask)]


def committed(job, count, timeout=60.0):
    """Wait for so many checkpoints."""
    end = time.monotonic() + timeout
    while job.metrics().committed < count:
        assert time.monotonic() < end, job
        time.sleep(0.02)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills_lose_and_double_nothing(cluster, tmp_path, seed):
    print("seed", seed)
    chance, kills, count = random.Random(seed), 10, 6000
    env = RayEnvironment(
        "soak",
        parallelism=2,
        checkpoint=Checkpointing(str(tmp_path / "ckpt"), every=0.2),
        restart=FixedDelay(100, 0.0),
    )
    data = clicks(count, keys=KEYS)
    source = env.from_source(Paced(data[::2], data[1::2], rest=0.02), parallelism=2)
    source.map(lambda record: record).key_by("key").process(Running()).sink(JsonlSink(str(tmp_path / "out")))
    job = env.submit()
    for kill in range(kills):
        committed(job, kill + 1)
        victim = chance.choice(actors(job))
        try:
            os.kill(cluster.get(victim.actor.pid.remote(), timeout=20), signal.SIGKILL)
        except cluster.exceptions.RayError:
            continue
    assert job.wait(120) == "finished"
    assert job.restarts >= kills - 2
    assert job.unbalanced() == []
    numbers = defaultdict(list)
    records = lines(str(tmp_path / "out"))
    for record in records:
        numbers[record["key"]].append(record["number"])
    assert sorted(record["n"] for record in records) == list(range(count))
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())


class Loading(MapFunction):
    """Counts how often it is opened, as a model is loaded."""

    def __init__(self, opened):
        self.opened = opened

    def open(self, context):
        self.opened.next()

    def map(self, value):
        return value


def test_only_the_dead_task_loads_its_model_again(cluster, tmp_path):
    living, dying = Tally(), Tally()
    env = RayEnvironment("load", checkpoint=Checkpointing(str(tmp_path), every=0.1), restart=FixedDelay(9, 0.0))
    rows: list = []
    source = env.from_source(Paced(clicks(400), rest=0.02))
    first = source.key_by("key").map(Loading(living), name="living")
    first.key_by("key").map(Loading(dying), name="dying").sink(CollectSink(rows))
    job = env.submit()
    committed(job, 1)
    victim = next(task for task in actors(job) if task.uid == "dying")
    os.kill(cluster.get(victim.actor.pid.remote()), signal.SIGKILL)
    assert job.wait(60) == "finished"
    assert sorted(row["n"] for row in rows) == list(range(400))
    assert job.restarts == 1
    assert (living.next(), dying.next()) == (2, 3)  # opened once, opened twice


def test_an_idle_actor_takes_the_place_of_one_that_is_killed_and_is_idle_again(cluster, tmp_path):
    """Though it asked for a CPU: that is reserved for the task on its node, whichever actor has it there."""
    env = RayEnvironment("spare", checkpoint=Checkpointing(str(tmp_path), every=0.1), restart=FixedDelay(9, 0.0))
    rows, go = [], tmp_path / "go"
    source = env.from_source(Paced(clicks(200), hold=lambda: not go.exists()))
    source.map(lambda row: row, name="victim", resources={"num_cpus": 1}).sink(CollectSink(rows))
    job = env.submit()
    until(lambda: POOL.idle)  # one is made, if there is none, once there is a checkpoint to go back to
    victim = next(task for task in actors(job) if task.uid == "victim")
    killed, idle = victim.actor, list(POOL._idle)
    os.kill(cluster.get(killed.pid.remote()), signal.SIGKILL)
    until(lambda: victim.actor != killed)
    assert victim.actor in idle
    go.touch()
    assert job.wait(60) == "finished"
    assert sorted(row["n"] for row in rows) == list(range(200))
    until(lambda: victim.actor in POOL._idle)
