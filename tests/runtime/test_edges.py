"""Edges: full batches, nobody's batch changed, each record where its partition says."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.runtime.edge import InTurn, Keyed, Straight, ToAll
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.operators.running import Clock
from sage_nb.stream.batch import FULL, Barrier, Batch, apart
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink, SinkFunction
from tests.runtime.jobs import Boom, finished


class Pipe:
    """A port into a list; `full` is what its reader likes."""

    def __init__(self, full=FULL, waits=0.0):
        self.full, self.waits, self.items = full, waits, []

    def send(self, attempt, item):
        self.items.append(item)
        return self.waits

    @property
    def values(self):
        return [item.values for item in self.items if isinstance(item, Batch)]

    @property
    def records(self):
        return [value for values in self.values for value in values]


def edge_to(*pipes, kind=Straight):
    operator = SimpleNamespace(place=SimpleNamespace(clock=Clock()))
    return kind(operator, pipes)


def feed(edge, *lists):
    for values in lists:
        edge.receive(Batch(list(values)))


def test_a_full_batch_goes_at_once_and_is_not_copied():
    pipe, whole = Pipe(), Batch(list(range(FULL)))
    edge_to(pipe).receive(whole)
    assert pipe.items == [whole]


def test_small_batches_wait_until_they_are_full_or_flushed():
    pipe = Pipe()
    edge = edge_to(pipe)
    feed(edge, range(200))
    assert (pipe.values, edge.waiting, edge.count) == ([], 200, 0)
    feed(edge, range(200, 300))
    assert (pipe.values, edge.waiting, edge.count) == ([list(range(FULL))], 44, 256)
    edge.flush()
    assert (pipe.values[1:], edge.waiting, edge.count) == ([list(range(256, 300))], 0, 300)


def test_a_sign_comes_behind_all_records():
    pipe = Pipe()
    edge = edge_to(pipe)
    feed(edge, [1, 2])
    edge.sign(Barrier(7))
    assert [getattr(item, "values", item) for item in pipe.items] == [[1, 2], Barrier(7)]


def test_a_batch_that_is_too_big_is_cut():
    pipe = Pipe()
    edge = edge_to(pipe)
    feed(edge, range(1000))
    edge.flush()
    assert [len(values) for values in pipe.values] == [256, 256, 256, 232]
    assert pipe.records == list(range(1000))


def test_a_slow_reader_gets_batches_as_small_as_it_likes():
    pipe = Pipe(full=3)
    feed(edge_to(pipe), range(6))
    assert pipe.values == [[0, 1, 2], [3, 4, 5]]


def test_heavy_records_make_smaller_batches():
    pipe = Pipe()
    edge = edge_to(pipe)
    feed(edge, ["x" * 20_000] * 7, [{"text": "y" * 100_000}] * 2)
    edge.flush()
    assert [len(values) for values in pipe.values] == [3, 3, 1, 1, 1]


def test_columns_that_differ_never_share_a_batch():
    pipe = Pipe()
    edge = edge_to(pipe)
    edge.receive(Batch([1]))
    edge.receive(Batch([2], [0.5]))
    edge.flush()
    assert [(item.values, item.times) for item in pipe.items] == [([1], None), ([2], [0.5])]


def test_the_wait_for_a_full_channel_is_no_ones_self_time():
    edge = edge_to(Pipe(waits=1000.0))
    clock = edge.operator.place.clock
    clock.enter("map")
    feed(edge, [1])
    edge.flush()
    clock.leave()
    assert clock.sheet.blocked_s == 1000.0
    assert clock.seconds["map"] < 500


def test_records_go_to_subtasks_in_turn_one_by_one():
    pipes = [Pipe(), Pipe(), Pipe()]
    edge = edge_to(*pipes, kind=InTurn)
    feed(edge, range(4), range(4, 6))
    edge.flush()
    assert [pipe.records for pipe in pipes] == [[0, 3], [1, 4], [2, 5]]


def test_what_is_held_back_is_not_changed_through_the_batch_it_came_in():
    pipe, first = Pipe(), Batch([1, 2])
    edge = edge_to(pipe)
    edge.receive(first)
    feed(edge, [3])
    edge.flush()
    assert (first.values, pipe.values) == ([1, 2], [[1, 2, 3]])


keys = st.one_of(st.integers(-5, 5), st.text(max_size=2), st.booleans(), st.none(), st.tuples(st.integers(0, 3)))


@given(st.lists(st.lists(keys, max_size=8), max_size=6), st.integers(1, 4))
def test_every_record_goes_to_the_owner_of_its_key_in_order(lists, count):
    pipes, groups = [Pipe() for _ in range(count)], KeyGroups(128)
    operator = SimpleNamespace(place=SimpleNamespace(clock=Clock()))
    edge = Keyed(operator, pipes, lambda value: value, groups)
    feed(edge, *lists)
    edge.flush()
    everything = [key for each in lists for key in each]
    for at, pipe in enumerate(pipes):
        mine = [key for key in everything if groups.owner(groups.of(key)[1], count) == at]
        got = pipe.records
        assert list(map(repr, got)) == list(map(repr, mine))
        assert list(map(repr, [key for item in pipe.items for key in item.keys])) == list(map(repr, mine))


def test_readers_of_a_broadcast_do_not_share_changeable_records():
    pipes = [Pipe(), Pipe()]
    edge = edge_to(*pipes, kind=ToAll)
    feed(edge, [{"n": [1]}])
    edge.flush()
    pipes[0].values[0][0]["n"].append(2)
    assert pipes[1].values == [[{"n": [1]}]]


def test_apart_copies_arrays_and_what_is_nested():
    record = {"vector": np.zeros(2), "seen": {1}, "pair": ([1], "a")}
    copy = apart(record)
    copy["vector"] += 1
    copy["seen"].add(2)
    copy["pair"][0].append(2)
    assert record["vector"].tolist() == [0, 0]
    assert (record["seen"], record["pair"]) == ({1}, ([1], "a"))


# In whole jobs: what a user's function does to what it is given stays its own affair.


class InPlace(MapFunction):
    """Negates a list of numbers where it lies, and hands on the very list."""

    def map_batch(self, batch):
        for at, value in enumerate(batch):
            batch[at] = -value
        return batch


class Reusing(MapFunction):
    """Gives the same list each time."""

    def open(self, context):
        self.out = []

    def map_batch(self, batch):
        self.out[:] = batch
        return self.out


@pytest.mark.parametrize("how", [{}, {"parallelism": 2}])
def test_a_branch_that_maps_in_place_does_not_disturb_the_other(how):
    env, changed, untouched = LocalEnvironment("j"), [], []
    source = env.from_collection(list(range(1000)))
    source.map(InPlace(), **how).sink(CollectSink(changed))
    source.map(lambda n: n).sink(CollectSink(untouched))
    finished(env)
    assert sorted(untouched) == list(range(1000))
    assert sorted(changed) == sorted(-n for n in range(1000))


def test_a_branch_that_changes_its_records_does_not_disturb_the_other_nor_the_source():
    env, changed, untouched, rows = LocalEnvironment("j"), [], [], [{"n": n} for n in range(300)]
    source = env.from_collection(rows)
    source.map(lambda r: r.update(n=-r["n"]) or r).sink(CollectSink(changed))
    source.sink(CollectSink(untouched))
    finished(env)
    assert untouched == rows == [{"n": n} for n in range(300)]
    assert changed == [{"n": -n} for n in range(300)]


def test_a_function_that_reuses_its_list_does_not_change_what_it_gave_before():
    env, rows = LocalEnvironment("j"), []
    source = env.from_collection(list(range(1000)))
    source.map(Reusing()).map(lambda n: n, parallelism=2).sink(CollectSink(rows))
    finished(env)
    assert sorted(rows) == list(range(1000))


class Clearing(SinkFunction):
    """Empties the lists it is given."""

    def write_batch(self, values):
        values.clear()


def test_a_sink_that_empties_its_list_does_not_disturb_the_other():
    env, rows = LocalEnvironment("j"), []
    source = env.from_collection(list(range(1000)))
    source.sink(Clearing())
    source.sink(CollectSink(rows))
    job = finished(env)
    assert rows == list(range(1000))
    assert job.metrics().total("Clearing", "passed") == 1000


def test_a_function_that_raises_stop_iteration_loses_no_record():
    def raising(n):
        if n % 3 == 0:
            raise StopIteration
        return n

    env, rows = LocalEnvironment("j"), []
    env.from_collection(list(range(30))).map(raising).sink(CollectSink(rows))
    env.from_collection(list(range(30))).key_by(raising).map(lambda n: n, parallelism=2).sink(CollectSink(rows))
    job = finished(env)
    assert Counter(rows) == Counter(2 * [n for n in range(30) if n % 3])
    assert sorted(letter.record for letter in job.dead_letters) == sorted(2 * list(range(0, 30, 3)))


def test_a_function_is_called_once_for_each_record_though_some_fail():
    calls = []

    def counting(n):
        calls.append(n)
        if n % 7 == 3:
            raise Boom(str(n))
        return n

    env, rows = LocalEnvironment("j"), []
    env.from_collection(list(range(500))).map(counting).sink(CollectSink(rows))
    finished(env)
    assert calls == list(range(500))
    assert rows == [n for n in range(500) if n % 7 != 3]
