"""What a person gets wrong is said in one sentence that names the operator, what was given, and the mend."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.function import FilterFunction, MapFunction, ProcessFunction
from sage_nb.stream.policy import CircuitBreaker, Retry
from sage_nb.stream.sink import CollectSink, IdempotentSink
from sage_nb.stream.source import SourceFunction
from sage_nb.stream.time import WatermarkStrategy, bounded_out_of_orderness, monotonous
from sage_nb.stream.window import Count, count_window, sliding, tumbling
from tests.runtime.jobs import finished


class Map(MapFunction):
    def map(self, value):
        return value


class Unnamed:
    """Looks like a map function, and is none."""

    def open(self, context):
        pass

    def map(self, value):
        return value


class Flushing(IdempotentSink):
    """Keeps records aside until it is told that a checkpoint counts on them."""

    def flush(self):
        pass


class Counted(Map):
    """Has state of its own."""

    def snapshot_state(self):
        return 0

    def restore_state(self, state):
        pass


def stream(items=(1, 2, 3), **how):
    return LocalEnvironment("bad").from_collection(list(items), **how)


# What is refused when the stream is built. (build, the sentence)

REFUSED = {
    "arity": (lambda s: s.map(lambda a, b: a), r"map\(\) calls its function with one argument; <lambda>\(a, b\) takes"),
    "no argument": (lambda s: s.filter(lambda: True), r"filter\(\) calls its function with one argument; <lambda>\(\)"),
    "arity of until": (
        lambda s: s.iterate(lambda b: b, until=lambda: True),
        r"iterate\(until=…\) calls its function with",
    ),
    "arity of reduce": (
        lambda s: s.window(count_window(2)).reduce(max_of_one),
        r"reduce\(\) calls .* two arguments; max_of_one",
    ),
    "arity of on_error": (
        lambda s: s.map(str, on_error=lambda v: v),
        r"map\(\): on_error= calls .* two arguments; <lambda>\(v\)",
    ),
    "not a function": (lambda s: s.map(3), r"map\(\) takes a function or a MapFunction, got 3; derive your class"),
    "the function's result": (lambda s: s.map(len("abc")), r"map\(\) takes a function or a MapFunction, got 3"),
    "not derived": (
        lambda s: s.map(Unnamed()),
        r"map\(\) takes a function or a MapFunction, got .*Unnamed.*; derive your class",
    ),
    "of another kind": (lambda s: s.map(Keep), r"map\(\) takes a function or a MapFunction, got .*Keep"),
    "process of a lambda": (lambda s: s.process(lambda v: v), r"process\(\) takes a ProcessFunction, got <function"),
    "apply of a function": (
        lambda s: s.apply(str),
        r"apply\(\) takes a pipeline or an @operator, got <class 'str'>; use map",
    ),
    "aggregate of a function": (
        lambda s: s.window(tumbling(1)).aggregate(sum),
        r"aggregate\(\) takes an AggregateFunction such",
    ),
    "mistyped option": (
        lambda s: s.map(str, paralelism=2),
        r"option of map\(\) 'paralelism'; did you mean 'parallelism'\?",
    ),
    "mistyped by far": (
        lambda s: s.filter(bool, speed=2),
        r"unknown option of filter\(\) 'speed' \(known: batch, breaker",
    ),
    "parallelism 0": (
        lambda s: s.map(str, name="tidy", parallelism=0),
        r"map\(\) named 'tidy': parallelism must be a whole",
    ),
    "parallelism True": (
        lambda s: s.map(str, parallelism=True),
        r'map\(\): parallelism must be .* 1 or more, or "auto", got True',
    ),
    "parallelism text": (lambda s: s.map(str, parallelism="2"), r"map\(\): parallelism must be .*, got '2'"),
    "timeout text": (lambda s: s.map(str, timeout="5s"), r"map\(\): timeout must be more than 0 seconds, got '5s'"),
    "timeout 0": (lambda s: s.map(str, timeout=0), r"map\(\): timeout must be more than 0 seconds, got 0"),
    "timeout of a process": (
        lambda s: s.process(Late(), timeout=1),
        r"process\(\) takes no timeout=; put what may take long",
    ),
    "timeout of a sink that holds back": (
        lambda s: s.sink(CollectSink([]), timeout=1),
        r"sink\(CollectSink\) takes no timeout=; put what may take long into a map\(…, timeout=…\) before it",
    ),
    "timeout of a sink that flushes": (
        lambda s: s.sink(Flushing(), timeout=1),
        r"sink\(Flushing\) takes no timeout=; put what may take long",
    ),
    "timeout of what has state": (
        lambda s: s.map(Counted(), timeout=1),
        r"map\(Counted\) takes no timeout=; put what may take long",
    ),
    "timeout of a class that has state": (
        lambda s: s.map(Counted, timeout=1),
        r"map\(Counted\) takes no timeout=; put what may take long",
    ),
    "retry 3": (lambda s: s.map(str, retry=3), r"map\(\): retry must be a Retry, got 3"),
    "breaker True": (lambda s: s.map(str, breaker=True), r"map\(\): breaker must be a CircuitBreaker, got True"),
    "on_error": (lambda s: s.map(str, on_error="dead-letter"), r"map\(\): on_error must be 'dead_letter', 'fail' or a"),
    "batch 0": (lambda s: s.map(str, batch=0), r"batch=\(most, wait\) needs 1 record or more .* got \(0, 0.05\)"),
    "batch of three": (
        lambda s: s.map(str, batch=(1, 2, 3)),
        r"batch= takes a number of records, or \(most, wait\), got",
    ),
    "batch of a window": (
        lambda s: s.window(tumbling(1)).aggregate(Count(), batch=2),
        r"window\(\) .* takes no batch=",
    ),
    "resources": (lambda s: s.map(str, resources="gpu"), r"resources= of map\(\) takes a mapping: .*got 'gpu'"),
    "resource name": (
        lambda s: s.map(str, resources={"gpus": 1}),
        r"map\(\): unknown resource 'gpus'; did you mean 'num_gpus'",
    ),
    "resource amount": (
        lambda s: s.map(str, resources={"num_gpus": "all"}),
        r"resources=\{'num_gpus': …\} must be a number",
    ),
    "resource negative": (lambda s: s.map(str, resources={"num_cpus": -1}), r"must be a number of 0 or more, got -1"),
    "name": (lambda s: s.map(str, name=5), r"map\(\): name must be a str, got 5"),
    "key": (lambda s: s.key_by(3), r"key_by\(\) takes a field's name or a function of a record, got 3"),
    "partitioner": (lambda s: s.partition_custom(lambda v: 0), r"partition_custom\(\) calls .* two arguments"),
    "union": (lambda s: s.union([1, 2]), r"union\(\) takes streams, got \[1, 2\]; make one with from_collection"),
    "connect": (lambda s: s.connect(3), r"connect\(\) takes streams, got 3"),
    "join": (lambda s: s.join([1], on="a", window=tumbling(1)), r"join\(\) takes streams, got \[1\]"),
    "join without a bound": (lambda s: s.join(s, on="a"), r"join\(\) takes either window=tumbling\(…\) or between="),
    "join how": (
        lambda s: s.join(s, on="a", window=tumbling(1), how="innner"),
        r"unknown join 'innner'; did you mean 'inner'",
    ),
    "join between": (lambda s: s.join(s, on="a", between=(5, 1)), r"lower no more than upper, got \(5, 1\)"),
    "window": (lambda s: s.window(60), r"window\(\) takes tumbling\(…\), sliding\(…\), .* got 60"),
    "lateness": (
        lambda s: s.window(tumbling(1), allowed_lateness=-1),
        r"allowed_lateness must be 0 seconds or more, got -1",
    ),
    "window length": (lambda s: s.window(tumbling(0)), r"a window's length must be more than 0 seconds, got 0"),
    "window gaps": (lambda s: s.window(sliding(5, 10)), r"a slide of 10 s leaves gaps between windows of 5 s"),
    "with_times": (lambda s: s.with_times(5), r"with_times\(\) takes bounded_out_of_orderness\(…\), say, got 5"),
    "split into nothing": (lambda s: s.split(), r"split\(\) takes name=predicate pairs"),
    "split into rest": (lambda s: s.split(rest=bool), r"'rest', 'out' and 'dead' are names of its own"),
    "split by a value": (lambda s: s.split(big=9), r"split\(big=…\) takes a function, got 9 \(int\)"),
    "side": (lambda s: s.map(str).side("lte"), r"unknown side output of map 'lte' \(known: dead\)"),
    "side of a window": (
        lambda s: s.window(tumbling(1)).aggregate(Count()).side("lat"),
        r"'lat'; did you mean 'late'\?",
    ),
    "body without a stream": (
        lambda s: s.iterate(lambda b: None, until=bool),
        r"a body that returns a stream, it returned None",
    ),
    "max_rounds": (lambda s: s.iterate(lambda b: b, until=bool, max_rounds=1.5), r"whole number of 1 or more, got 1.5"),
    "co_map": (lambda s: s.connect(s).co_map(str), r"co_map\(\) takes a CoMapFunction, or two functions"),
    "sink class": (lambda s: s.sink(CollectSink), r"sink\(\) takes a sink such .*; write CollectSink\(…\)"),
    "sink list": (lambda s: s.sink([]), r"sink\(\) takes a sink .*got \[\]; for a list write CollectSink\(list\)"),
    "sink function": (lambda s: s.sink(print), r"sink\(\) takes a sink .*; for a function write .for_each\(function\)"),
    "for_each": (lambda s: s.for_each("x"), r"for_each\(\) takes a function, got 'x' \(str\)"),
}


def max_of_one(value):
    return value


class Keep(FilterFunction):
    def filter(self, value):
        return True


class Late(ProcessFunction):
    def process(self, value, context):
        yield value


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_when_the_stream_is_built(what):
    build, sentence = REFUSED[what]
    with pytest.raises(SageError, match=sentence) as failed:
        build(stream())
    assert "\n" not in str(failed.value)
    assert len(str(failed.value)) < 300


VALUES = {
    "retry 0": (lambda: Retry(0), r"Retry needs a number of times, 1 or more, got 0"),
    "retry backoff": (lambda: Retry(1, backoff=-1), r"Retry's backoff must be 0 or more seconds, got -1"),
    "retry on": (lambda: Retry(1, on=("TimeoutError",)), r"Retry\(on=…\) takes classes of errors"),
    "breaker": (lambda: CircuitBreaker(failure_rate=2), r"needs a failure_rate in \(0, 1\]"),
    "watermark delay": (
        lambda: bounded_out_of_orderness(math.nan),
        r"out-of-orderness must be 0 seconds or more, got nan",
    ),
    "watermark field": (lambda: monotonous(3), r"timestamp must be a field's name or a function, got 3"),
    "watermark every": (lambda: WatermarkStrategy(every=0), r"every must be 1 record or more, got 0"),
    "count window": (lambda: count_window(2.5), r"whole number of records, 1 or more, got 2.5"),
    "source class": (lambda: LocalEnvironment().from_source(Counting), r"got <class .*; write Counting\(…\)"),
    "source list": (
        lambda: LocalEnvironment().from_source([1]),
        r"takes a SourceFunction, got \[1\]; try from_collection\(\)",
    ),
    "source watermark": (lambda: LocalEnvironment().from_source(Counting(), watermark=5), r"watermark= takes .* got 5"),
    "collection of text": (
        lambda: LocalEnvironment().from_collection("abc"),
        r"from_collection\(\) takes a list, .* got 'abc'",
    ),
    "collection of a number": (
        lambda: LocalEnvironment().from_collection(5),
        r"from_collection\(\) takes a list, .* got 5",
    ),
    "collection in parts": (
        lambda: LocalEnvironment().from_collection(iter([1]), parallelism=2),
        r"only a list can be dealt out to 2 splits",
    ),
    "environment parallelism": (lambda: LocalEnvironment(parallelism=0), r"parallelism must be a whole number"),
    "environment restart": (lambda: LocalEnvironment(restart=3), r"restart= takes a strategy such as FixedDelay"),
    "environment checkpoint": (lambda: LocalEnvironment(checkpoint=3), r"checkpoint= takes a folder or Checkpointing"),
    "checkpointing": (lambda: Checkpointing("x", every=0), r"every and timeout above 0 seconds"),
    "no sink": (lambda: LocalEnvironment("empty").submit(), r"environment 'empty' has no sink, so nothing would run"),
    "collect into a tuple": (lambda: CollectSink(()), r"CollectSink appends to a list, got a tuple"),
    "the uid of two": (lambda: with_uids("a", "a").submit(), r"two operators have the uid 'a'; give each its own"),
}


class Counting(SourceFunction):
    def read(self, split, start):
        yield from range(start, 10**9)


def with_uids(*uids):
    env = LocalEnvironment("uids")
    one = env.from_collection([1])
    for uid in uids:
        one = one.map(str, uid=uid)
    one.sink(CollectSink([]))
    return env


@pytest.mark.parametrize("what", VALUES)
def test_what_cannot_be_meant_is_refused(what):
    make, sentence = VALUES[what]
    with pytest.raises(SageError, match=sentence):
        make()


def test_a_path_is_a_checkpoint_folder(tmp_path):
    env = LocalEnvironment("path", checkpoint=Path(tmp_path))
    env.from_collection([1]).sink(CollectSink([]))
    finished(env)
    assert any(name.name.startswith("chk-") for name in tmp_path.iterdir())


def test_names_that_look_like_made_up_ones_stay_different():
    env = LocalEnvironment("names")
    env.from_collection([1]).map(str, name="map-2").map(str).map(str).map(str).sink(CollectSink([]))
    uids = [uid for uid, _ in env.graph().nodes]
    assert len(uids) == len(set(uids))
    finished(env)
