"""What becomes of a record that an operator cannot handle: retries, time limits, breakers, fallbacks, batches."""

from __future__ import annotations

import threading
import time

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import Breaker, CircuitOpenError, OperatorTimeoutError, _waits
from sage_nb.runtime.operators.running import BEHIND
from sage_nb.stream.function import AggregateFunction, CoMapFunction, KeyedProcessFunction, MapFunction, ProcessFunction
from sage_nb.stream.policy import CircuitBreaker, DeadLetter, Retry
from sage_nb.stream.sink import CollectSink, SinkFunction
from sage_nb.stream.source import IDLE
from sage_nb.stream.time import monotonous
from sage_nb.stream.window import Count, count_window, tumbling
from tests.runtime.jobs import Paced, finished, ran, until

BAD = 3


def bad(value):
    """Fails at 3."""
    if value == BAD:
        raise ValueError("three")
    return value


class BadProcess(ProcessFunction):
    def process(self, value, context):
        yield bad(value)


class BadSink(SinkFunction):
    """Says so where it fails; the rest it keeps."""

    def __init__(self, rows):
        self.rows = rows

    def __deepcopy__(self, memo):
        return self

    def write(self, value):
        self.rows.append(bad(value))


class BadBatchSink(BadSink):
    def write_batch(self, values):
        self.rows.extend([bad(value) for value in values])


class BadSum(AggregateFunction):
    def create(self):
        return 0

    def add(self, value, accumulator):
        return accumulator + bad(value)

    def result(self, accumulator):
        return accumulator


# Each: (stream, options) -> stream of what comes out; all but the 3 of 1, 2, 3, 4.

