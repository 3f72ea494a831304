"""What SAGE promises and gets wrong, measured on its releases: a test for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.stream.function import FilterFunction, FlatMapFunction, KeyedProcessFunction, MapFunction, ProcessFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink, SinkFunction
from sage_nb.stream.source import IDLE, SourceFunction
from sage_nb.stream.state import ListState, MapState, ReducingState, ValueState
from sage_nb.stream.time import monotonous
from sage_nb.stream.window import Count, count_window, session, tumbling
from tests.runtime.jobs import Paced, clicks, finished, multiset, ran, until

FALSY = [None, 0, "", False, 0.0, b"", (), None, 0]


# A graph with branches loses none of them.


def test_two_branches_of_one_stream_are_both_delivered():
    env = LocalEnvironment("branches")
    numbers = env.from_collection(list(range(10)))
    even, odd, all_of_them = [], [], []
    numbers.filter(lambda n: n % 2 == 0).sink(CollectSink(even))
    numbers.filter(lambda n: n % 2 == 1).sink(CollectSink(odd))
    numbers.sink(CollectSink(all_of_them))
    finished(env)
    assert (even, odd, all_of_them) == ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9], list(range(10)))


def test_a_branch_that_is_cut_off_by_an_error_does_not_cut_off_the_other():
    env = LocalEnvironment("branches")
    numbers = env.from_collection([1, 0, 2])
    halves, rows = [], []
    numbers.map(lambda n: 1 / n, name="divide").sink(CollectSink(halves))
    numbers.sink(CollectSink(rows))
    job = finished(env)
    assert (halves, rows) == ([1.0, 0.5], [1, 0, 2])
    assert [(letter.operator, letter.record) for letter in job.dead_letters] == [("divide", 0)]


def test_upstream_parallelism_loses_nothing():
    rows, _ = ran(
        lambda env: env.from_collection(list(range(500))).map(lambda n: n, parallelism=3).map(str, parallelism=2)
    )
    assert multiset(rows) == multiset(map(str, range(500)))


# None, 0, "", False are records and keys like any other.

PASSING = {
    "map": lambda s: s.map(lambda v: v),
    "a map of batches": lambda s: s.map(Whole(), batch=(3, 0.01)),
    "filter": lambda s: s.filter(lambda v: True),
    "flat_map": lambda s: s.flat_map(lambda v: [v]),
    "process": lambda s: s.process(Passing()),
    "a keyed process": lambda s: s.key_by(lambda v: v).process(Passing()),
    "union": lambda s: s.filter(lambda v: False).union(s),
    "split": lambda s: s.split(all=lambda v: True)["all"],
    "the rest of a split": lambda s: s.split(none=lambda v: False)["rest"],
    "co_map": lambda s: s.connect(s.filter(lambda v: False)).co_map(lambda v: v, lambda v: v),
    "co_flat_map": lambda s: s.connect(s.filter(lambda v: False)).co_flat_map(lambda v: [v], lambda v: [v]),
    "broadcast": lambda s: s.broadcast().map(lambda v: v),
    "partition_custom": lambda s: s.partition_custom(lambda v, n: n - 1).map(lambda v: v, parallelism=2),
    "a side output": lambda s: s.process(Aside()).side("aside"),
    "a fallback": lambda s: s.map(lambda v: 1 / 0, on_error=lambda v, error: v),
    "iterate": lambda s: s.iterate(lambda body: body.map(lambda v: v), until=lambda v: True),
    "with_times": lambda s: s.with_times(monotonous(lambda v: 1.0)),
    "dead letters": lambda s: s.map(lambda v: 1 / 0).side("dead").map(lambda letter: letter.record),
}


class Whole(MapFunction):
    def map_batch(self, batch):
        return list(batch)


class Passing(ProcessFunction):
    def process(self, value, context):
        yield value


class Aside(ProcessFunction):
    def process(self, value, context):
        context.output("aside", value)


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("through", PASSING)
def test_nothing_is_taken_for_no_record(through, parallelism):
    rows, _ = ran(lambda env: PASSING[through](env.from_collection(FALSY)), parallelism=parallelism)
    times = parallelism if through == "broadcast" else 1
    assert multiset(rows) == multiset(FALSY * times)


def test_a_late_nothing_goes_aside():
    data = [("first", 100.0), *((value, 0.0) for value in FALSY)]

    def build(env):
        source = env.from_collection(data, watermark=monotonous(lambda pair: pair[1], every=1))
        return source.map(lambda pair: pair[0]).window(tumbling(1)).aggregate(Count()).side("late")

    assert ran(build)[0] == FALSY


@pytest.mark.parametrize("source", [FALSY, tuple(FALSY), lambda: iter(FALSY)], ids=["list", "tuple", "function"])
def test_nothing_in_a_source_ends_it(source):
    assert ran(lambda env: env.from_collection(source))[0] == FALSY


def test_nothing_from_a_source_of_ones_own_ends_it():
    class Falsy(SourceFunction):
        def read(self, split, start):
            yield from FALSY[start:]

    assert ran(lambda env: env.from_source(Falsy()))[0] == FALSY


def test_sinks_are_given_nothings_too(tmp_path):
    env = LocalEnvironment("sinks")
    stream = env.from_collection([None, 0, "", False])
    called: list = []
    stream.for_each(called.append)
    stream.sink(sink_into(str(tmp_path)))
    finished(env)
    assert called == [None, 0, "", False]
    assert [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()] == [
        "null",
        "0",
        '""',
        "false",
    ]


def sink_into(folder):
    from sage_nb.stream.sink import JsonlSink

    return JsonlSink(folder)


class Tally(KeyedProcessFunction):
    """The how-manieth record of its key each one is."""

    def open(self, context):
        self.count = context.state(ValueState("count", 0))

    def process(self, value, context):
        self.count.update(self.count.value() + 1)
        yield context.key, self.count.value()


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_falsy_keys_are_keys_of_their_own(parallelism):
    keys = [None, 0, "", False, 0.0, b"", ()]
    rows, _ = ran(
        lambda env: env.from_collection(keys * 3).key_by(lambda v: v).process(Tally()), parallelism=parallelism
    )
    assert multiset(rows) == multiset((key, number) for key in keys for number in (1, 2, 3))


@pytest.mark.parametrize("windows", [count_window(3), tumbling(10), session(5)], ids=["count", "tumbling", "session"])
def test_falsy_keys_have_windows(windows):
    keys = [None, 0, "", False]
    data = [{"key": key, "time": 1.0} for key in keys * 3]
    rows, _ = ran(
        lambda env: (
            env.from_collection(data, watermark=monotonous())
            .key_by("key")
            .window(windows)
            .aggregate(Count())
            .map(lambda w: (w.key, w.value))
        ),
        parallelism=2,
    )
    assert multiset(rows) == multiset((key, 3) for key in keys)


def test_falsy_keys_and_values_are_joined():
    keys = [None, 0, "", False]
    data = [(key, 1.0) for key in keys]

    def build(env):
        one, two = (env.from_collection(data, watermark=monotonous(lambda pair: pair[1])) for _ in "ab")
        return one.join(two, on=lambda pair: pair[0], window=tumbling(10)).map(lambda pair: (pair[0][0], pair[1][0]))

    assert multiset(ran(build, parallelism=2)[0]) == multiset((key, key) for key in keys)


def test_a_falsy_value_is_kept_by_every_kind_of_state():
    class Keeper(KeyedProcessFunction):
        def open(self, context):
            self.value = context.state(ValueState("value", "default"))
            self.list = context.state(ListState("list"))
            self.map = context.state(MapState("map"))
            self.fold = context.state(ReducingState("fold", lambda a, b: b))

        def process(self, value, context):
            self.value.update(value)
            self.list.add(value)
            self.map.put(value, value)
            self.fold.add(value)
            found = self.value.value(), self.list.get()[-1], self.map.get(value, "none"), self.fold.get()
            yield [each == value and type(each) is type(value) for each in found], len(self.list.get())

    rows, _ = ran(lambda env: env.from_collection([None, 0, "", False]).key_by(lambda _: 1).process(Keeper()))
    assert rows == [([True] * 4, number) for number in (1, 2, 3, 4)]


# Parallelism is what was asked for.


class Meeting(MapFunction):
    """At its first record it waits until all that shall run at once have one; counts its own."""

    def __init__(self, meeting):
        self.meeting = meeting

    def __deepcopy__(self, memo):
        return Meeting(self.meeting)

    def open(self, context):
        self.mine = 0
        self.meeting.instances.append(self)

    def map(self, value):
        if self.mine == 0:
            self.meeting.all_here.wait(60)
        self.mine += 1
        return value


class Place:
    """Where so many meet, and no more."""

    def __init__(self, size):
        self.all_here = threading.Barrier(size)
        self.instances: list = []


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_parallelism_is_how_many_run_at_once(parallelism):
    meeting = Place(parallelism)
    ran(lambda env: env.from_collection(list(range(80))).map(Meeting(meeting), parallelism=parallelism))
    assert not meeting.all_here.broken
    assert len({id(each) for each in meeting.instances}) == len(meeting.instances) == parallelism
    assert sum(each.mine for each in meeting.instances) == 80


class Counting(MapFunction):
    """A counter that another thread's update would spoil: it reads, waits for its turn, and writes."""

    def __init__(self, found):
        self.found, self.count = found, 0

    def __deepcopy__(self, memo):
        return Counting(self.found)

    def map(self, value):
        before = self.count
        if value % 500 == 0:
            time.sleep(0)
        self.count = before + 1
        return value

    def close(self):
        self.found.append(self.count)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_twenty_thousand_counter_updates_end_at_twenty_thousand(parallelism):
    found: list = []
    ran(lambda env: env.from_collection(list(range(20_000))).map(Counting(found), parallelism=parallelism))
    assert len(found) == parallelism
    assert sum(found) == 20_000


