"""Loops, case by case: where they end, what their bodies may be, and that nothing stays inside."""

from __future__ import annotations

from collections import Counter

import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.function import KeyedProcessFunction, MapFunction
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.state import ValueState
from sage_nb.stream.time import monotonous
from tests.runtime.jobs import Paced, finished

BODIES = {  # name -> the body, and what 0 … 9 become
    "straight": (lambda s: s.map(lambda n: n + 10), [*range(100, 110)]),
    "keyed": (lambda s: s.key_by(lambda n: n).map(lambda n: n + 10), [*range(100, 110)]),
    "wider": (lambda s: s.map(lambda n: n + 10, parallelism=3), [*range(100, 110)]),
    "broadcast": (
        lambda s: s.map(lambda n: n + 100).broadcast().map(lambda n: n, parallelism=2),
        [*range(100, 110)] * 2,
    ),
    "empty": (lambda s: s.filter(lambda n: False), []),
    "losing": (lambda s: s.map(lambda n: n + 10).filter(lambda n: n % 2), [101, 103, 105, 107, 109]),
    "twice": (lambda s: s.map(lambda n: n + 100).union(s.filter(lambda n: n < 0)), [*range(100, 110)]),
}


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("body", BODIES)
def test_a_loop_ends_whatever_its_body(body, parallelism):
    env, rows = LocalEnvironment("loop", parallelism=parallelism), []
    made, expected = BODIES[body]
    env.from_collection(range(10)).iterate(made, until=lambda n: n >= 100).sink(CollectSink(rows))
    finished(env)
    assert Counter(rows) == Counter(expected)


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_no_record_goes_round_more_often_than_it_may(parallelism):
    env, rows = LocalEnvironment("rounds", parallelism=parallelism), []
    stream = env.from_collection(range(10)).iterate(
        lambda s: s.key_by(lambda n: n % 3).map(lambda n: n + 10), until=lambda n: False, max_rounds=4
    )
    stream.sink(CollectSink(rows))
    finished(env)
    assert sorted(rows) == [*range(40, 50)]


class Aside(KeyedProcessFunction):
    """Sends everything aside."""

    def process(self, value, context):
        context.output("aside", value + 10)


def test_rounds_are_counted_on_the_side_too():
    env, rows = LocalEnvironment("aside"), []
    body = lambda s: s.key_by(lambda n: n).process(Aside).side("aside")  # noqa: E731
    env.from_collection(range(3)).iterate(body, until=lambda n: False, max_rounds=3).sink(CollectSink(rows))
    finished(env)
    assert sorted(rows) == [30, 31, 32]


class Alarm(KeyedProcessFunction):
    """Keeps what comes until a timer rings."""

    def open(self, context):
        self.kept = context.state(ValueState("kept"))

    def process(self, value, context):
        self.kept.update(value)
        context.set_timer(1000)

    def on_timer(self, at, context):
        yield self.kept.value()


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_what_a_body_gives_at_its_end_leaves_the_loop(parallelism):
    env, rows = LocalEnvironment("alarm", parallelism=parallelism), []
    stream = env.from_source(Paced([*range(10)], rest=0), watermark=monotonous(lambda n: n))
    stream.iterate(lambda s: s.key_by(lambda n: n).process(Alarm), until=lambda n: False).sink(CollectSink(rows))
    finished(env)
    assert sorted(rows) == [*range(10)]


def test_a_loop_without_records_ends():
    env, rows = LocalEnvironment("none", parallelism=2), []
    env.from_collection([]).iterate(lambda s: s, until=lambda n: True).sink(CollectSink(rows))
    finished(env)
    assert rows == []


@pytest.mark.parametrize("parallelism", [2, 3])
def test_a_barrier_of_another_head_may_come_home_first(parallelism):
    for _ in range(20):  # which comes first is chance
        env, rows = LocalEnvironment("early", parallelism=parallelism), []
        env.from_collection([1, 2]).map(lambda n: n).iterate(
            lambda s: s.filter(lambda n: False), until=lambda n: True
        ).sink(CollectSink(rows))
        finished(env)
    assert rows == []


@pytest.mark.parametrize("first", ["key_by", "partition_custom", "broadcast"])
def test_a_partition_before_a_loop_holds_on_the_way_in(first):
    env, seen = LocalEnvironment("dealt", parallelism=2), []
    source = env.from_collection(range(8))
    if first == "key_by":
        dealt = source.key_by(lambda n: n % 4)
    elif first == "partition_custom":
        dealt = source.partition_custom(lambda n, subtasks: n % subtasks)
    else:
        dealt = source.broadcast()
    dealt.iterate(lambda s: s.map(Placed), until=lambda p: True).sink(CollectSink(seen))
    finished(env, 60)
    where = {n: {at for at, m in seen if m % 4 == n} for n in range(4)}
    if first == "broadcast":
        assert sorted(seen) == [(at, n) for at in range(2) for n in range(8)]
    else:
        assert sorted(n for _, n in seen) == [*range(8)]
        assert all(len(subtasks) == 1 for subtasks in where.values())
    if first == "partition_custom":
        assert where == {0: {0}, 1: {1}, 2: {0}, 3: {1}}


class Placed(MapFunction):
    """A record with the subtask that saw it."""

    def open(self, context):
        self.at = context.subtask

    def map(self, value):
        return self.at, value
