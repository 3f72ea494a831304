"""What goes wrong only when records flow: the job fails, or the record goes aside, and the operator is named."""

from __future__ import annotations

import math
import re
import threading
import time

import pytest

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.stream.function import MapFunction, ProcessFunction
from sage_nb.stream.sink import CollectSink, JsonlSink
from sage_nb.stream.source import SourceFunction
from sage_nb.stream.state import ListState, ValueState
from sage_nb.stream.time import monotonous, punctuated
from sage_nb.stream.window import Count, count_window, tumbling
from tests.runtime.jobs import finished, ran, until

# What shows only when records flow: the job fails with a sentence that names the operator.


class Short(MapFunction):
    def map_batch(self, batch):
        return batch[:-1]


class Nothing(MapFunction):
    def map_batch(self, batch):
        return None


class Unsnapshotted(MapFunction):
    def map(self, value):
        return value

    def snapshot_state(self):
        return {"seen": object()}

    def restore_state(self, state):
        pass


class Timer(ProcessFunction):
    def __init__(self, at=5.0, clock="event"):
        self.at, self.clock = at, clock

    def process(self, value, context):
        context.set_timer(self.at, self.clock)
        return ()


class Stateful(MapFunction):
    def __init__(self, *declared):
        self.declared = declared

    def open(self, context):
        self.states = [context.state(each) for each in self.declared]

    def map(self, value):
        return value


class Early(MapFunction):
    def open(self, context):
        context.state(ValueState("seen", 0)).value()


class Locked(MapFunction):
    def __init__(self):
        self.lock = threading.Lock()


class Unmade(MapFunction):
    def __init__(self):
        raise KeyError("no such model")


class Unopened(MapFunction):
    def open(self, context):
        raise OSError("no such file")


FAILING = {
    "filter gives None": (
        lambda s: s.filter(lambda v: None, name="keep"),
        r"filter 'keep' returned None; it must return True",
    ),
    "filter gives an array": (
        lambda s: s.filter(lambda v: Unsure(), name="keep"),
        r"filter 'keep' must return True or False",
    ),
    "flat_map gives text": (
        lambda s: s.flat_map(str, name="words"),
        r"operator 'words' must return an iterable .* got '1'",
    ),
    "flat_map gives None": (lambda s: s.flat_map(lambda v: None, name="words"), r"operator 'words' must .* got None"),
    "flat_map gives a dict": (
        lambda s: s.flat_map(lambda v: {"a": v}, name="words"),
        r"operator 'words' must .* got \{'a': 1\}",
    ),
    "flat_map gives a number": (lambda s: s.flat_map(lambda v: v, name="words"), r"operator 'words' must .* got 1"),
    "process gives a number": (
        lambda s: s.process(Wrong(), name="odd"),
        r"operator 'odd' must return an iterable .* got 5",
    ),
    "a batch too short": (
        lambda s: s.map(Short(), name="embed", batch=3),
        r"operator 'embed': map_batch gave 2 for 3 values",
    ),
    "a batch of None": (lambda s: s.map(Nothing(), name="embed"), r"operator 'embed': map_batch gave a NoneType for"),
    "split predicate": (
        lambda s: s.split(big=lambda v: None)["big"],
        r"branch 'big' of 'split' returned None; it must",
    ),
    "timer without keys": (
        lambda s: s.process(Timer(), name="ring"),
        r"operator 'ring' sets a timer on a stream without keys",
    ),
    "timer at nan": (
        lambda s: s.key_by(str).process(Timer(math.nan), name="ring"),
        r"'ring' sets a timer at nan; give it seconds",
    ),
    "timer at None": (
        lambda s: s.key_by(str).process(Timer(None), name="ring"),
        r"operator 'ring' sets a timer at None",
    ),
    "timer on no clock": (
        lambda s: s.key_by(str).process(Timer(5.0, "wall"), name="ring"),
        r"operator 'ring' sets a timer on the clock 'wall'; it is 'event' or 'processing'",
    ),
    "state without keys": (
        lambda s: s.map(Stateful(ValueState("seen")), name="count"),
        r"'count' declares the state 'seen' on a stream without keys; put .key_by\(…\) before it",
    ),
    "state twice": (
        lambda s: s.key_by(str).map(Stateful(ValueState("seen"), ListState("seen")), name="count"),
        r"operator 'count': the state 'seen' is declared twice, and differently",
    ),
    "state in open": (
        lambda s: s.key_by(str).map(Early(), name="count"),
        r"operator 'count': keyed state belongs to a key",
    ),
    "state ttl": (
        lambda s: s.key_by(str).map(Stateful(ValueState("seen", ttl=0)), name="count"),
        r"operator 'count': the ttl of the state 'seen' must be more than 0 seconds, got 0",
    ),
    "state that is none": (
        lambda s: s.key_by(str).map(Stateful("seen"), name="count"),
        r"'count': state\(\) takes a declaration",
    ),
    "state and timeout": (
        lambda s: s.key_by(str).map(Stateful(ValueState("seen")), name="count", timeout=1),
        r"operator 'count' has keyed state and a timeout=",
    ),
    "not copied": (
        lambda s: s.map(Locked(), name="locked"),
        r"operator 'locked': its Locked cannot be copied .* in open\(\)",
    ),
    "not made": (
        lambda s: s.map(Unmade, name="unmade"),
        r"operator 'unmade' failed when it was made: KeyError: 'no such model'",
    ),
    "not opened": (
        lambda s: s.map(Unopened(), name="poor"),
        r"operator 'poor' failed when it was opened: OSError: no such file",
    ),
    "window without times": (
        lambda s: s.key_by(str).window(tumbling(5)).aggregate(Count()),
        r"operator 'window' windows by event time and its records have none; give the source a watermark=",
    ),
    "join without times": (
        lambda s: s.join(s, on=str, window=tumbling(5)),
        r"operator 'join' joins by event time and its records have none; give the sources a watermark=",
    ),
    "sys.exit": (
        lambda s: s.map(leave, name="leaves"),
        r"a function of (source|leaves)\[0\] left its thread: SystemExit: 3",
    ),
    "fallback of a flat_map": (
        lambda s: s.flat_map(lambda v: 1 / 0, name="words", on_error=lambda v, e: "text"),
        r"operator 'words' must return an iterable of records .* got 'text'",
    ),
    "fallback of a split": (
        lambda s: s.split(big=lambda v: 1 / 0, on_error=lambda v, e: "huge")["big"],
        r"on_error of 'split' must give one of \['big', 'rest'\], got 'huge'",
    ),
}


