"""`sage-nb bench ray` and `bench scale`: what a job on Ray actors costs, and how it grows with the nodes."""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

from sage_nb.cli.bench_stream import KEYS, Discard, Figure, Stopwatch, Tally, Ticks, report
from sage_nb.cli.peers import ratio
from sage_nb.corpora.harvested import STDLIB
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError
from sage_nb.records.values import Document
from sage_nb.retrieval.collection import Collection
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.job import Job
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import Context, MapFunction
from sage_nb.stream.source import IDLE, SourceFunction

Measured = TypeVar("Measured")

CPUS = 2  # that the cluster is said to have
DOCUMENTS = 3_000  # that are indexed
PLACES = ({"num_cpus": 0.25}, {"num_cpus": 0.3}, {"num_cpus": 0.35})  # unlike, so that operators are not fused
TASK_S = 0.025  # seconds that a task of `bench scale` sleeps
LOAD_S = 0.5  # seconds that its model takes to load
MODEL_BATCH = 8  # records that it takes at once, in as long as so many tasks


class HomeStopwatch(Stopwatch):
    """Notes the times here, wherever the records are."""

    at_home = True


class Span(Discard):
    """Drops records; notes in a file when the first and the last came, and how many."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._first, self._last, self._count = path, 0.0, 0.0, 0
        self._work = Work(f"{path}-sink")

    def open(self, context: Context, /) -> None:
        """Nothing has come."""
        super().open(context)
        self._work.begin()

    def write_batch(self, values: Sequence[Any], /) -> None:
        """Note the time."""
        self._last = time.time()
        self._first = self._first or self._last
        self._count += len(values)

    def close(self) -> None:
        """Write it down."""
        Path(self._path).write_text(json.dumps([self._first, self._last, self._count]))
        self._work.end()


class Work:
    """The CPU time that a process takes for a job, noted in a file."""

    def __init__(self, path: str) -> None:
        self._path, self._begun = path, 0.0

    def begin(self) -> None:
        """From now on."""
        self._begun = time.process_time()

    def end(self) -> None:
        """Until now."""
        Path(f"{self._path}.cpu").write_text(str(time.process_time() - self._begun))


class Passing(MapFunction[int, int]):
    """Gives what comes."""

    def __init__(self, path: str) -> None:
        self._work = Work(f"{path}-map")

    def open(self, context: Context, /) -> None:  # noqa: ARG002
        """Nothing has come."""
        self._work.begin()

    def map(self, value: int, /) -> int:
        """The same."""
        return value

    def close(self) -> None:
        """Note the work."""
        self._work.end()


class Counting(Tally):
    """Counts the records of each key."""

    def __init__(self, path: str) -> None:
        self._work = Work(f"{path}-tally")

    def open(self, context: Context, /) -> None:
        """Nothing has come."""
        super().open(context)
        self._work.begin()

    def close(self) -> None:
        """Note the work."""
        self._work.end()


class Together(SourceFunction[int]):
    """Numbers, once so many subtasks have each put a file in a folder."""

    def __init__(self, folder: str, subtasks: int, count: int) -> None:
        self._folder, self._subtasks, self._count = folder, subtasks, count

    def read(self, split: str, start: int, /) -> Iterator[Any]:  # noqa: ARG002
        """One after the other."""
        while sum(1 for _ in Path(self._folder).iterdir()) < self._subtasks:
            yield IDLE
        yield from range(start, self._count)


class Sleep(MapFunction[int, int]):
    """A task that waits for something else."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def open(self, context: Context, /) -> None:
        """It is there."""
        Path(self._folder, str(context.subtask)).touch()

    def map(self, value: int, /) -> int:
        """Wait."""
        time.sleep(TASK_S)
        return value


class Model(Sleep):
    """What a model on a GPU is to the CPU: something that takes its time to load, and then waits for the device.

    One wait for a batch, however full. That tokens are made and results fetched by the CPU it leaves out.
    """

    def open(self, context: Context, /) -> None:
        """Load."""
        time.sleep(LOAD_S)
        super().open(context)

    def map_batch(self, batch: Sequence[int], /) -> list[int]:
        """The device is busy."""
        time.sleep(MODEL_BATCH * TASK_S)
        return list(batch)