OPERATORS = {
    "map": lambda s, how: s.map(bad, **how),
    "filter": lambda s, how: s.filter(lambda n: bad(n) > 0, **how),
    "flat_map": lambda s, how: s.flat_map(lambda n: [bad(n)], **how),
    "generator": lambda s, how: s.flat_map(lambda n: (bad(each) for each in [n]), **how),
    "process": lambda s, how: s.process(BadProcess(), **how),
    "keyed process": lambda s, how: s.key_by(str).process(BadProcess(), **how),
    "co_map": lambda s, how: s.connect(s.filter(lambda n: False)).co_map(bad, bad, **how),
    "co_flat_map": lambda s, how: s.connect(s.filter(lambda n: False)).co_flat_map(lambda n: [bad(n)], bad, **how),
    "split": lambda s, how: s.split(all=lambda n: bad(n) > 0, **how)["all"],
    "with_times": lambda s, how: s.with_times(monotonous(bad), **how),
    "iterate": lambda s, how: s.iterate(lambda body: body.map(bad, **how), until=lambda n: True),
    "until": lambda s, how: s.iterate(lambda body: body.map(abs), until=lambda n: bad(n) > 0, **how),
    "window": lambda s, how: (
        s.key_by(str).window(count_window(1)).aggregate(BadSum(), **how).map(lambda w: w.value).filter(lambda n: n > 0)
    ),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_record_that_fails_goes_to_the_dead_letters_and_the_others_on(operator):
    how = {"name": "poor"}
    rows, job = ran(lambda env: OPERATORS[operator](env.from_collection([1, 2, 3, 4]), how))
    assert sorted(rows) == [1, 2, 4]
    (letter,) = job.dead_letters
    assert letter.operator == ("poor-2" if operator == "until" else "poor")  # its uid: the end of a loop has its own
    assert (letter.record, letter.attempts) == (3, 1)
    assert "three" in letter.error


@pytest.mark.parametrize("operator", OPERATORS)
def test_attempts_are_counted_first_one_and_all(operator):
    how = {"name": "poor", "retry": Retry(2, backoff=0.0)}
    rows, job = ran(lambda env: OPERATORS[operator](env.from_collection([1, 2, 3, 4]), how))
    assert sorted(rows) == [1, 2, 4]
    assert [letter.attempts for letter in job.dead_letters] == [3]


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_job_that_is_to_fail_fails_with_the_operator_and_the_record(operator):
    env = LocalEnvironment("fails")
    how = {"name": "poor", "on_error": "fail"}
    OPERATORS[operator](env.from_collection([1, 2, 3, 4]), how).sink(CollectSink([]))
    with pytest.raises(SageError, match=r"operator 'poor'.* 3: ValueError:? three") as failed:
        env.submit().wait(60)
    assert isinstance(failed.value.__cause__, ValueError)


FALLBACKS = {  # what stands for the record, and what comes of it
    "map": (-3, -3),
    "filter": (True, 3),
    "flat_map": ([-3], -3),
    "process": ([-3], -3),
    "co_map": (-3, -3),
    "co_flat_map": ([-3], -3),
    "split": ("all", 3),
    "with_times": (9.0, 3),
}


@pytest.mark.parametrize("operator", FALLBACKS)
def test_a_fallback_stands_for_what_the_function_would_have_given(operator):
    stand_in, expected = FALLBACKS[operator]
    seen: list = []
    how = {"name": "poor", "on_error": lambda value, error: seen.append((value, "three" in str(error))) or stand_in}
    rows, job = ran(lambda env: OPERATORS[operator](env.from_collection([1, 2, 3, 4]), how))
    assert sorted(rows) == sorted([1, 2, 4, expected])
    assert seen == [(3, True)]
    assert (job.dead_letters, job.metrics().total("poor", "degraded")) == ([], 1)


@pytest.mark.parametrize("operator", FALLBACKS)
def test_a_fallback_that_fails_too_does_not_lose_the_record(operator):
    how = {"name": "poor", "on_error": lambda value, error: 1 / 0}
    rows, job = ran(lambda env: OPERATORS[operator](env.from_collection([1, 2, 3, 4]), how))
    assert sorted(rows) == [1, 2, 4]
    (letter,) = job.dead_letters
    assert (letter.operator, letter.record, letter.attempts) == ("poor", 3, 1)
    assert "its on_error function failed too (ZeroDivisionError: division by zero), on " in letter.error
    assert "three" in letter.error


@pytest.mark.parametrize("kind", [BadSink, BadBatchSink])
def test_a_sink_keeps_what_is_good_and_sends_the_rest_aside(kind):
    env, rows = LocalEnvironment("sinks"), []
    env.from_collection([1, 2, 3, 4]).sink(kind(rows), name="poor", retry=Retry(1, backoff=0.0))
    job = finished(env)
    assert rows == [1, 2, 4]
    assert job.dead_letters == [DeadLetter("poor", 3, "ValueError: three", 2)]


def test_a_sink_that_cannot_reach_its_table_for_a_moment_is_tried_again():
    env, rows, due = LocalEnvironment("sinks"), [], [True]

    def put(value):
        if value == 2 and due and due.pop():
            raise ConnectionError("away")
        rows.append(value)

    env.from_collection([1, 2, 3]).for_each(put, name="table", retry=Retry(1, backoff=0.0))
    job = finished(env)
    assert (rows, job.dead_letters, job.metrics().total("table", "retried")) == ([1, 2, 3], [], 1)


def test_dead_letters_can_be_read_as_a_stream():
    def build(env):
        return env.from_collection([1, 2, 3]).map(bad, name="poor").side("dead")

    rows, job = ran(build)
    assert rows == [DeadLetter("poor", 3, "ValueError: three", 1)]
    assert job.dead_letters == []  # someone else has them


def test_dead_letters_lie_in_the_checkpoint_folder(tmp_path):
    rows, job = ran(lambda env: env.from_collection([1, 2, 3]).map(bad, name="poor"), checkpoint=str(tmp_path))
    assert job.dead_letters == [DeadLetter("poor", 3, "ValueError: three", 1)]
    assert rows == [1, 2]


# Timers and windows have no record of their own to lose, but say what failed.


class Ringing(KeyedProcessFunction):
    def process(self, value, context):
        context.set_timer(value)
        return ()

    def on_timer(self, at, context):
        yield bad(at)


def test_a_timer_that_fails_is_a_dead_letter_and_the_others_ring():
    def build(env):
        return env.from_collection([1, 2, 3, 4]).key_by(str).process(Ringing(), name="ring")

    rows, job = ran(build)
    assert sorted(rows) == [1.0, 2.0, 4.0]
    assert job.dead_letters == [DeadLetter("ring", 3.0, "ValueError: three", 1, BEHIND)]
    assert job.metrics().total("ring", "orphaned") == 1


def test_a_window_whose_result_fails_is_a_dead_letter():
    class Result(Count):
        def result(self, accumulator):
            return bad(accumulator)

    data = ["a", "a", "b", "b", "b"]
    rows, job = ran(lambda env: env.from_collection(data).key_by(str).window(count_window(9)).aggregate(Result()))
    assert [w.value for w in rows] == [2]
    assert [(letter.operator, letter.record) for letter in job.dead_letters] == [("window", 3)]


# Retries.


def test_waits_double_up_to_the_longest_and_are_lengthened_by_chance():
    assert _waits(Retry(4, backoff=1.0, longest=3.0, jitter=0.0))[:4] == [1.0, 2.0, 3.0, 3.0]
    lengthened = [_waits(Retry(1, backoff=1.0, jitter=0.5))[0] for _ in range(200)]
    assert 1.0 <= min(lengthened) < max(lengthened) <= 1.5


def test_only_errors_worth_another_try_are_tried_again():
    calls: list = []

    def failing(value):
        calls.append(value)
        raise (TimeoutError if len(calls) < 3 else KeyError)("now and then")

    retry = Retry(9, backoff=0.0, on=(TimeoutError,))
    _, job = ran(lambda env: env.from_collection([1]).map(failing, retry=retry))
    assert (len(calls), [letter.attempts for letter in job.dead_letters]) == (3, [3])


def test_a_job_does_not_wait_out_its_retries_to_be_cancelled():
    env, called = LocalEnvironment("waits"), threading.Event()
    retry = Retry(3, backoff=600.0)
    env.from_collection([1]).map(lambda n: called.set() or 1 / 0, retry=retry).sink(CollectSink([]))
    job = env.submit()
    assert called.wait(60)
    begun = time.monotonic()
    job.cancel()
    assert time.monotonic() - begun < 60  # of the 600 s until it would have tried again


# Time limits.


def test_a_call_that_takes_too_long_is_left_behind():
    stuck = threading.Event()

    def slow(n):
        if n == 2:
            stuck.wait(60)
        return n

    try:
        rows, job = ran(lambda env: env.from_collection([1, 2, 3]).map(slow, name="slow", timeout=2.0))
    finally:
        stuck.set()
    assert rows == [1, 3]
    assert job.dead_letters == [DeadLetter("slow", 2, "OperatorTimeoutError: 'slow' took longer than 2 s", 1)]


def test_the_limit_of_a_batch_is_that_of_a_call():
    sizes: list = []

    class Batch(MapFunction):
        def map_batch(self, batch):
            sizes.append(len(batch))
            return list(batch)

    rows, _ = ran(lambda env: env.from_collection(list(range(40))).map(Batch, batch=(20, 60.0), timeout=30))
    assert (rows, sizes) == (list(range(40)), [20, 20])


def test_no_thread_of_a_time_limit_outlives_its_job():
    ran(lambda env: env.from_collection([1, 2]).map(abs, name="limited-calls", timeout=30))
    until(lambda: not any("limited-calls" in thread.name for thread in threading.enumerate()))


def test_a_job_that_is_to_fail_fails_at_the_limit():
    env, stuck = LocalEnvironment("limit"), threading.Event()
    env.from_collection([1]).map(lambda n: stuck.wait(60), name="slow", timeout=0.05, on_error="fail").for_each(abs)
    try:
        with pytest.raises(OperatorTimeoutError, match=r"'slow' took longer than 0.05 s"):
            env.submit().wait(60)
    finally:
        stuck.set()


# Circuit breakers.


def test_an_open_circuit_makes_no_calls():
    calls: list = []

    def down(n):
        calls.append(n)
        raise ConnectionError("down")

    breaker = CircuitBreaker(failure_rate=1.0, window=3, open_for=60.0)
    _, job = ran(lambda env: env.from_collection(list(range(10))).map(down, name="far", breaker=breaker))
    assert calls == [0, 1, 2]
    letters = job.dead_letters
    assert [letter.record for letter in letters] == list(range(10))
    assert [letter.attempts for letter in letters] == [1] * 3 + [0] * 7
    assert "CircuitOpenError: 'far' is not called for" in letters[-1].error


def test_an_open_circuit_is_not_waited_for_by_retries():
    calls: list = []

    def down(n):
        calls.append(n)
        raise ConnectionError("down")

    breaker = CircuitBreaker(failure_rate=1.0, window=2, open_for=60.0)
    retry = Retry(5, backoff=0.0)
    _, job = ran(lambda env: env.from_collection([1, 2, 3]).map(down, name="far", breaker=breaker, retry=retry))
    assert calls == [1, 1]
    assert [letter.attempts for letter in job.dead_letters] == [2, 0, 0]
    assert job.metrics().total("far", "retried") == 1


def test_a_circuit_lets_one_call_try_and_closes_or_opens_by_it():
    breaker = Breaker(CircuitBreaker(failure_rate=1.0, window=2, open_for=60.0))
    for _ in range(2):
        breaker.check("far")
        breaker.note(failed=True)
    with pytest.raises(CircuitOpenError, match=r"'far' is not called for \d+.\d s more: too many of its"):
        breaker.check("far")
    breaker._open_until = time.monotonic() - 1  # the time is over
    breaker.check("far")
    breaker.note(failed=True)  # the one that was let try
    with pytest.raises(CircuitOpenError, match=r"'far' is not called"):
        breaker.check("far")
    breaker._open_until = time.monotonic() - 1  # the time is over
    breaker.check("far")
    breaker.note(failed=False)
    breaker.note(failed=True)
    breaker.check("far")  # one of the last two is not all of them


def test_a_circuit_that_is_open_falls_back():
    breaker = CircuitBreaker(failure_rate=1.0, window=1, open_for=60.0)
    how = {"breaker": breaker, "on_error": lambda value, error: type(error).__name__}
    rows, _ = ran(lambda env: env.from_collection([0, 0]).map(lambda n: 1 / n, **how))
    assert rows == ["ZeroDivisionError", "CircuitOpenError"]


# Batches.


class Sized(MapFunction):
    """Notes the batches that it is called with."""

    def __init__(self, calls, fails=()):
        self.calls, self.fails = calls, set(fails)

    def __deepcopy__(self, memo):
        return self

    def map_batch(self, batch):
        self.calls.append(list(batch))
        if self.fails & set(batch):
            raise ValueError("one of them")
        return [10 * value for value in batch]


@pytest.mark.parametrize(("most", "count"), [(1, 5), (4, 12), (4, 13), (100, 7), (256, 1000)])
def test_batches_are_those_asked_for(most, count):
    calls: list = []
    rows, _ = ran(lambda env: env.from_collection(list(range(count))).map(Sized(calls), batch=(most, 60.0)))
    assert rows == [10 * n for n in range(count)]
    assert [len(call) for call in calls] == [most] * (count // most) + [count % most] * (count % most > 0)


def test_a_batch_goes_when_its_oldest_record_has_waited_long_enough():
    calls, go_on = [], threading.Event()

    def source():
        yield from [1, 2]
        while not go_on.is_set():
            yield IDLE
        yield 3

    env = LocalEnvironment("waits")
    env.from_collection(source).map(Sized(calls), batch=(100, 0.02)).sink(CollectSink([]))
    job = env.submit()
    try:
        until(lambda: [each for call in calls for each in call] == [1, 2])
        assert job.status == "running"
    finally:
        go_on.set()
    assert job.wait(60) == "finished"


def test_records_do_not_wait_while_others_are_handled():
    calls: list = []

    class SlowAtFirst(Sized):
        def map_batch(self, batch):
            threading.Event().wait(0 if self.calls else 3.5)
            return super().map_batch(batch)

    env = LocalEnvironment("slow").unchecked()  # a checkpoint would not leave them waiting either
    env.from_collection(list(range(320))).map(SlowAtFirst(calls), batch=(50, 3.0)).sink(CollectSink([]))
    assert env.submit().wait(60) == "finished"
    assert [len(call) for call in calls] == [50] * 6 + [20]


@pytest.mark.parametrize("wait", [0.0, 0.001])
def test_a_short_wait_loses_and_reorders_nothing(wait):
    calls: list = []
    data = list(range(200))
    rows, _ = ran(lambda env: env.from_source(Paced(data)).map(Sized(calls), batch=(16, wait)))
    assert rows == [10 * n for n in data]
    assert max(map(len, calls)) <= 16


@pytest.mark.parametrize("kind", ["filter", "flat_map"])
def test_other_operators_batch_too(kind):
    rows, job = ran(
        lambda env: (
            env.from_collection(list(range(10))).filter(lambda n: n != 5, batch=(4, 60.0), name="step")
            if kind == "filter"
            else env.from_collection(list(range(10))).flat_map(lambda n: [n] * (n != 5), batch=(4, 60.0), name="step")
        )
    )
    assert rows == [n for n in range(10) if n != 5]
    assert job.unbalanced() == []


def test_a_sink_is_given_batches_as_asked_for():
    sizes: list = []

    class Table(SinkFunction):
        def write_batch(self, values):
            sizes.append(len(values))

    env = LocalEnvironment("sinks")
    env.from_collection(list(range(25))).sink(Table(), batch=(10, 60.0))
    finished(env)
    assert sizes == [10, 10, 5]


def test_a_batch_that_fails_is_narrowed_and_a_good_record_called_at_most_twice():
    calls: list = []
    data = list(range(10))
    rows, job = ran(lambda env: env.from_collection(data).map(Sized(calls, {3}), batch=(5, 60.0), name="embed"))
    assert rows == [10 * n for n in data if n != 3]
    assert [letter.record for letter in job.dead_letters] == [3]
    assert calls == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [5, 6, 7, 8, 9]]


def test_only_the_record_to_blame_is_tried_again():
    calls: list = []
    how = {"batch": (3, 60.0), "retry": Retry(2, backoff=0.0), "name": "embed"}
    rows, job = ran(lambda env: env.from_collection([1, 2, 3]).map(Sized(calls, {2}), **how))
    assert rows == [10, 30]
    assert calls == [[1, 2, 3], [1], [2], [2], [2], [3]]
    assert [letter.attempts for letter in job.dead_letters] == [3]
    assert job.metrics().total("embed", "retried") == 2


def test_a_batch_that_only_fails_together_loses_nothing():
    calls: list = []

    class Greedy(Sized):
        def map_batch(self, batch):
            self.calls.append(list(batch))
            if len(batch) > 1:
                raise MemoryError("too many at once")
            return list(batch)

    rows, job = ran(lambda env: env.from_collection([1, 2, 3]).map(Greedy(calls), batch=(3, 60.0)))
    assert (rows, job.dead_letters) == ([1, 2, 3], [])


def test_a_function_may_do_as_it_likes_with_the_list_of_its_batch():
    class Emptying(MapFunction):
        def map_batch(self, batch):
            made = []
            while batch:
                made.append(batch.pop(0))
            return made

    env, ones, others = LocalEnvironment("lists"), [], []
    source = env.from_collection(list(range(20)))
    source.map(Emptying()).sink(CollectSink(ones))
    source.map(lambda n: n).sink(CollectSink(others))
    finished(env)
    assert ones == others == list(range(20))


class Pair(CoMapFunction):
    def map1(self, value):
        return bad(value)

    def map2(self, value):
        return bad(value)


def test_both_sides_of_a_co_map_have_the_policy():
    def build(env):
        return env.from_collection([1, 3]).connect(env.from_collection([3, 4])).co_map(Pair(), name="pair")

    rows, job = ran(build)
    assert sorted(rows) == [1, 4]
    assert job.dead_letters == [DeadLetter("pair", 3, "ValueError: three", 1)] * 2


def test_a_failing_aggregate_of_event_time_counts_its_record_once():
    data = [{"time": float(n), "n": n} for n in (1, 2, 3, 4)]

    class Sum(BadSum):
        def add(self, value, accumulator):
            return accumulator + bad(value["n"])

    def build(env):
        timed = env.from_collection(data, watermark=monotonous())
        return timed.window(tumbling(100)).aggregate(Sum(), name="sum", retry=Retry(2, backoff=0.0))

    rows, job = ran(build)
    assert [w.value for w in rows] == [7]
    assert [(letter.operator, letter.attempts) for letter in job.dead_letters] == [("sum", 3)]
