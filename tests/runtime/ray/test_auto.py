"""`parallelism="auto"`: as many subtasks as the cluster has GPUs for those that ask, and CPUs for the others."""

from __future__ import annotations

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink

GPU, HALF, CPU = {"num_gpus": 1}, {"num_gpus": 0.5}, {"num_cpus": 1}


class Seen(MapFunction):
    """Which subtask took it."""

    def open(self, context):
        self.subtask = context.subtask

    def map(self, value):
        return self.subtask


def decided(*operators, **settings):
    """The subtasks of operators (options each), one behind the other, on a cluster of 4 CPUs and 2 GPUs."""
    env, rows = RayEnvironment("auto", **settings), []
    stream = env.from_collection(list(range(40)))
    for at, how in enumerate(operators):
        stream = stream.map(Seen(), name=f"o{at}", **{"parallelism": "auto", **how})
    stream.sink(CollectSink(rows), parallelism=1)
    job = env.submit()
    assert job.wait(90) == "finished"
    counts = job.plan.parallelism()
    shown = [sum(each.uid == f"o{at}" for each in job.metrics().operators) for at in range(len(operators))]
    assert shown == [counts[f"o{at}"] for at in range(len(operators))]
    assert set(rows) == set(range(shown[-1]))
    return shown


def test_model_operators_fill_the_gpus_and_others_the_cpus():
    assert decided({}, {"resources": GPU}) == [4, 2]


def test_shares_fill_the_gpus():
    assert decided({"resources": HALF}) == [4]


def test_two_that_want_gpus_share_them():
    assert decided({"resources": GPU}, {"parallelism": 2}, {"resources": GPU}) == [1, 2, 1]


def test_what_a_fixed_number_asks_for_is_set_aside():
    assert decided({"resources": CPU, "parallelism": 1}, {"parallelism": 2}, {"resources": CPU}) == [1, 2, 3]


def test_no_more_than_max_parallelism():
    assert decided({}, max_parallelism=3) == [3]


def test_auto_of_the_environment_fills_the_cluster():
    assert decided({"parallelism": None}, {"parallelism": 1}, parallelism="auto") == [4, 1]


def test_another_word_is_refused():
    stream = RayEnvironment("auto").from_collection([1])
    with pytest.raises(BadValueError, match=r"or \"auto\", got 'all'"):
        stream.map(abs, parallelism="all")
