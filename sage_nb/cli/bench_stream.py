"""`sage-nb bench stream`: what the dataflow costs. Each figure with its bar and its spread over repeats."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sage_nb.cli.bench import save
from sage_nb.errors import BadValueError
from sage_nb.records.columns import text_table
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.job import Job
from sage_nb.stream.function import Context, KeyedProcessFunction, ProcessContext
from sage_nb.stream.sink import SinkFunction
from sage_nb.stream.source import SourceFunction
from sage_nb.stream.state import ValueState

KEYS = 10_000  # of the keyed state that checkpoints hold
MEGABYTE = 2**20


@dataclass(frozen=True)
class Figure:
    """Something measured several times, and how good its median should be; without a bar any is."""

    name: str
    unit: str
    bar: float | None
    least: bool  # whether the bar is the least allowed, or the most
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the bar."""
        if self.bar is None:
            return True
        return self.median >= self.bar if self.least else self.median <= self.bar

    @property
    def row(self) -> list[str]:
        """As shown."""
        spread = f"{_short(min(self.values))} .. {_short(max(self.values))}"
        shown = [self.name, self.unit, _short(self.median), spread]
        if self.bar is None:
            return [*shown, "", ""]
        return [*shown, f"{'>=' if self.least else '<='} {_short(self.bar)}", "yes" if self.met else "NO"]

    @property
    def facts(self) -> dict[str, Any]:
        """As written down."""
        return {
            "figure": self.name,
            "unit": self.unit,
            "median": self.median,
            "values": list(self.values),
            "bar": self.bar,
            "bar_is": "least" if self.least else "most",
            "met": self.met,
        }


class Discard(SinkFunction[Any]):
    """Takes records and drops them; `rest` seconds of sleep a batch make it a slow sink."""

    def __init__(self, rest: float = 0.0) -> None:
        self._rest = rest

    def write_batch(self, values: Sequence[Any], /) -> None:  # noqa: ARG002
        """Nothing but the rest."""
        if self._rest:
            time.sleep(self._rest)


class Stopwatch(SinkFunction[Any]):
    """Notes the time at which each batch comes."""

    def __init__(self, times: list[float]) -> None:
        self._times = times

    def __deepcopy__(self, memo: dict[int, Any]) -> Stopwatch:
        return self

    def write_batch(self, values: Sequence[Any], /) -> None:  # noqa: ARG002
        """Note it."""
        self._times.append(time.perf_counter())


class Ticks(SourceFunction[float]):
    """The time, every two milliseconds."""

    def __init__(self, count: int) -> None:
        self._count = count

    def read(self, split: str, start: int, /) -> Iterator[float]:  # noqa: ARG002
        """One tick after the other."""
        for _ in range(start, self._count):
            time.sleep(0.002)
            yield time.perf_counter()


class Tally(KeyedProcessFunction[int, int]):
    """Counts the records of each key."""

    def open(self, context: Context, /) -> None:
        """The count."""
        self._count = context.state(ValueState("count", 0))

    def process(self, value: int, context: ProcessContext, /) -> list[int]:  # noqa: ARG002
        """One more."""
        self._count.update(self._count.value() + 1)
        return [value]


def bench_stream(out: str, repeats: int = 5, scale: float = 1.0) -> None:
    """Measure, print a table, and write one JSON under `out`; `scale` is the share of the usual number of records."""
    if repeats < 1 or not 0 < scale <= 1:
        raise BadValueError(f"bench stream needs 1 repeat or more and a scale in (0, 1], got {repeats} and {scale:g}")
    report("stream", out, _figures(repeats, scale), repeats=repeats, scale=scale)


def report(kind: str, out: str, measured: Iterable[Figure], **settings: Any) -> None:
    """Print figures as they come, then all as a table; write them as one JSON under `out`."""
    figures = []
    for figure in measured:
        print(f"{figure.name}: {_short(figure.median)} {figure.unit}", flush=True)
        figures.append(figure)
    print("\n" + text_table(["figure", "unit", "median", "spread", "bar", "met"], [figure.row for figure in figures]))
    save(kind, out, figures=[figure.facts for figure in figures], **settings)


