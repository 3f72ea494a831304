"""process, case by case: timers, state that ages, and what goes aside."""

from __future__ import annotations

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.keyed import KeyedStore
from sage_nb.runtime.keys import KeyGroups
from sage_nb.stream.function import KeyedProcessFunction, ProcessFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.state import ValueState
from sage_nb.stream.time import monotonous
from tests.runtime.jobs import Boom, Paced, clicks, finished


def processed(function, records, **how):
    """What a process function gives for keyed records, each followed by its watermark; the side "aside"; the job."""
    env, rows, aside = LocalEnvironment("process"), [], []
    made = env.from_source(Paced(records, rest=0), watermark=monotonous(every=1)).key_by("key").process(function, **how)
    made.sink(CollectSink(rows))
    made.side("aside").sink(CollectSink(aside))
    return rows, aside, finished(env)


class Past(KeyedProcessFunction):
    """Sets a timer that is long due."""

    def process(self, value, context):
        context.set_timer(value["n"] - 100)
        yield "record", value["n"]

    def on_timer(self, at, context):
        yield "timer", at


def test_a_timer_of_the_past_rings_when_time_next_goes_on():
    rows, _, _ = processed(Past, clicks(2, keys=1))
    assert rows == [("record", 0), ("timer", -100), ("record", 1), ("timer", -99)]


class Twice(KeyedProcessFunction):
    """Sets one timer again and again, and takes another back."""

    def process(self, value, context):
        context.set_timer(50)
        context.set_timer(60)
        context.clear_timer(60)

    def on_timer(self, at, context):
        yield at


def test_a_timer_set_again_rings_once_and_one_taken_back_never():
    assert processed(Twice, clicks(5, keys=1))[0] == [50]


class Chained(KeyedProcessFunction):
    """Each timer sets the next, three times."""

    def process(self, value, context):
        context.set_timer(10)

    def on_timer(self, at, context):
        if at < 40:
            context.set_timer(at + 10)
        yield at


def test_timers_that_others_set_at_the_end_ring_too():
    assert processed(Chained, clicks(1))[0] == [10, 20, 30, 40]


class Endless(KeyedProcessFunction):
    """Sets a timer anew whenever one rings."""

    clock = "event"

    def process(self, value, context):
        context.set_timer(value["time"] + 1, self.clock)

    def on_timer(self, at, context):
        context.set_timer(at + 1, self.clock)
        yield at


def test_a_timer_that_is_set_anew_for_ever_is_told_so_at_the_end():
    with pytest.raises(SageError, match="operator 'ticks' sets a timer each time that one rings.* is infinite"):
        processed(Endless, clicks(1), name="ticks")


class Wall(Endless):
    """The same by the clock on the wall, far in the future."""

    clock = "processing"

    def process(self, value, context):
        context.set_timer(1e15, self.clock)


def test_timers_of_the_wall_ring_once_at_the_end():
    assert processed(Wall, clicks(1))[0] == [1e15]


class Tried(ProcessFunction):
    """Sends aside, and fails: at 1 the first time, at 2 always."""

    def __init__(self):
        self.due = True

    def process(self, value, context):
        context.output("aside", value["n"])
        if value["n"] == 2 or (value["n"] == 1 and self.due):
            self.due = value["n"] == 2
            raise Boom("after it went aside")
        yield value["n"]


def test_what_went_aside_of_a_record_tried_again_went_once_and_of_a_dead_one_never():
    rows, aside, job = processed(Tried, clicks(4), retry=Retry(1, backoff=0.0))
    assert (rows, aside) == ([0, 1, 3], [0, 1, 3])
    assert [letter.record["n"] for letter in job.dead_letters] == [2]


def test_a_fallback_stands_for_records_not_for_timers_or_keys():
    env, rows = LocalEnvironment("fallback"), []
    stream = env.from_collection([1, 0, 2]).map(lambda n: n, on_error=lambda record, error: -1)
    stream.key_by(lambda n: 1 // n).map(lambda n: n).sink(CollectSink(rows))
    job = finished(env)
    assert (rows, [letter.record for letter in job.dead_letters]) == ([1, 2], [0])


@pytest.fixture
def store():
    return KeyedStore(KeyGroups(128))


def test_state_is_gone_when_it_has_not_been_written_for_its_ttl(store):
    handle = store.declare(ValueState("seen", 0, ttl=60))
    store.select("a")
    handle.update(1)
    assert handle.value() == 1
    store.current()["seen"][0] -= 70  # written so many seconds earlier
    assert handle.value() == 0


def test_a_key_that_keeps_nothing_takes_no_room(store):
    handle = store.declare(ValueState("seen", 0))
    for key in range(1000):
        store.select(key)
        handle.update(key)
        handle.clear()
    assert sum(len(entries) for _, entries in store._table.by_group()) <= 1