def bench_ray(out: str, repeats: int = 3, scale: float = 1.0) -> None:
    """Measure, print a table, and write one JSON under `out`; `scale` is the share of the usual number of records."""
    if repeats < 1 or not 0 < scale <= 1:
        raise BadValueError(f"bench ray needs 1 repeat or more and a scale in (0, 1], got {repeats} and {scale:g}")
    load = os.getloadavg()[0]
    report("ray", out, _figures(repeats, scale), repeats=repeats, scale=scale, load_before=load, cores=os.cpu_count())


def bench_scale(out: str, nodes: int = 16, tasks: int = 200) -> None:
    """Throughput on 1, 2, 4 … simulated nodes, as a share of so many times that of one node; `tasks` for each node.

    For tasks that sleep, record by record, and for ones like a model's (see `Model`), a batch at a time; from when all
    subtasks have opened what they need. All nodes are processes of this machine: what is shown is that the job is
    spread and that no actor is a queue for all. Networks, and tasks that compute, it does not show: those share the
    cores that are here.
    """
    if nodes < 2 or tasks < 1:
        raise BadValueError(f"bench scale needs 2 nodes or more and 1 task or more, got {nodes} and {tasks}")
    note = "all nodes are processes of one machine; tasks sleep: neither networks nor computing are measured"
    print(note)
    report("scale", out, _scaled(nodes, tasks), tasks=tasks, task_s=TASK_S, note=note, cores=os.cpu_count())


def _figures(repeats: int, scale: float) -> Iterator[Figure]:
    from sage_nb.runtime.ray.cluster import leave

    def many(measure: Callable[[], Measured]) -> list[Measured]:
        return [measure() for _ in range(repeats)]

    def cold() -> float:
        leave()
        return _first()

    yield Figure("start to first record, no cluster yet", "s", 6.0, False, many(cold))
    print(
        f"  of that, ray.init and {CPUS + 1} actors that do nothing: {statistics.median(many(_bare)):.3g} s", flush=True
    )
    yield Figure("start to first record, cluster at hand", "s", 1.0, False, many(_first))
    records = int(2_000_000 * scale)
    yield Figure("three hops between actors", "records/s", 1e5, True, many(lambda: _hops(records)))
    yield Figure("kill -9 of an actor to the next record", "s", 1.5, False, many(_recovery))
    costs = many(lambda: _checkpoints(records))
    yield Figure(f"checkpoint each second, {KEYS} keys: cost", "% of CPU", 15.0, False, costs)
    documents = list(islice(pydocs((STDLIB,)), max(10, int(DOCUMENTS * scale))))
    there, here = zip(*many(lambda: _indexing(documents)), strict=True)
    yield Figure(f"indexing, {CPUS} actors", "documents/s", None, True, there)
    yield Figure("indexing, threads here", "documents/s", None, True, here)
    yield Figure("indexing: actors to threads", "of 1", 0.9, True, ratio(there, here))
    leave()


def _environment(name: str, **settings: Any) -> Any:
    from sage_nb.runtime.ray.cluster import ClusterOptions, connect
    from sage_nb.runtime.ray.environment import RayEnvironment

    connect(ClusterOptions(num_cpus=CPUS))
    return RayEnvironment(name, **settings)


def _done(env: Any) -> Job:
    job: Job = env.submit()
    job.wait()
    return job


def _first() -> float:
    """Seconds from nothing, or from a cluster with idle actors, to the first record in a sink here."""
    times: list[float] = []
    begun = time.perf_counter()
    env = _environment("first")
    stream = env.from_collection(range(1000)).map(abs).key_by(lambda n: n % 100)
    stream.map(abs, parallelism=2).sink(HomeStopwatch(times))
    _done(env)
    return times[0] - begun


def _bare() -> float:
    """Seconds that Ray itself takes to start a cluster and as many actors as `_first` has."""
    from sage_nb.runtime.ray.cluster import leave
    from sage_nb.runtime.ray.simulated import idle_actors

    leave()
    begun = time.perf_counter()
    idle_actors(CPUS, CPUS + 1)
    return time.perf_counter() - begun


