"""Environments: where streams begin, and where their graph is submitted to run."""

from __future__ import annotations

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeVar

from typing_extensions import Self, Unpack

from sage_nb.errors import BadValueError
from sage_nb.records.load import load
from sage_nb.runtime.again import Submission
from sage_nb.runtime.alerts import Alert, check_alerts
from sage_nb.runtime.alone import Alone
from sage_nb.runtime.checkpoint import Checkpointing, FolderStore, MemoryStore, Restored, Store
from sage_nb.runtime.coordinator import Coordinator, Settings
from sage_nb.runtime.job import Job
from sage_nb.runtime.letters import Letters, legible, letters_folder, written
from sage_nb.runtime.local import Threads
from sage_nb.runtime.own_job import OwnJob
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import ExponentialDelay, NoRestart, Restart
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.api import Sinks, Stream
from sage_nb.stream.build import How, options_of
from sage_nb.stream.check import is_kind, name_of
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.graph import DEAD, MAX_PARALLELISM, Graph, Input, MapSpec, Node, SinkSpec, SourceSpec
from sage_nb.stream.policy import DeadLetter, Options, Parallelism, Resources
from sage_nb.stream.sink import CollectSink, JsonlSink, SinkFunction
from sage_nb.stream.source import CollectionSource, FileSource, SourceFunction
from sage_nb.stream.storage import Folder
from sage_nb.stream.time import WatermarkStrategy

Given = TypeVar("Given")

SHOWN = 1.0  # seconds after which two-phase sinks show their records, where nothing is kept in a folder


class Crew(Protocol):
    """The tasks of a job, wherever they run."""

    @property
    def tasks(self) -> Sequence[Any]:
        """All of them, each after those it reads."""
        ...

    def start(self) -> None:
        """They wait to begin."""
        ...