class Unsure:
    def __bool__(self):
        raise ValueError("ambiguous")


class Wrong(ProcessFunction):
    def process(self, value, context):
        return 5


def leave(value):
    raise SystemExit(3)


@pytest.mark.parametrize("what", FAILING)
def test_a_mistake_fails_the_job_in_a_sentence_that_names_the_operator(what):
    build, sentence = FAILING[what]
    env = LocalEnvironment("bad")
    build(env.from_collection([1, 2, 3])).sink(CollectSink([]))
    job = env.submit()
    with pytest.raises(SageError, match=sentence) as failed:
        job.wait(60)
    assert "\n" not in str(failed.value)
    assert job.status == "failed"


def test_state_that_is_no_plain_data_is_named_with_its_operator(tmp_path):
    env = LocalEnvironment("bad", checkpoint=str(tmp_path))
    env.from_collection([1]).map(Unsnapshotted(), name="clever").sink(CollectSink([]))
    with pytest.raises(
        BadValueError, match=r"operator 'clever' cannot be checkpointed: a builtins.object is no plain data"
    ):
        env.submit().wait(60)


# Sources.


class Breaking(SourceFunction):
    def read(self, split, start):
        yield from range(start, 5)
        raise ValueError("the line is dead")


class Forgetful(SourceFunction):
    def read(self, split, start):
        self.split = split


class Splitting(SourceFunction):
    def __init__(self, names):
        self.names = names

    def splits(self):
        return self.names

    def read(self, split, start):
        return []


SOURCES = {
    "raises midway": (
        Breaking(),
        OperatorError,
        r"source 'feed' failed in split '0', after its record \d: ValueError: the line",
    ),
    "gives nothing": (
        Forgetful(),
        BadValueError,
        r"source 'feed': read\(\) must yield records or return an iterable, got None",
    ),
    "splits in a text": (
        Splitting("abc"),
        BadValueError,
        r"source 'feed': splits\(\) must give different names, got 'abc'",
    ),
    "splits twice": (
        Splitting(["a", "a"]),
        BadValueError,
        r"source 'feed': splits\(\) must give different names, got \['a'",
    ),
    "splits by number": (
        Splitting([1, 2]),
        BadValueError,
        r"source 'feed': splits\(\) must give different names, got \[1",
    ),
}


@pytest.mark.parametrize("what", SOURCES)
def test_a_source_that_fails_is_named(what):
    source, kind, sentence = SOURCES[what]
    env = LocalEnvironment("bad")
    env.from_source(source, name="feed").sink(CollectSink([]))
    with pytest.raises(kind, match=sentence):
        env.submit().wait(60)