# The life cycle is honoured for every kind of function.


class Living:
    """Notes when it is opened and closed."""

    def __init__(self, log, fails=None):
        self.log, self.fails = log, fails

    def __deepcopy__(self, memo):
        return type(self)(self.log, self.fails)

    def open(self, context):
        self.subtask = context.subtask
        self.log.append(("open", self.subtask))

    def close(self):
        self.log.append(("close", self.subtask))

    def check(self, value):
        if value == self.fails:
            raise ValueError("an accident")
        return value


class Mapping(Living, MapFunction):
    def map(self, value):
        return self.check(value)


class Keeping(Living, FilterFunction):
    def filter(self, value):
        return self.check(value) >= 0


class Spreading(Living, FlatMapFunction):
    def flat_map(self, value):
        yield self.check(value)


class Processing(Living, ProcessFunction):
    def process(self, value, context):
        yield self.check(value)


class Writing(Living, SinkFunction):
    def write(self, value):
        self.check(value)


KINDS = {
    "map": lambda s, log, fails, how: s.map(Mapping(log, fails), **how).sink(CollectSink([])),
    "filter": lambda s, log, fails, how: s.filter(Keeping(log, fails), **how).sink(CollectSink([])),
    "flat_map": lambda s, log, fails, how: s.flat_map(Spreading(log, fails), **how).sink(CollectSink([])),
    "process": lambda s, log, fails, how: s.process(Processing(log, fails), **how).sink(CollectSink([])),
    "sink": lambda s, log, fails, how: s.sink(Writing(log, fails), **how),
}


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_open_and_close_are_called_once_in_each_subtask(kind, parallelism):
    env, log = LocalEnvironment("life"), []
    KINDS[kind](env.from_collection(list(range(50))), log, None, {"parallelism": parallelism})
    finished(env)
    assert Counter(log) == {(word, subtask): 1 for word in ("open", "close") for subtask in range(parallelism)}