def _hops(records: int) -> float:
    """Records a second through source, two maps by key, and a sink, each in an actor of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _done(_pipeline(_environment("hops"), records, folder))
        first, last, count = json.loads(Path(folder, "span").read_text())
        return float(count / (last - first))


def _pipeline(env: Any, records: int, folder: str) -> Any:
    path = f"{folder}/span"
    stream = env.from_collection(range(records)).map(Passing(path), resources=PLACES[0])
    kept = stream.key_by(lambda n: n % KEYS).process(Counting(path), resources=PLACES[1])
    kept.sink(Span(path), resources=PLACES[2])
    return env


def _recovery() -> float:
    """Seconds from the end of an actor to the first record of the attempt that follows.

    An idle actor takes its place, as there is one in a job that has run for some seconds.
    """
    from sage_nb.runtime.ray.pool import POOL

    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        env = _environment("recovery", checkpoint=Checkpointing(folder, every=0.5), restart=FixedDelay(9, 0.0))
        stream = env.from_source(Ticks(4000)).map(lambda tick: tick, name="victim", resources=PLACES[0])
        stream.sink(HomeStopwatch(times))
        job = env.submit()
        while job.metrics().committed < 2 or not POOL.idle:
            time.sleep(0.05)
        killed = time.perf_counter()
        os.kill(_pid("victim"), signal.SIGKILL)
        job.wait()
    return _back(times, killed) - killed


def _back(times: Sequence[float], killed: float) -> float:
    """When records came again: behind the longest pause since."""
    later = [at for at in times if at >= killed - 0.1]
    return max(pairwise(later), key=lambda pair: pair[1] - pair[0])[1]


def _pid(operator: str) -> int:
    from sage_nb.runtime.ray.status import cluster_status

    return next(each.pid for each in cluster_status().actors if each.operator == operator and each.pid)


def _checkpoints(records: int) -> float:
    """Per cent more CPU time for each record with a checkpoint each second than with none at all.

    The processes share what cores there are, so that CPU time is throughput, less what other programs take from the
    machine: by the wall's clock their noise is several times what is measured here. Without, with, with, without: a
    drift favours neither.
    """
    seconds = {False: 0.0, True: 0.0}
    for kept in (False, True, True, False):
        with tempfile.TemporaryDirectory() as folder:
            every = Checkpointing(f"{folder}/checkpoints", every=1.0)
            env = _environment("kept", checkpoint=every) if kept else _environment("plain").unchecked()
            _done(_pipeline(env, records, folder))
            seconds[kept] += sum(float(path.read_text()) for path in Path(folder).glob("*.cpu"))
    return 100 * (1 - seconds[False] / seconds[True])


def _indexing(documents: Sequence[Document]) -> tuple[float, float]:
    """Documents a second into a collection, with actors and with threads here.

    Some are added before, by both: a cluster and models are there. What a job takes to start is in it.
    """
    ways: list[tuple[Any, dict[str, Any]]] = [(_environment("add"), {"parallelism": CPUS}), (None, {})]
    for env, how in ways:
        _added(documents[: len(documents) // 10], env, **how)
    there, here = [len(documents) / _added(documents, env, **how) for env, how in ways]
    return there, here


def _added(documents: Sequence[Document], env: Any = None, **how: Any) -> float:
    """Seconds to add them to a new collection."""
    with tempfile.TemporaryDirectory() as folder:
        return Collection(Path(folder) / "added").add(documents, progress=False, env=env, **how).seconds


def _scaled(most: int, tasks: int) -> Iterator[Figure]:
    from sage_nb.runtime.ray.simulated import simulated_cluster

    one: dict[str, float] = {}
    with simulated_cluster() as cluster:
        for nodes in (2**power for power in range(most.bit_length())):
            cluster.grow(nodes)
            for kind, (function, how) in WORK.items():
                rate = _worked(nodes, nodes * tasks, function, how)
                times = rate / one.setdefault(kind, rate)
                print(f"{nodes} nodes, {kind}: {rate:.1f} records/s, {times:.2f} times one node's", flush=True)
                if nodes > 1:
                    yield Figure(f"{nodes} nodes, {kind}: share of linear", "of 1", 0.8, True, [times / nodes])


WORK: dict[str, tuple[type[Sleep], dict[str, Any]]] = {
    "tasks that sleep": (Sleep, {}),
    "tasks like a model's": (Model, {"batch": (MODEL_BATCH, 1.0)}),
}


def _worked(nodes: int, records: int, function: type[Sleep], how: dict[str, Any]) -> float:
    """Records a second, on all nodes."""
    from sage_nb.runtime.ray.environment import RayEnvironment

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as opened:
        env = RayEnvironment("scale", placement_timeout=120.0)
        stream = env.from_source(Together(opened, nodes, records))
        stream = stream.map(function(opened), parallelism="auto", resources={"num_cpus": 1}, **how)
        stream.sink(Span(f"{folder}/span"), parallelism=1)
        _done(env)
        first, last, count = json.loads(Path(folder, "span").read_text())
        return float(count / (last - first))