def test_an_empty_collection_is_an_empty_stream():
    assert ran(lambda env: env.from_collection([]).key_by(str).window(count_window(3)).aggregate(Count()))[0] == []


def test_a_generator_that_an_earlier_run_has_read_is_said():
    env, rows = LocalEnvironment("again"), []
    env.from_collection((n for n in range(3)), name="once").sink(CollectSink(rows))
    finished(env)
    with pytest.raises(
        BadValueError, match=r"source 'once': .* iterator, which an earlier run has read; give it a list"
    ):
        env.submit().wait(60)
    assert rows == [0, 1, 2]


def test_a_function_that_makes_the_generator_can_be_run_again():
    env, rows = LocalEnvironment("again"), []
    env.from_collection(lambda: (n for n in range(3))).sink(CollectSink(rows))
    finished(env)
    finished(env)
    assert rows == [0, 1, 2] * 2


def test_a_list_dealt_out_otherwise_than_at_its_checkpoint_is_said(tmp_path):
    def env(parts):
        made = LocalEnvironment("dealt", checkpoint=str(tmp_path))
        made.from_collection(list(range(9)), parallelism=parts, uid="list").sink(
            CollectSink([]), uid="sink", parallelism=1
        )
        return made

    finished(env(1))
    with pytest.raises(SageError, match=r"dealt out to 1 subtasks when .* now to 2; give it parallelism=1 again"):
        env(2).submit().wait(60)


# Keys.


class Item:
    pass