@pytest.mark.parametrize("kind", KINDS)
def test_open_and_close_are_called_once_on_failure_too(kind):
    env, log = LocalEnvironment("life"), []
    KINDS[kind](env.from_collection(list(range(50))), log, 25, {"on_error": "fail", "name": "poor", "parallelism": 2})
    job = env.submit()
    with pytest.raises(OperatorError, match=r"operator 'poor' failed on 25: ValueError: an accident"):
        job.wait(60)
    opened = sorted(subtask for word, subtask in log if word == "open")
    assert opened == sorted(subtask for word, subtask in log if word == "close")
    assert len({*opened}) == len(opened) > 0  # one that failed early may have kept another from being opened


# Errors reach their policy.


def test_an_error_that_no_policy_was_given_for_is_a_dead_letter_and_the_rest_goes_on():
    rows, job = ran(lambda env: env.from_collection(list(range(20))).map(lambda n: 1 / (n - 7), name="inverse"))
    assert len(rows) == 19
    (letter,) = job.dead_letters
    assert (letter.operator, letter.record, letter.attempts) == ("inverse", 7, 1)
    assert letter.error == "ZeroDivisionError: division by zero"


def test_an_accident_that_passes_is_tried_again_and_not_seen():
    due = {3, 11}

    def shaky(n):
        if n in due:
            due.discard(n)
            raise OSError("busy")
        return n

    rows, job = ran(
        lambda env: env.from_collection(list(range(20))).map(shaky, name="shaky", retry=Retry(1, backoff=0.0))
    )
    assert rows == list(range(20))
    assert job.metrics().total("shaky", "retried") == 2
    assert job.dead_letters == []


