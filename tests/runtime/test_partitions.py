"""Which subtask takes a record: by key, to all, by a function of one's own, in turn."""

from __future__ import annotations

from collections import Counter

import pytest

from sage_nb.stream.function import MapFunction
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
