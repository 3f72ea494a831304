"""Which actor takes a record, and which node and GPU an actor is on: by key, by one's own function, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.placement import PlacementError
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import clicks, finished, multiset

ROOT = Path(__file__).parents[3]


class Placed(MapFunction):
    """Records with the subtask and the process that took them."""

    def open(self, context):
        self.where = context.subtask, os.getpid()

    def map(self, value):
        return value, *self.where


def placed(environment, partition):
    env, rows = environment("placed"), []
    stream = partition(env.from_collection(clicks(200, keys=20)))
    stream.map(Placed, name="take", parallelism=3).sink(CollectSink(rows), parallelism=1)
    return finished(env), rows


def tens(record, subtasks):
    """Which of the subtasks takes the record: most go to the first."""
    return record["n"] // 10 % subtasks if record["n"] < 90 else 0


@pytest.mark.parametrize(
    ("partition", "skew"),
    [
        (lambda stream: stream.partition_custom(tens), 3 * 140 / 200),  # 30, 30 and 30, and 110 more in the first
        (lambda stream: stream.key_by(lambda record: "hot"), 3.0),
        (lambda stream: stream.key_by("key"), None),
    ],
    ids=["custom", "hot key", "keys"],
)
def test_each_record_comes_to_the_subtask_that_it_comes_to_on_threads(partition, skew):
    (local, here), (job, there) = (placed(environment, partition) for environment in (LocalEnvironment, RayEnvironment))
    assert multiset((record, subtask) for record, subtask, _ in there) == multiset((r, s) for r, s, _ in here)
    processes = {subtask: {pid for _, at, pid in there if at == subtask} for _, subtask, _ in there}
    assert all(len(pids) == 1 for pids in processes.values())
    assert len(set.union(*processes.values())) == len(processes)
    assert os.getpid() not in set.union(*processes.values())
    assert job.metrics().skew("take") == local.metrics().skew("take")
    assert skew is None or job.metrics().skew("take") == skew


class Device(MapFunction):
    """Records with the subtask and the GPU that took them, one behind the other."""

    def open(self, context):
        self.where = context.subtask, os.environ["CUDA_VISIBLE_DEVICES"]

    def map(self, value):
        return *value, self.where


def side_by_side(together, gpus=0.5, **settings):
    """Two operators of two subtasks that ask for shares of a GPU; the second takes from both of the first."""
    env, rows = RayEnvironment("side by side", **settings), []
    how = {"parallelism": 2, "resources": {"num_gpus": gpus}, "together": together, "on_error": "fail"}
    first = env.from_collection([(n,) for n in range(40)]).map(Device, name="first", **how)
    crossed = first.partition_custom(lambda row, subtasks: row[0] // 2 % subtasks)
    crossed.map(Device, name="second", **how).sink(CollectSink(rows), on_error="fail", parallelism=1)
    return env, rows


def test_operators_that_are_together_share_a_gpu_subtask_by_subtask():
    env, rows = side_by_side("models")
    finished(env)
    places = {place for _, *both in rows for place in both}
    assert len(places) == 2  # the subtasks of one number, of both operators, on one device
    assert {device for _, device in places} == {"0", "1"}
    assert {(first, second) for _, (first, _), (second, _) in rows} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_what_is_together_and_does_not_fit_is_refused_by_the_name_it_shares():
    env, _ = side_by_side("models", gpus=0.7)
    with pytest.raises(
        PlacementError, match=r"asks for 2 x 2 GPU \(together='models'\) and the cluster has 2 GPU in all"
    ):
        env.submit()


def test_a_name_to_be_together_by_is_a_text():
    stream = LocalEnvironment("many").from_collection([1])
    with pytest.raises(BadValueError, match="map.. named 'abs': together must be a str, got 3"):
        stream.map(abs, name="abs", together=3)


NODES = """
import sys
import ray
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.simulated import simulated_cluster
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink

class Node(MapFunction):
    def open(self, context):
        self.where = context.subtask, ray.get_runtime_context().get_node_id()

    def map(self, value):
        return *value, self.where

with simulated_cluster() as cluster:
    cluster.grow(2)
    for together, resources in (("", {"num_cpus": 0.5}), ("pair", {"num_cpus": 0.5}), ("pair", {})):
        env, rows = RayEnvironment("nodes"), []
        how = {"parallelism": 2, "resources": resources, "together": together, "on_error": "fail"}
        first = env.from_collection([(n,) for n in range(40)]).map(Node, **how)
        crossed = first.partition_custom(lambda row, subtasks: row[0] // 2 % subtasks)
        crossed.map(Node, **how).sink(CollectSink(rows), on_error="fail", parallelism=1)
        assert env.submit().wait(100) == "finished"
        places = {place for _, *both in rows for place in both}
        print(len(rows), len({subtask for subtask, _ in places}), len({node for _, node in places}), len(places))
"""


@pytest.mark.timeout(600)
def test_operators_that_are_together_share_a_node_subtask_by_subtask():
    command = [sys.executable, "-c", NODES]
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=path, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    apart, together, for_nothing = (tuple(map(int, line.split())) for line in done.stdout.splitlines())
    assert apart == (40, 2, 2, 4)  # packed operator by operator: each of a subtask's two is on a node of its own
    assert together == (40, 2, 2, 2)
    assert for_nothing[:2] == (40, 2)
    assert for_nothing[2] == for_nothing[3] or for_nothing[2:] == (1, 2)  # both pairs may share one node
