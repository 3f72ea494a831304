"""Which subtask takes a record: by key, to all, by a function of one's own, in turn."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import clicks, multiset, ran


class Placed(MapFunction):
    """Records with the subtask that took them."""

    def open(self, context):
        self.subtask = context.subtask

    def map(self, value):
        return value, self.subtask


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_records_of_a_key_meet_in_one_subtask_in_their_order(parallelism):
    data = clicks(200, keys=20)
    rows, _ = ran(lambda env: env.from_collection(data).key_by("key").map(Placed(), parallelism=parallelism))
    places: dict = {}
    for record, subtask in rows:
        places.setdefault(record["key"], set()).add(subtask)
    assert all(len(subtasks) == 1 for subtasks in places.values())
    assert {subtask for subtasks in places.values() for subtask in subtasks} == set(range(parallelism))
    for key in places:
        numbers = [record["n"] for record, _ in rows if record["key"] == key]
        assert numbers == sorted(numbers)


def test_a_broadcast_reaches_every_subtask():
    rows, _ = ran(lambda env: env.from_collection(["a", "b"]).broadcast().map(Placed(), parallelism=3))
    assert multiset(rows) == multiset((value, subtask) for value in "ab" for subtask in range(3))


def test_a_partitioner_of_ones_own_decides():
    rows, _ = ran(
        lambda env: (
            env.from_collection(list(range(30)))
            .partition_custom(lambda n, count: (n // 10) % count)
            .map(Placed(), parallelism=3)
        )
    )
    assert multiset(rows) == multiset((n, n // 10) for n in range(30))


def test_a_partitioner_is_told_how_many_subtasks_there_are():
    told: set = set()

    def last(value, count):
        told.add(count)
        return count - 1

    rows, _ = ran(lambda env: env.from_collection([1, 2]).partition_custom(last).map(Placed(), parallelism=4))
    assert (told, multiset(rows)) == ({4}, multiset([(1, 3), (2, 3)]))


def test_without_a_key_every_subtask_has_its_share():
    rows, _ = ran(lambda env: env.from_collection(list(range(90))).map(Placed(), parallelism=3))
    assert Counter(subtask for _, subtask in rows) == {0: 30, 1: 30, 2: 30}


def cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def test_auto_is_a_subtask_for_each_cpu():
    rows, job = ran(lambda env: env.from_collection(list(range(90))).map(Placed(), name="place", parallelism="auto"))
    assert {subtask for _, subtask in rows} == set(range(cpus()))
    assert sorted(each.subtask for each in job.metrics().operators if each.uid == "place") == list(range(cpus()))
    assert f"place: map x{cpus()} ← " in str(job.plan.graph)


def test_auto_is_seen_in_the_graph_before_it_is_decided():
    env = LocalEnvironment("many")
    env.from_collection([1]).map(abs, name="work", parallelism="auto").sink(CollectSink([]))
    assert "work: map xauto" in str(env.graph())


def test_auto_of_the_environment_is_for_operators_that_name_no_number():
    env = LocalEnvironment("many", parallelism="auto", max_parallelism=2)
    rows: list = []
    loop = env.from_collection([1, 5]).iterate(lambda body: body.map(lambda n: 2 * n), until=lambda n: n > 9)
    loop.map(lambda n: n + 1, name="one", parallelism=1).sink(CollectSink(rows))
    job = env.submit()
    assert job.wait(60) == "finished"
    many = min(2, cpus())
    wanted = {"source": 1, "head": many, "map": many, "tail": many, "one": 1, "CollectSink": many}
    assert {uid: count for uid, count in job.plan.parallelism().items() if uid in wanted} == wanted
    assert sorted(rows) == [11, 17]


@pytest.mark.parametrize("given", ["all", "Auto", "2", ""])
def test_auto_is_the_only_word_for_a_parallelism(given):
    stream = LocalEnvironment("many").from_collection([1])
    with pytest.raises(BadValueError, match=rf'1 or more, or "auto", got {given!r}'):
        stream.map(abs, parallelism=given)
    with pytest.raises(BadValueError, match=rf'1 or more, or "auto", got {given!r}'):
        LocalEnvironment("many", parallelism=given)


def test_a_list_cannot_be_dealt_out_before_auto_is_decided():
    with pytest.raises(BadValueError, match=r'from_collection\(\) .* cannot take parallelism="auto"; give it a number'):
        LocalEnvironment("many").from_collection([1], parallelism="auto")
