"""Keyed state: of a key, not of a subtask; four kinds of it, with an age limit; it outlives failures and processes."""

from __future__ import annotations

import json
import threading
import time

import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.keyed import KeyedStore
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import CoMapFunction, KeyedProcessFunction, MapFunction
from sage_nb.stream.sink import CollectSink, JsonlSink
from sage_nb.stream.source import IDLE
from sage_nb.stream.state import ListState, MapState, ReducingState, ValueState
from tests.runtime.jobs import Once, Paced, clicks, finished, lines, multiset, ran, until


class Keeper(KeyedProcessFunction):
    """Keeps every record in each kind of state."""

    def open(self, context):
        self.last = context.state(ValueState("last", -1))
        self.all = context.state(ListState("all"))
        self.by_half = context.state(MapState("by half"))
        self.sum = context.state(ReducingState("sum", lambda a, b: a + b))

    def process(self, value, context):
        before = self.last.value()
        self.last.update(value["n"])
        self.all.add(value["n"])
        self.by_half.put(value["n"] % 2, value["n"])
        self.sum.add(value["n"])
        yield context.key, before, self.all.get(), dict(self.by_half.items()), self.sum.get()


def kept(data):
    """What `Keeper` makes of these records, worked out with plain lists."""
    seen: dict = {}
    rows = []
    for record in data:
        numbers = seen.setdefault(record["key"], [])
        before = numbers[-1] if numbers else -1
        numbers.append(record["n"])
        rows.append((record["key"], before, list(numbers), {n % 2: n for n in numbers}, sum(numbers)))
    return rows


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_state_is_of_a_key_whatever_the_parallelism(parallelism):
    data = clicks(60, keys=7)
    rows, _ = ran(lambda env: env.from_collection(data).key_by("key").process(Keeper()), parallelism=parallelism)
    assert multiset(rows) == multiset(kept(data))


@pytest.mark.parametrize("parallelism", [1, 2])
def test_every_kind_of_state_comes_through_a_failure(tmp_path, parallelism):
    data, rows = clicks(150, keys=7), []
    env = LocalEnvironment("kept", parallelism=parallelism, checkpoint=str(tmp_path), restart=FixedDelay(3, 0.0))
    env.checkpointing = type(env.checkpointing)(str(tmp_path), every=0.005)
    crash = Once(lambda record: record["n"] == 120)
    env.from_source(Paced(data)).map(crash, parallelism=1, on_error="fail").key_by("key").process(Keeper()).sink(
        CollectSink(rows)
    )
    assert finished(env).restarts == 1
    assert multiset(rows) == multiset(kept(data))


def test_state_is_there_for_the_next_run_of_the_job(tmp_path):
    def env(data):
        made = LocalEnvironment("goes on", checkpoint=str(tmp_path / "checkpoints"))
        keyed = made.from_source(Growing(data), uid="feed").key_by("key")
        keyed.process(Keeper(), uid="kept").sink(JsonlSink(str(tmp_path / "out")), uid="out")
        return made

    data = clicks(40, keys=3)
    finished(env({"a": data[:20]}))
    finished(env({"a": data[:20], "b": data[20:]}))
    assert multiset(lines(tmp_path / "out")) == multiset(json.loads(json.dumps(kept(data))))


class Growing(Paced):
    """A split for each name; new names are new splits."""

    def __init__(self, named):
        super().__init__(rest=0)
        self.named = named

    def splits(self):
        return list(self.named)

    def read(self, split, start):
        given = self.named[split]
        while isinstance(given, threading.Event) and not given.is_set():
            yield IDLE
        yield from [] if isinstance(given, threading.Event) else given[start:]


def store(ttl=None):
    held = KeyedStore(KeyGroups(8))
    handles = [
        held.declare(each)
        for each in (
            ValueState("value", 0, ttl),
            ListState("list", ttl),
            MapState("map", ttl),
            ReducingState("sum", lambda a, b: a + b, ttl),
        )
    ]
    return held, handles


def test_state_is_cleared_for_its_key_alone():
    held, (value, items, mapping, total) = store()
    for key in ("a", "b"):
        held.select(key)
        value.update(1)
        items.add(1)
        mapping.put("x", 1)
        total.add(1)
    held.select("a")
    for handle in (value, items, mapping, total):
        handle.clear()
    assert (value.value(), items.get(), len(mapping), "x" in mapping, total.get()) == (0, [], 0, False, None)
    held.select("b")
    assert (value.value(), items.get(), mapping.get("x"), total.get()) == (1, [1], 1, 1)


def test_state_too_old_is_forgotten_and_not_kept():
    held, (value, items, mapping, total) = store(ttl=60)
    held.select("a")
    value.update(7)
    items.add(7)
    mapping.put("x", 7)
    total.add(7)
    assert (value.value(), items.get(), mapping.get("x"), total.get()) == (7, [7], 7, 7)
    for piece in held.current().values():
        piece[0] -= 70  # written so many seconds earlier
    assert held.snapshot() == {}
    assert (value.value(), items.get(), mapping.get("x"), total.get()) == (0, [], None, None)