class Environment(ABC):
    """Where streams begin, and where their graph is submitted to run.

    `parallelism` is for operators that name none. "auto", here or as an operator's own, is as many subtasks as there
    are CPUs (on Ray GPUs, for operators that ask for them), counted when the job is submitted. `checkpoint` keeps
    progress in a folder, from which the same job goes on; `restart` says what follows a failure (with a checkpoint
    folder: again, ever more slowly; else nothing).

    >>> class Squares(SourceFunction[int]):
    ...     def read(self, split, start):
    ...         yield from (n * n for n in range(start, 4))
    >>> env = LocalEnvironment("squares", parallelism=2, checkpoint="ckpt", resources={dict: {"unit": "m"}})
    >>> env.from_source(Squares(), parallelism=1, name="squares").map(str, name="text").for_each(print, name="shown")
    >>> print(env.graph())
    squares
      squares: source
      text: map ← squares
      shown: sink ← text
    >>> env.resource(dict), env.resource(list)
    ({'unit': 'm'}, None)
    >>> env.lending([3]).resource(list)
    [3]
    >>> other = env.anew()  # the same settings, no streams
    >>> print(env.cluster())  # its jobs run here
    None
    >>> other.parallelism, other.checkpointing, len(other.ends.nodes), env.unchecked().restart
    (2, None, 0, NoRestart())
    """

    def __init__(
        self,
        name: str = "job",
        *,
        parallelism: Parallelism = 1,
        checkpoint: Checkpointing | str | PathLike[str] | None = None,
        restart: Restart | None = None,
        resources: Mapping[type, Any] | None = None,
        max_parallelism: int = MAX_PARALLELISM,
    ) -> None:
        Options(name=name, parallelism=parallelism)
        least = 1 if parallelism == "auto" else parallelism
        if not least <= max_parallelism <= 2**15:
            raise BadValueError(f"max_parallelism must be from {least} to {2**15}, got {max_parallelism!r}")
        self.name, self.parallelism, self.max_parallelism = name, parallelism, max_parallelism
        self.checkpointing = _checkpointing(checkpoint)
        if restart is not None and not hasattr(restart, "delay"):
            raise BadValueError(f"restart= takes a strategy such as FixedDelay(3, 1.0), got {restart!r:.60}")
        self.restart: Restart = restart or (ExponentialDelay() if self.checkpointing else NoRestart())
        self._resources = dict(resources or {})
        self.probe = Probe()
        self.shown_every: float | None = SHOWN
        self.ends = Sinks()

    def resource(self, kind: type[Given]) -> Given | None:
        """The resource of that type that it was given for its functions, if it was."""
        return self._resources.get(kind)

    def anew(self) -> Self:
        """An environment of the same settings, with no streams yet, whose jobs keep nothing in a folder."""
        other = copy(self)
        other.ends, other.checkpointing = Sinks(), None
        return other

    def lending(self, resource: object) -> Self:
        """As `anew`, with one more resource for its functions."""
        other = self.anew()
        other._resources = {**self._resources, type(resource): resource}  # noqa: SLF001  its own kind
        return other

    def unchecked(self) -> Self:
        """As `anew`, and without restarts: for a job whose sink is its own checkpoint, and shows what it has itself."""
        other = self.anew()
        other.restart, other.shown_every = NoRestart(), None
        return other

    def from_source(
        self, source: SourceFunction[Any], *, watermark: WatermarkStrategy | None = None, **how: Unpack[How]
    ) -> Stream:
        """The records of a source; with a watermark strategy they have event time."""
        if not isinstance(source, SourceFunction):
            mend = f"write {name_of(source)}(…)" if is_kind(source, SourceFunction) else "try from_collection()"
            raise BadValueError(f"from_source() takes a SourceFunction, got {source!r:.60}; {mend}")
        if watermark is not None and not isinstance(watermark, WatermarkStrategy):
            raise BadValueError(f"watermark= takes bounded_out_of_orderness(…), say, got {watermark!r:.60}")
        spec = SourceSpec(source, watermark)
        return Stream(self.ends, Node(spec, (), options_of(how, spec)))

    def from_collection(
        self,
        items: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        watermark: WatermarkStrategy | None = None,
        **how: Unpack[How],
    ) -> Stream:
        """The items of a list; of an iterator, which cannot be rewound; or of a function that returns either."""
        parts = Options(parallelism=how.get("parallelism")).parallelism or 1
        if parts == "auto":
            raise BadValueError(
                'from_collection() deals its list out at once and cannot take parallelism="auto"; give it a number, or '
                "leave it out and give the next operator the subtasks"
            )
        return self.from_source(CollectionSource(items, parts), watermark=watermark, **how)

    def from_files(
        self,
        pattern: str | Path,
        read: Callable[[Path], Iterable[Any]] = load,
        *,
        watermark: WatermarkStrategy | None = None,
        **how: Unpack[How],
    ) -> Stream:
        """The records of files, by default as Documents; each file is a split.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.md").write_text("Barriers align.")
        ...     env, texts = LocalEnvironment("files"), []
        ...     env.from_files(f"{folder}/*.md").map(lambda document: document.text).for_each(texts.append)
        ...     env.submit().wait(), texts
        ('finished', ['Barriers align.'])
        """
        return self.from_source(FileSource(pattern, read), watermark=watermark, **how)

    @abstractmethod
    def _crew(self, plan: Plan, coordinator: Coordinator) -> Crew:
        """The tasks of a plan, where this environment runs them."""

    def cluster(self) -> Any:
        """The cluster that its jobs run on, with its nodes and GPUs; None where they run in this process."""
        return None

    def _room(self, draft: Plan) -> Mapping[Resources, int]:
        """How many subtasks fill what there is, by what an operator asks for."""
        return {chain.head.options.resources: _cpus() for chain in draft.undecided}

    def _alone(self, node: Node) -> bool:  # noqa: ARG002
        """Whether nothing may be fused to an operator."""
        return False

    def graph(self) -> Graph:
        """The operators so far: `print` it, or let a notebook draw it."""
        return Graph.of(self.name, self.ends.nodes, self.max_parallelism)

    def submit(
        self,
        *,
        fresh: bool = False,
        savepoint: str | None = None,
        allow_non_restored: bool = False,
        alerts: Sequence[Alert] = (),
    ) -> Job:
        """Start the job and return at once.

        It goes on from the last checkpoint in its folder, or from a savepoint; `fresh` starts over. `alerts` are
        watched while it runs.

        Raises CheckpointError where what is there is damaged, or of another graph.
        """
        dead: list[DeadLetter] = []
        made = Plan.filling(self._graph(dead), self.parallelism, self._alone, self._room)
        plan = replace(made, job=self._job())
        check_alerts(alerts, plan.graph)
        store = self._store()
        try:
            if store is not None and fresh:
                store.clear()
            restored = _restored(plan, store, savepoint, lenient=allow_non_restored)
            return self._started(plan, store, restored, dead, alerts)
        except BaseException:
            if store is not None:
                store.release()
            raise

    def _started(
        self,
        plan: Plan,
        store: Store | None,
        restored: Restored | None,
        dead: list[DeadLetter],
        alerts: Sequence[Alert],
    ) -> Job:
        if restored is not None:
            restored = replace(restored, warnings=(*restored.warnings, *_behind(plan, restored)))
        every = self.checkpointing.every if self.checkpointing else self.shown_every
        timeout = self.checkpointing.timeout if self.checkpointing else 600.0
        coordinator = Coordinator(plan, store, Settings(every, timeout, self.restart, restored), self.probe)
        crew = self._crew(plan, coordinator)
        letters = Letters.below(self.checkpointing.folder) if self.checkpointing else Letters(lambda: iter(tuple(dead)))
        job = OwnJob(plan, coordinator, crew.tasks, letters, self._submission(alerts))
        self._show(job, coordinator)
        crew.start()
        coordinator.start(crew.tasks)
        return job

    def _submission(self, alerts: Sequence[Alert]) -> Submission:
        """With the streams as they are now, whatever is written into other cells later."""
        kept = copy(self)
        kept.ends = Sinks([*self.ends.nodes])
        return Submission(kept, tuple(alerts))

    def _show(self, job: Job, coordinator: Coordinator) -> None:  # noqa: B027  most have nobody to show it to
        """Let others look at a job that is about to begin."""

    def _job(self) -> str:
        """An id for the job's files: one that a resumption has too, where there is one."""
        if self.checkpointing is None:
            return uuid.uuid4().hex[:8]
        return fingerprint((self.name, Folder(self.checkpointing.folder).path))[:8]

    def _store(self) -> Store | None:
        """Where checkpoints go."""
        if self.checkpointing is None:
            return None if isinstance(self.restart, NoRestart) else MemoryStore()
        store = FolderStore(Folder(self.checkpointing.folder), self.checkpointing.retain)
        store.claim()
        return store

    def _graph(self, dead: list[DeadLetter]) -> Graph:
        """The graph with the sink for dead letters that no one else reads."""
        graph = Graph.of(self.name, self.ends.nodes, self.max_parallelism)
        read = {each.node for _, node in graph.nodes for each in node.inputs if each.output == DEAD}
        left = [node for _, node in graph.nodes if node.options.on_error != "fail" and node not in read]
        if not left:
            return graph
        sink: SinkFunction[Any] = CollectSink(dead)
        keep: Callable[[DeadLetter], DeadLetter] = legible
        if self.checkpointing is not None:
            sink, keep = JsonlSink(letters_folder(self.checkpointing.folder).url), _written
        inputs = tuple(Input(node, DEAD) for node in left)
        options = Options(name="dead-letters", uid="dead-letters", parallelism=1, on_error="fail")
        kept = Node(MapSpec(keep), inputs, options, ours=True)
        options = replace(options, name="dead-letters-sink", uid="dead-letters-sink")
        last = Node(SinkSpec(sink), (Input(kept),), options, ours=True)
        return Graph.of(self.name, [*self.ends.nodes, last], self.max_parallelism)


