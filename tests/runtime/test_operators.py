"""Operators and how they are put together: one's own, split, side outputs, connected streams, processes with timers."""

from __future__ import annotations

import threading
import time

import pytest

import sage_nb as sage
from sage_nb.stream.function import KeyedProcessFunction, ProcessFunction
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.time import monotonous, punctuated
from sage_nb.stream.window import Count, tumbling
from tests.runtime.jobs import finished, multiset, ran


@sage.operator
def shout(word):
    return word.upper()


@sage.operator(name="letters", parallelism=2)
def letters(word):
    yield from word


def test_a_function_is_made_an_operator_and_named_after_itself():
    env, rows = sage.LocalEnvironment("own"), []
    env.from_collection(["ab", "c"]).apply(shout).apply(letters).sink(CollectSink(rows))
    job = finished(env)
    assert sorted(rows) == ["A", "B", "C"]
    assert {"shout", "letters"} <= {each.uid for each in job.metrics().operators}
    assert sum(each.uid == "letters" for each in job.metrics().operators) == 2


def test_an_operators_options_can_be_changed_where_it_is_used():
    rows, job = ran(lambda env: env.from_collection(["a"]).apply(shout.using(parallelism=3), name="loud"))
    assert rows == ["A"]
    assert sum(each.uid == "loud" for each in job.metrics().operators) == 3


def test_a_class_and_a_builtin_are_functions_of_a_record():
    assert ran(lambda env: env.from_collection(["1", "2"]).map(int).map(str).map(Box).map(lambda box: box.held))[0] == [
        "1",
        "2",
    ]


class Box:
    def __init__(self, held):
        self.held = held


def test_a_record_goes_to_the_first_branch_that_takes_it_or_to_the_rest():
    env = sage.LocalEnvironment("split")
    branches = env.from_collection(list(range(12))).split(big=lambda n: n > 9, even=lambda n: n % 2 == 0, name="sorted")
    found = {name: [] for name in branches}
    for name, stream in branches.items():
        stream.sink(CollectSink(found[name]), name=name)
    job = finished(env)
    assert found == {"big": [10, 11], "even": [0, 2, 4, 6, 8], "rest": [1, 3, 5, 7, 9]}
    assert job.metrics().total("sorted", "received") == 12


def test_a_rest_that_no_one_reads_counts_as_filtered():
    rows, job = ran(lambda env: env.from_collection([1, 20, 2]).split(big=lambda n: n > 9)["big"])
    assert rows == [20]
    assert job.metrics().total("split", "filtered") == 2


def test_side_outputs_are_streams():
    class Sorting(ProcessFunction):
        def process(self, value, context):
            if value < 0:
                context.output("negative", -value)
            elif value:
                yield value

    env, positive, negative = sage.LocalEnvironment("sides"), [], []
    sorted_out = env.from_collection([3, -1, 0, 4, -2]).process(Sorting())
    sorted_out.sink(CollectSink(positive))
    sorted_out.side("negative").map(lambda n: n).sink(CollectSink(negative))
    finished(env)
    assert (positive, negative) == ([3, 4], [1, 2])


def test_connected_streams_keep_their_own_functions():
    def build(env):
        numbers, words = env.from_collection([1, 2]), env.from_collection(["a", "b"])
        return numbers.connect(words).co_map(lambda n: ("number", n), lambda w: ("word", w))

    assert multiset(ran(build)[0]) == multiset([("number", 1), ("number", 2), ("word", "a"), ("word", "b")])


def test_a_co_flat_map_gives_any_number():
    def build(env):
        numbers, words = env.from_collection([0, 3]), env.from_collection(["ab", ""])
        return numbers.connect(words).co_flat_map(range, lambda w: w)

    with pytest.raises(sage.BadValueError, match=r"operator 'co_map' must return an iterable of records .* got 'ab'"):
        ran(build)

    def mended(env):
        numbers, words = env.from_collection([0, 3]), env.from_collection(["ab", ""])
        return numbers.connect(words).co_flat_map(range, list)

    assert multiset(ran(mended)[0]) == multiset([0, 1, 2, "a", "b"])