def test_writing_makes_state_young_again():
    held, (value, *_) = store(ttl=60)
    held.select("a")
    value.update(1)
    table = held.current()
    table["value"][0] -= 50
    before = time.time()
    value.update(2)
    assert table["value"][0] >= before


def test_a_default_of_one_key_is_not_anothers():
    class Appending(KeyedProcessFunction):
        def open(self, context):
            self.seen = context.state(ValueState("seen", default=[]))

        def process(self, value, context):
            seen = self.seen.value()
            seen.append(value)
            self.seen.update(seen)
            yield list(seen)

    rows, _ = ran(lambda env: env.from_collection([1, 2, 1]).key_by(lambda n: n).process(Appending()))
    assert rows == [[1], [2], [1, 1]]


def test_a_map_a_filter_and_a_flat_map_have_keyed_state_too():
    class Seen(MapFunction):
        def open(self, context):
            self.count = context.state(ValueState("count", 0))

        def map(self, value):
            self.count.update(self.count.value() + 1)
            return value, self.count.value()

    rows, _ = ran(lambda env: env.from_collection(list("abab")).key_by(str).map(Seen()), parallelism=2)
    assert multiset(rows) == multiset([("a", 1), ("b", 1), ("a", 2), ("b", 2)])


class Rated(CoMapFunction):
    """Prices by the last rate of their currency, from the other stream."""

    def open(self, context):
        self.rate = context.state(ValueState("rate"))

    def map1(self, value):
        return value["price"] * (self.rate.value() or 1.0)

    def map2(self, value):
        self.rate.update(value["rate"])
        return 0.0


@pytest.mark.parametrize("parallelism", [1, 3])
def test_both_sides_of_a_co_map_share_a_keys_state(parallelism):
    rates = [{"currency": name, "rate": rate} for name, rate in (("x", 2.0), ("y", 3.0))]
    ready = len(rates)
    told: list = []

    def prices():
        while len(told) < ready:
            time.sleep(0.001)
        yield from ({"currency": name, "price": 10.0} for name in "xyz")

    class Telling(Rated):
        def map2(self, value):
            try:
                return super().map2(value)
            finally:
                told.append(value)

    def build(env):
        pair = env.from_collection(prices).connect(env.from_collection(rates))
        return pair.key_by("currency", "currency").co_map(Telling())

    rows, _ = ran(build, parallelism=parallelism)
    assert sorted(rows) == [0.0, 0.0, 10.0, 20.0, 30.0]


class Remembering(MapFunction):
    """State of its own, given back as it lies there: the runtime makes it its own."""

    def __init__(self):
        self.seen = []

    def map(self, value):
        self.seen.append(value)
        return len(self.seen)

    def snapshot_state(self):
        return self.seen

    def restore_state(self, state):
        self.seen = state


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_function_begins_again_as_it_began(crashes):
    """With no checkpoint to go back to, twice: what the first attempts did to the beginning does not show."""
    env, rows = LocalEnvironment("begins", restart=FixedDelay(5, 0.0)), []
    stream = env.from_source(Paced(list(range(1, 21)), rest=0)).map(Remembering())
    for at in range(crashes):
        stream = stream.map(Once(lambda n, at=at: n == 5 + at), on_error="fail")
    stream.sink(CollectSink(rows))
    assert finished(env).restarts == crashes
    assert rows == list(range(1, 21))


@pytest.mark.parametrize("failures", [1, 2])
def test_a_savepoint_is_as_it_was_however_often_a_run_begins_from_it(tmp_path, failures):
    data = clicks(60, keys=3)

    def build(env, records, rows, *crashes):
        stream = env.from_source(Growing(records), uid="feed").key_by("key").process(Keeper(), uid="kept")
        for at, crash in enumerate(crashes):
            stream = stream.map(crash, uid=f"crash-{at}", on_error="fail")
        stream.sink(CollectSink(rows), uid="out")
        return env

    never = [Once(lambda row: False)] * failures
    waiting = LocalEnvironment("saved")
    go_on = threading.Event()
    build(waiting, {"a": data[:30], "wait": go_on}, [], *never)
    job = waiting.submit()
    until(lambda: job.metrics().total("kept", "received") == 30)
    job.savepoint(str(tmp_path))
    go_on.set()
    job.wait(60)

    rows: list = []
    crashes = [Once(lambda row, at=at: len(row[2]) == 15 + at) for at in range(failures)]
    env = LocalEnvironment("saved", restart=FixedDelay(5, 0.0))
    build(env, {"a": data[:30], "wait": go_on, "b": data[30:]}, rows, *crashes)
    assert finished(env, savepoint=str(tmp_path)).restarts == failures
    assert multiset(row for row in rows if len(row[2]) > 10) == multiset(kept(data)[30:])