class LocalEnvironment(Environment):
    """Streams on threads of this process.

    Pure Python code shares one interpreter lock, so threads speed up what waits, or computes in numpy, torch or faiss.

    >>> env = LocalEnvironment("doubles")
    >>> rows = []
    >>> env.from_collection([1, 2, 3]).map(lambda n: 2 * n).sink(CollectSink(rows))
    >>> env.submit().wait()
    'finished'
    >>> rows
    [2, 4, 6]
    """

    def work_through(self) -> bool:
        """Run the graph in this thread to its end, if it is one chain that fails where an operator of it does.

        Of such a one a job would have a single task, and no dead letters. Says whether it did; it keeps nothing in a
        folder. Raises what made it fail.

        >>> env, rows = LocalEnvironment("doubles"), []
        >>> doubles = env.from_collection([1, 2], on_error="fail").map(lambda n: 2 * n, on_error="fail")
        >>> doubles.sink(CollectSink(rows), on_error="fail")
        >>> env.work_through(), rows
        (True, [2, 4])
        """
        plan = Plan.of(self.graph(), 1 if self.parallelism == "auto" else self.parallelism)
        fails = all(node.options.on_error == "fail" for _, node in plan.graph.nodes)
        if not fails or [chain.parallelism for chain in plan.chains] != [1]:
            return False
        alone = Alone()
        alone.work_through(Threads(Wiring(plan, alone, self.probe, self._resources)).tasks[0])
        return True

    def _crew(self, plan: Plan, coordinator: Coordinator) -> Crew:
        return Threads(Wiring(plan, coordinator, self.probe, self._resources))


def _cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _restored(plan: Plan, store: Store | None, savepoint: str | None, *, lenient: bool) -> Restored | None:
    latest = store.latest(plan.graph, lenient=lenient) if store else None
    if latest is not None and savepoint is not None:
        said = f"the job went on from its own checkpoint {latest.checkpoint}, not from {savepoint!r}; see fresh=True"
        return replace(latest, warnings=(*latest.warnings, said))
    if latest is not None or savepoint is None:
        return latest
    found = FolderStore(Folder(savepoint)).latest(plan.graph, lenient=lenient)
    if found is None:
        raise BadValueError(f"there is no savepoint in {savepoint!r}; look at the path that savepoint() was given")
    return found


def _behind(plan: Plan, restored: Restored) -> Iterator[str]:
    """Lists that lack what was collected up to the checkpoint, by a sink that is no more."""
    for _, node in plan.graph.nodes:
        sink = node.spec.sink if isinstance(node.spec, SinkSpec) else None
        if isinstance(sink, CollectSink) and not sink.begun and not node.ours:
            yield (
                f"the list of {node.name!r} holds only what came after checkpoint {restored.checkpoint}; collect all "
                f"of it in a JsonlSink, or start over with fresh=True"
            )


def _written(letter: DeadLetter) -> DeadLetter:
    return written(legible(letter))


def _checkpointing(given: Checkpointing | str | PathLike[str] | None) -> Checkpointing | None:
    if given is None or isinstance(given, Checkpointing):
        return given
    if not isinstance(given, (str, PathLike)):
        raise BadValueError(f"checkpoint= takes a folder or Checkpointing(folder, every=…), got {given!r:.60}")
    return Checkpointing(fspath(given))