ODD = {
    "a list": ([1], "a list cannot be a key; it can change: make it a tuple"),
    "a dict": ({"a": 1}, "a dict cannot be a key; it can change: make it a tuple"),
    "an object": (Item(), "a Item cannot be a key; use numbers, text, bytes or tuples"),
    "a list in a tuple": ((1, [2]), "a list cannot be a key; it can change: make it a tuple"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_cannot_be_a_key_goes_to_the_dead_letters_by_name(what):
    key, sentence = ODD[what]
    env, rows = LocalEnvironment("keys"), []
    source = env.from_collection([1, 2, 3], name="feed")
    source.key_by(lambda n: key if n == 2 else n).map(lambda n: n, name="count").sink(CollectSink(rows))
    job = finished(env)
    (letter,) = job.dead_letters
    assert (rows, letter.operator, letter.record) == ([1, 3], "feed", 2)
    assert "record of 'feed' finds no place at 'count'" in letter.error
    assert sentence in letter.error


def test_a_key_function_that_raises_sends_the_record_to_the_dead_letters():
    rows, job = ran(
        lambda env: env.from_collection([{"k": 1}, {}, {"k": 2}], name="feed").key_by("k").map(len, name="len")
    )
    assert rows == [1, 1]
    (letter,) = job.dead_letters
    assert letter.error == "OperatorError: a record of 'feed' finds no place at 'len': KeyError: 'k'; it is {}"


def test_a_key_function_that_raises_fails_a_job_that_is_to_fail():
    env = LocalEnvironment("keys")
    env.from_collection([{}], name="feed", on_error="fail").key_by("k").map(len, name="len").sink(CollectSink([]))
    with pytest.raises(OperatorError, match=r"record of 'feed' finds no place at 'len': KeyError: 'k'; it is \{\}"):
        env.submit().wait(60)


def test_a_fallback_is_not_asked_for_a_place():
    env, rows = LocalEnvironment("keys"), []
    source = env.from_collection([1, 0]).map(lambda n: n, name="same", on_error=lambda value, error: "instead")
    source.key_by(lambda n: 1 / n).map(str).sink(CollectSink(rows))
    job = finished(env)
    assert (rows, [letter.record for letter in job.dead_letters]) == (["1"], [0])


def test_one_and_one_point_nought_and_true_are_three_keys_and_zero_has_no_sign():
    keys = [1, 1.0, True, 0.0, -0.0, math.nan, float("nan"), (1, 0.0), (1, -0.0)]

    def build(env):
        counted = env.from_collection(keys).key_by(lambda key: key).window(count_window(9)).aggregate(Count())
        return counted.map(lambda w: (repr(w.key), w.value))

    rows, _ = ran(build, parallelism=3)
    assert sorted(rows) == [("(1, 0.0)", 2), ("0.0", 2), ("1", 1), ("1.0", 1), ("True", 1), ("nan", 2)]


@pytest.mark.parametrize("to", [-1, 2, 10**9, True, None, "0", 1.0])
def test_a_partitioner_out_of_range_is_said(to):
    env, rows = LocalEnvironment("parts"), []
    source = env.from_collection([1, 2], name="feed")
    source.partition_custom(lambda n, count: to if n == 2 else 0).map(str, parallelism=2, name="read").sink(
        CollectSink(rows)
    )
    job = finished(env)
    (letter,) = job.dead_letters
    assert (rows, letter.record) == (["1"], 2)
    assert re.search(r"at 'read': .*must give a subtask from 0 to 1, got " + re.escape(repr(to)), letter.error)


# Times.


@pytest.mark.parametrize("at", [math.nan, math.inf, None, "soon", [1]])
def test_a_record_without_a_moment_goes_to_the_dead_letters(at):
    data = [{"time": 1.0}, {"time": at}, {}, {"time": 2.0}]

    def build(env):
        timed = env.from_collection(data, name="feed", watermark=monotonous())
        return timed.window(tumbling(10)).aggregate(Count()).map(lambda w: w.value)

    rows, job = ran(build)
    assert rows == [2]
    assert [letter.operator for letter in job.dead_letters] == ["feed", "feed"]
    assert all("no event time in " in letter.error and "timestamp=" in letter.error for letter in job.dead_letters)


@pytest.mark.parametrize("mark", [math.nan, "soon"])
def test_a_marker_that_gives_no_moment_is_a_dead_letter(mark):
    strategy = punctuated(lambda record: mark if record["time"] == 2 else None)
    data = [{"time": 1.0}, {"time": 2.0}, {"time": 3.0}]
    rows, job = ran(lambda env: env.from_collection(data).with_times(strategy, name="times").map(lambda r: r["time"]))
    assert rows == [1.0, 3.0]
    (letter,) = job.dead_letters
    assert (letter.operator, letter.record) == ("times", {"time": 2.0})
    assert "the marker must give seconds, or None" in letter.error


# What never ends.


def test_a_source_that_never_ends_runs_visibly_and_can_be_cancelled():
    env = LocalEnvironment("endless")
    env.from_source(Counting()).map(lambda n: n, name="same").for_each(abs)
    job = env.submit()
    until(lambda: job.metrics().total("same", "received") > 1000)
    assert job.status == "running"
    job.cancel()  # comes back
    assert job.status == "cancelled"


class Counting(SourceFunction):
    def read(self, split, start):
        yield from range(start, 10**9)


class Blocked(SourceFunction):
    """Gives one record and comes back no more."""

    def __init__(self, never):
        self.never = never

    def __deepcopy__(self, memo):
        return self

    def read(self, split, start):
        yield from range(start, 1)
        self.never.wait(120)


def asleep(env, never, begun):
    env.from_collection(list(range(9))).map(lambda n: begun.set() or never.wait(120), name="asleep").sink(
        CollectSink([])
    )


def blocked(env, never, begun):
    env.from_source(Blocked(never)).map(lambda n: begun.set() or n).sink(CollectSink([]))


@pytest.mark.parametrize("how", ["cancel", "pause"])
@pytest.mark.parametrize("stuck", [asleep, blocked])
def test_what_does_not_come_back_does_not_keep_a_job_from_stopping(stuck, how, tmp_path):
    env, never, begun = LocalEnvironment("stuck", checkpoint=str(tmp_path)), threading.Event(), threading.Event()
    stuck(env, never, begun)
    job = env.submit()
    try:
        assert begun.wait(60)
        since = time.monotonic()
        getattr(job, how)()
        took = time.monotonic() - since
    finally:
        never.set()
    assert job.status == {"cancel": "cancelled", "pause": "paused"}[how]
    assert took < 60  # 2 s on a machine at rest, of the 120 s that the call takes
    if how == "pause":
        assert any("paused at the last checkpoint" in each for each in job.warnings)


def test_dead_letters_that_json_has_no_words_for_are_kept_as_text(tmp_path):
    odd = [math.nan, {(1, 2): 3}, "\ud800", Item(), Unshown()]
    env = LocalEnvironment("odd", checkpoint=str(tmp_path))
    env.from_collection(odd).map(explode, name="bad").sink(JsonlSink(str(tmp_path / "out")))
    job = finished(env)
    assert [letter.operator for letter in job.dead_letters] == ["bad"] * 5
    assert [letter.record for letter in job.dead_letters][:3] == ["nan", "{(1, 2): 3}", r"'\ud800'"]
    assert job.dead_letters[4].record == "a Unshown (its repr raises ValueError)"


class Unshown:
    def __repr__(self):
        raise ValueError("not for you")


def explode(value):
    raise ValueError("\ud800 <b>")
