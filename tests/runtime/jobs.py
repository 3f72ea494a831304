"""What tests of running jobs share: sources with a pace, crashes at a point, topologies, and an account of records."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.probe import Probe
from sage_nb.stream.function import KeyedProcessFunction
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.source import IDLE, SourceFunction
from sage_nb.stream.state import ValueState
from sage_nb.stream.storage import Folder
from sage_nb.stream.time import monotonous
from sage_nb.stream.window import Count, session, tumbling


class Boom(Exception):  # noqa: N818
    """An accident."""


class Tally:
    """Counts across attempts, threads and processes: each count is a file."""

    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="sage-tally-")
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def __reduce__(self):
        return Tally, (self.folder,)

    def next(self) -> int:
        """1, then 2, and so on; every number once."""
        count = 1
        while not self._taken(count):
            count += 1
        return count

    def _taken(self, count):
        try:
            os.close(os.open(f"{self.folder}/{count}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass
class CrashAt(Probe):
    """Fails the `nth` time that `where` comes to `point` (no `where`: whoever comes)."""

    point: str = ""
    nth: int = 1
    where: str | None = None
    tally: Tally = field(default_factory=Tally)

    def at(self, point: str, where: str) -> None:
        meant = point == self.point and self.where in (None, where)
        if meant and self.tally.next() == self.nth:
            raise Boom(f"at {point} of {where}")

    def hold(self) -> bool:
        """Whether the sources should not end yet: the point is one of a checkpoint before the last."""
        return "manifest" in self.point and not Path(self.tally.folder, str(self.nth)).exists()


@dataclass
class CrashTwice(Probe):
    """Fails at the second manifest, and again while the job comes back from that."""

    failed: Tally = field(default_factory=Tally)
    again: Tally = field(default_factory=Tally)

    def at(self, point: str, where: str) -> None:
        if point == "before manifest" and self.failed.next() == 2:
            Path(self.failed.folder, "failed").touch()
            raise Boom("at the manifest")
        if point == "restore" and Path(self.failed.folder, "failed").exists() and self.again.next() == 1:
            raise Boom(f"at the return of {where}")

    def hold(self) -> bool:
        """Whether the sources should not end yet."""
        return not Path(self.failed.folder, "failed").exists()


class Once:
    """Passes values on; fails at the first that is `bad`, once. Shared by all copies of the operator."""

    def __init__(self, bad):
        self.bad, self.tally = bad, Tally()

    def __call__(self, value):
        if self.bad(value) and self.tally.next() == 1:
            raise Boom(f"at {value!r}")
        return value


class Paced(SourceFunction):
    """Lists of records, one a split; a short rest after every few, so that checkpoints fall in between.

    The last record of each waits for as long as `hold` says.
    """

    def __init__(self, *splits, rest=0.0005, every=8, hold=None):
        self.data, self.rest, self.every, self.hold = splits, rest, every, hold

    def __deepcopy__(self, memo):
        return self

    def splits(self):
        return [str(at) for at in range(len(self.data))]

    def read(self, split, start):
        for at, item in enumerate(self.data[int(split)][start:], start=start):
            if self.rest and at % self.every == 0:
                time.sleep(self.rest)
            while self.hold is not None and at == len(self.data[int(split)]) - 1 and self.hold():
                yield IDLE
            yield item


class Halting(SourceFunction):
    """Lists of records, one a split; before its `at`-th record each split idles until `go` is set."""

    def __init__(self, *splits, at):
        self.data, self.at, self.go = splits, at, threading.Event()

    def __deepcopy__(self, memo):
        return self

    def splits(self):
        return [str(at) for at in range(len(self.data))]

    def read(self, split, start):
        for at, item in enumerate(self.data[int(split)][start:], start=start):
            while at >= self.at and not self.go.is_set():
                yield IDLE
            yield item


class Endless(SourceFunction):
    """Numbers without end, a short rest after every few."""

    def read(self, split, start):
        while True:
            if start % 16 == 0:
                time.sleep(0.001)
            yield start
            start += 1


class Running(KeyedProcessFunction):
    """Numbers the records of each key."""

    def open(self, context):
        self.count = context.state(ValueState("count", 0))

    def process(self, value, context):
        self.count.update(self.count.value() + 1)
        yield {**value, "number": self.count.value()}


class Reminding(KeyedProcessFunction):
    """Gives a key half a minute after each of its records."""

    def process(self, value, context):
        context.set_timer(context.time + 30)

    def on_timer(self, at, context):
        yield context.key, at


def clicks(count: int, keys: int = 5, step: float = 1.0, name: str = "k") -> list[dict]:
    """Records in order: a key, a number, a time."""
    return [{"key": f"{name}{at % keys}", "n": at, "time": at * step} for at in range(count)]


def finished(env, timeout: float = 60.0, **submit):
    """Run a job to its end and check that no record is missing in its accounts."""
    job = env.submit(**submit)
    try:
        assert job.wait(timeout) == "finished"
    except BaseException:
        job.cancel()
        raise
    assert (missing := job.unbalanced()) == [], missing
    return job


def ran(build, **settings):
    """The rows of the stream that `build` makes on a new environment, and its job, which ended well."""
    env = LocalEnvironment("ran", **settings)
    rows: list = []
    build(env).sink(CollectSink(rows))
    return rows, finished(env)


def until(condition, seconds: float = 60.0):
    """Wait for a condition to hold; gives what it gave."""
    end = time.monotonic() + seconds
    while not (held := condition()):
        assert time.monotonic() < end, f"still waiting after {seconds:g} s"
        time.sleep(0.002)
    return held


def lines(url) -> list:
    """What a folder of JSON lines shows."""
    folder = Folder(url)
    shown = [name for name in folder.names() if name.endswith(".jsonl") and not name.startswith(".")]
    return [json.loads(line) for name in shown for line in folder.get(name).splitlines()]


def multiset(values) -> Counter:
    """Values with how often each is there."""
    return Counter(map(repr, values))


# Topologies: each builds its stream on an environment and gives it with what must come out of it.


def linear(env, crash, read=Paced):
    data = clicks(200)
    stream = env.from_source(read(data)).map(crash, on_error="fail").filter(lambda r: r["n"] % 3).map(lambda r: r["n"])
    return stream, [n for n in range(200) if n % 3]


def keyed(env, crash, read=Paced):
    data = clicks(200)
    source = env.from_source(read(data)).key_by("key").map(crash, on_error="fail")
    stream = source.key_by("key").process(Running())
    return stream, [{**r, "number": at // 5 + 1} for at, r in enumerate(data)]


def diamond(env, crash, read=Paced):
    data = clicks(200)
    source = env.from_source(read(data))
    even = source.map(lambda r: ("a", r["n"])).key_by(lambda t: t[1]).map(lambda t: t)
    odd = source.flat_map(lambda r: [("b", r["n"]), ("c", r["n"])]).map(crash, parallelism=1, on_error="fail")
    return even.union(odd), [(letter, n) for n in range(200) for letter in "abc"]


def window(env, crash, read=Paced):
    data = clicks(200)
    source = env.from_source(read(data), watermark=monotonous())
    stream = (
        source.map(crash, on_error="fail")
        .key_by("key")
        .window(tumbling(50))
        .aggregate(Count())
        .map(lambda w: (w.key, w.start, w.value))
    )
    return stream, [(f"k{key}", start, 10) for key in range(5) for start in (0, 50, 100, 150)]


def sessions(env, crash, read=Paced):
    data = [{**r, "time": r["n"] + 100 * (r["n"] // 50)} for r in clicks(200)]
    source = env.from_source(read(data), watermark=monotonous())
    stream = (
        source.map(crash, on_error="fail")
        .key_by("key")
        .window(session(20))
        .aggregate(Count())
        .map(lambda w: (w.key, w.value))
    )
    return stream, [(f"k{key}", 10) for key in range(5)] * 4


def window_join(env, crash, read=Paced):
    left, right = clicks(100), clicks(100)
    one = env.from_source(read(left), watermark=monotonous()).map(crash, on_error="fail")
    two = env.from_source(read(right), watermark=monotonous())
    stream = one.join(two, on="key", window=tumbling(10)).map(lambda pair: (pair[0]["n"], pair[1]["n"]))
    pairs = [(a["n"], b["n"]) for a in left for b in right if a["key"] == b["key"] and a["n"] // 10 == b["n"] // 10]
    return stream, pairs


def interval_join(env, crash, read=Paced):
    left, right = clicks(100), clicks(100)
    one = env.from_source(read(left), watermark=monotonous())
    two = env.from_source(read(right), watermark=monotonous()).map(crash, on_error="fail")
    stream = one.join(two, on="key", between=(-5, 5)).map(lambda pair: (pair[0]["n"], pair[1]["n"]))
    return stream, [(a["n"], b["n"]) for a in left for b in right if a["key"] == b["key"] and abs(a["n"] - b["n"]) <= 5]


def loop(env, crash, read=Paced):
    data = clicks(100)

    def body(stream):
        return stream.map(crash, on_error="fail").key_by("key").map(lambda r: {**r, "n": r["n"] + 100})

    stream = env.from_source(read(data)).iterate(body, until=lambda r: r["n"] >= 1000).map(lambda r: r["n"])
    return stream, [1000 + n for n in range(100)]


def timers(env, crash, read=Paced):
    data = clicks(200)
    source = env.from_source(read(data), watermark=monotonous()).map(crash, on_error="fail")
    stream = source.key_by("key").process(Reminding())
    return stream, [(r["key"], r["time"] + 30) for r in data]


TOPOLOGIES = {
    each.__name__: each for each in (linear, keyed, diamond, window, sessions, window_join, interval_join, loop, timers)
}

ORDERED = {  # topologies whose records of a key have an order -> a record's key, and its place (linear: on one thread)
    "linear": lambda n: ("", n),
    "keyed": lambda r: (r["key"], r["n"]),
    "window": lambda w: (w[0], w[1]),
    "window_join": lambda pair: (pair[0] % 5, pair[0] // 10),
}