def _figures(repeats: int, scale: float) -> Iterator[Figure]:
    many = partial(_many, repeats)
    yield Figure("memory grown, 10 M records, slow sink", "MB", 20.0, False, [_memory(int(10_000_000 * scale))])
    yield Figure(
        "map > filter > map, list to sink, fused", "records/s", 1e6, True, many(_fused, int(2_000_000 * scale))
    )
    yield Figure("one keyed shuffle to 2 subtasks", "records/s", 2e5, True, many(_shuffled, int(1_000_000 * scale)))
    yield Figure("submit to first record out", "ms", 50.0, False, _many(4 * repeats, _first, 1))
    yield Figure("first of 100 000 records out", "ms", 50.0, False, many(_first, 100_000))
    yield Figure("a record through 5 operators, fused, p50", "ms", 1.0, False, many(_latency, int(300 * scale) + 1))
    yield Figure(
        "a record through 5 operators, 5 threads, p50",
        "ms",
        1.0,
        False,
        many(partial(_latency, apart=True), int(300 * scale) + 1),
    )
    costs = many(_checkpoints, int(2_000_000 * scale))
    yield Figure(f"checkpoint each second, {KEYS} keys: cost", "% of CPU", 10.0, False, costs)


def _many(repeats: int, measure: Callable[[int], float], records: int) -> list[float]:
    return [measure(records) for _ in range(repeats)]


def _done(env: LocalEnvironment) -> Job:
    job = env.submit()
    job.wait()
    return job


def _fused(records: int) -> float:
    env = LocalEnvironment("fused")
    stream = env.from_collection(range(records)).map(lambda n: n + 1).filter(lambda n: n % 10).map(lambda n: 2 * n)
    stream.sink(Discard())
    return records / _done(env).metrics().seconds


def _shuffled(records: int) -> float:
    env = LocalEnvironment("shuffled", parallelism=2)
    env.from_collection(range(records)).key_by(lambda n: n % 1000).map(lambda n: n).sink(Discard())
    return records / _done(env).metrics().seconds


def _first(records: int) -> float:
    """Milliseconds from submit to the first record in the sink, over a map, a shuffle and another map."""
    times: list[float] = []
    env = LocalEnvironment("first")
    stream = env.from_collection(range(records)).map(lambda n: n).key_by(lambda n: n % 100)
    stream.map(lambda n: n, parallelism=2).sink(Stopwatch(times))
    begun = time.perf_counter()
    _done(env)
    return 1000 * (times[0] - begun)


def _latency(records: int, *, apart: bool = False) -> float:
    """Milliseconds from a source to a sink behind five maps, the median of all records; `apart`: a thread for each."""
    took: list[float] = []
    env = LocalEnvironment("latency")
    stream = env.from_source(Ticks(records))
    for at in range(5):
        stream = stream.map(lambda tick: tick, resources={"place": float(at + 1)} if apart else {})
    stream.for_each(lambda tick: took.append(time.perf_counter() - tick))
    _done(env)
    return float(1000 * statistics.median(took))


def _checkpoints(records: int) -> float:
    """Per cent more CPU time for each record with a checkpoint every second.

    All threads share one interpreter lock, so that CPU time is throughput, less what other programs take from the
    machine: by the wall's clock their noise is several times what is measured here. Without, with, with, without: a
    machine that slows down or speeds up meanwhile favours neither.
    """
    order = (False, True, True, False)
    seconds = [(kept, _tallied(records, kept=kept)) for kept in order]
    plain, kept = (sum(took for way, took in seconds if way is wanted) for wanted in (False, True))
    return 100 * (1 - plain / kept)


def _tallied(records: int, *, kept: bool) -> float:
    """CPU seconds to count the records of each key."""
    with tempfile.TemporaryDirectory() as folder:
        env = LocalEnvironment("tally", checkpoint=Checkpointing(folder, every=1.0) if kept else None)
        env.from_collection(range(records)).key_by(lambda n: n % KEYS).process(Tally()).sink(Discard())
        begun = time.process_time()
        _done(env)
        return time.process_time() - begun


def _memory(records: int) -> float:
    """Megabytes by which the process grew at most once a tenth of the records was through. Must come first."""
    env, peaks = LocalEnvironment("memory"), [0]

    def noted(n: int) -> int:
        if n == records // 10:
            peaks.append(_peak())
        return n

    env.from_collection(range(records)).map(noted).sink(Discard(rest=0.0001), resources={"place": 1.0})
    _done(env)
    return (_peak() - peaks[-1]) / MEGABYTE


def _peak() -> int:
    """The most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
