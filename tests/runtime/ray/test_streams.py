"""The graphs that run on threads run on actors, with the same records coming out."""

from __future__ import annotations

import pytest

from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import TOPOLOGIES, Once, finished, multiset


def never(_):
    return False


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_gives_what_it_gives_on_threads(topology, parallelism):
    env = RayEnvironment("same", parallelism=parallelism)
    rows: list = []
    stream, expected = TOPOLOGIES[topology](env, Once(never))
    stream.sink(CollectSink(rows))
    finished(env, timeout=60)
    assert multiset(rows) == multiset(expected)


def doubled(number):
    return 2 * number


def test_a_function_that_is_an_operator_and_part_of_another_is_there_for_both():
    inner = lambda number: number + 1  # noqa: E731
    env, rows = RayEnvironment("shared", parallelism=2), []
    stream = env.from_collection([1, 2, 3]).map(inner).key_by(str)
    stream.map(lambda number: inner(doubled(number))).map(doubled, parallelism=1).sink(CollectSink(rows))
    finished(env)
    assert sorted(rows) == [10, 14, 18]