class Reminding(KeyedProcessFunction):
    """Reminds of a key some seconds after its record; a second record puts it off."""

    def __init__(self, clock, after):
        self.clock, self.after = clock, after

    def open(self, context):
        self.due = context.state(sage.ValueState("due"))

    def process(self, value, context):
        now = context.time if self.clock == "event" else time.time()
        if self.due.value() is not None:
            context.clear_timer(self.due.value(), self.clock)
        self.due.update(now + self.after)
        context.set_timer(now + self.after, self.clock)
        return ()

    def on_timer(self, at, context):
        self.due.clear()
        yield context.key, context.watermark >= at if self.clock == "event" else None


@pytest.mark.parametrize("parallelism", [1, 2])
def test_timers_ring_when_event_time_has_come_so_far_and_can_be_cleared(parallelism):
    data = [("a", 1.0), ("b", 2.0), ("a", 4.0), ("c", 30.0)]

    def build(env):
        source = env.from_collection(data, watermark=monotonous(lambda pair: pair[1], every=1))
        return source.key_by(lambda pair: pair[0]).process(Reminding("event", 5.0))

    rows, job = ran(build, parallelism=parallelism)
    assert multiset(rows) == multiset([("a", True), ("b", True), ("c", True)])
    assert job.dead_letters == []


def test_timers_of_the_wall_ring_while_nothing_comes():
    rang, go_on = threading.Event(), threading.Event()

    def source():
        yield "a"
        while not rang.is_set() and not go_on.wait(0.002):
            yield sage.IDLE

    env = sage.LocalEnvironment("wall")
    env.from_collection(source).key_by(str).process(Reminding("processing", 0.01)).for_each(lambda _: rang.set())
    job = env.submit()
    try:
        assert rang.wait(60)
    finally:
        go_on.set()
    assert job.wait(60) == "finished"


def test_timers_left_at_the_end_ring_then():
    rows, _ = ran(lambda env: env.from_collection(["a"]).key_by(str).process(Reminding("processing", 3600.0)))
    assert rows == [("a", None)]


def test_a_mark_in_a_record_lets_time_pass():
    data = [{"time": 1}, {"time": 9, "up_to": 5}, {"time": 3}, {"time": 8}]
    strategy = punctuated(lambda record: record.get("up_to"), every=1)

    def build(env):
        windowed = env.from_collection(data, watermark=strategy).window(tumbling(5)).aggregate(Count())
        late = windowed.side("late").map(lambda record: ("late", record["time"]))
        return windowed.map(lambda w: (w.start, w.value)).union(late)

    assert multiset(ran(build)[0]) == multiset([(0, 1), ("late", 3), (5, 2)])


def test_records_are_given_their_times_behind_the_source():
    def build(env):
        parsed = env.from_collection(["1 a", "2 b", "7 c"]).map(str.split)
        return parsed.with_times(monotonous(lambda pair: float(pair[0]))).window(tumbling(5)).aggregate(Count())

    assert [(w.start, w.value) for w in ran(build)[0]] == [(0, 2), (5, 1)]


def test_streams_with_and_without_times_unite_and_a_window_of_them_says_what_is_missing():
    def united(env):
        timed = env.from_collection([{"time": 1.0}], watermark=monotonous())
        return timed.union(env.from_collection([{"time": 2.0}]))

    assert multiset(ran(united)[0]) == multiset([{"time": 1.0}, {"time": 2.0}])
    with pytest.raises(sage.BadValueError, match=r"operator 'window' windows by event time and its records have none"):
        ran(lambda env: united(env).window(tumbling(5)).aggregate(Count()))


def test_time_goes_as_fast_as_the_slowest_of_united_streams():
    fast = [{"time": float(n)} for n in range(20)]
    slow = [{"time": 0.5}, {"time": 1.5}]

    def build(env):
        streams = [env.from_collection(data, watermark=monotonous()) for data in (fast, slow)]
        return streams[0].union(streams[1]).window(tumbling(1)).aggregate(Count()).map(lambda w: (w.start, w.value))

    rows, job = ran(build)
    assert multiset(rows) == multiset([(n, 1 + (n < 2)) for n in range(20)])
    assert job.metrics().total("window", "late") == 0