# Batches, joins, latency.


def test_the_last_partial_batch_is_processed():
    sizes: list = []

    class Sized(MapFunction):
        def map_batch(self, batch):
            sizes.append(len(batch))
            return list(batch)

    rows, _ = ran(lambda env: env.from_collection(list(range(25))).map(Sized, batch=(10, 60.0)))
    assert rows == list(range(25))
    assert sizes == [10, 10, 5]


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
def test_joins_keep_both_sides(how):
    left = [{"key": key, "time": 1.0, "side": "left"} for key in (1, 2)]
    right = [{"key": key, "time": 1.0, "side": "right"} for key in (2, 3)]

    def build(env):
        one, two = (env.from_collection(data, watermark=monotonous()) for data in (left, right))
        return one.join(two, on="key", window=tumbling(10), how=how)

    expected = [(left[1], right[0])]
    expected += [(left[0], None)] if how in ("left", "outer") else []
    expected += [(None, right[1])] if how in ("right", "outer") else []
    assert multiset(ran(build)[0]) == multiset(expected)


def test_the_first_result_comes_before_the_source_has_been_read():
    read: list = []
    seen: list = []

    class Long(SourceFunction):
        def read(self, split, start):
            for n in range(start, 100_000):
                read.append(n)
                yield n

    env = LocalEnvironment("early", parallelism=2)
    stream = env.from_source(Long()).map(lambda n: n + 1).key_by(lambda n: n % 7).filter(lambda n: True)
    stream.map(lambda n: n).for_each(lambda n: seen or seen.append(len(read)))
    finished(env)
    assert len(read) == 100_000
    assert seen[0] < 50_000


def test_a_collected_row_shows_while_the_job_runs():
    env, rows, go_on = LocalEnvironment("shows"), [], threading.Event()

    def waiting():
        yield from range(3)
        while not go_on.is_set():
            yield IDLE
        yield 3

    env.from_collection(waiting).sink(CollectSink(rows))
    job = env.submit()
    try:
        until(lambda: rows == [0, 1, 2])
        assert job.status == "running"
    finally:
        go_on.set()
    assert job.wait(60) == "finished"
    assert rows == [0, 1, 2, 3]


# One process is as another.

PLACES = """
import json
from sage_nb.runtime.keys import KeyGroups
from sage_nb.stream.fingerprint import fingerprint
groups = KeyGroups(128)
keys = ["a", "user-17", "", 0, 1, -5, 2**70, 1.5, None, True, b"x", ("a", 1), ("é", None)]
print(json.dumps([groups.of(key)[1] for key in keys] + [fingerprint({"k": "v", "a": (1, None)})]))
"""


def python(code: str, seed: str, cwd) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=env, cwd=cwd)


def test_a_key_has_its_place_in_every_process(tmp_path):
    outputs = [json.loads(python(PLACES, seed, tmp_path).stdout) for seed in ("1", "2")]
    assert outputs[0] == outputs[1]


QUIET = """
import signal, threading
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink

class Rough(MapFunction):
    due = True
    def map(self, value):
        if value == 5 and Rough.due:
            Rough.due = False
            raise OSError("an accident")
        return 1 / value
    def close(self):
        if value_error := not Rough.due and Rough.__dict__.get("spoilt") is None:
            Rough.spoilt = True
            raise ValueError("closing fails too")

def job():
    env, rows = LocalEnvironment("quiet", restart=FixedDelay(3, 0.0)), []
    env.from_collection(list(range(10))).map(Rough, on_error="fail").sink(CollectSink(rows))
    try:
        env.submit().wait(60)
    except Exception:
        pass
    env = LocalEnvironment("quiet")
    env.from_collection(list(range(10))).map(lambda n: 1 / n).sink(CollectSink(rows))
    assert env.submit().wait(60) == "finished"
    assert len(rows) == 9

job()
thread = threading.Thread(target=job)  # as from a widget's callback
thread.start()
thread.join()
assert handlers == {number: signal.getsignal(number) for number in signal.valid_signals()}
"""


def test_a_job_prints_nothing_writes_nothing_and_leaves_signals_alone(tmp_path):
    done = python(QUIET, "0", tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_a_users_is_not_written_into():
    data = clicks(5)
    before = [dict(record) for record in data]
    ran(lambda env: env.from_source(Paced(data, rest=0)).key_by("key").process(Tally()))
    assert data == before
