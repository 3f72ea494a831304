"""What every running operator has: its place, its counters, its outputs, its part of a checkpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

import msgspec

from sage_nb.runtime.context import LocalContext, OwnMetrics
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.operators.guard import Guard
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.timesheet import Timesheet
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import DEAD, LATE, MAIN, Spec
from sage_nb.stream.policy import DeadLetter, Options

UNPLACED = "unplaced"  # records that failed outside their operator, as on an edge
RECEIVED = "received"
BEHIND = "it failed behind its operator, not on its way in"  # a window's result, say


class Counters(msgspec.Struct):
    """Records of one operator in one subtask; part of its checkpoint, so a replay is not counted twice.

    Every record received is, sooner or later, passed (handled, folded into state or sent on), filtered, late or dead:
    `received = passed + filtered + late + dead + waiting`. `orphaned` counts what failed without having been received:
    a timer, a window's result, a record that found no place on an edge. `degraded` are those passed on as the fallback
    of `on_error` has them.
    """

    received: int = 0
    passed: int = 0
    filtered: int = 0
    late: int = 0
    dead: int = 0
    degraded: int = 0
    orphaned: int = 0
    retried: int = 0
    emitted: int = 0
    batches: int = 0


class Receiver(Protocol):
    """Where an operator's records go: the next operator of its task, or an edge to other tasks."""

    @property
    def key(self) -> str:
        """Which reader it is, and which of its inputs."""
        ...

    @property
    def count(self) -> int:
        """Records it was given, but for those that wait in it."""
        ...

    def restore_count(self, count: int) -> None:
        """Go on counting from there."""
        ...

    def receive(self, batch: Batch, port: int = 0) -> None:
        """Take them."""
        ...


class Clock:
    """Whose time it is in a task: seconds spent in each operator itself, without what it calls or waits for.

    It costs 2.5 to 3 % of the CPU time of source, map, filter, map and sink in one task, with full batches.
    """

    def __init__(self) -> None:
        self.sheet = Timesheet()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = monotonic()

    def enter(self, name: str) -> None:
        """From now on it is this one's time."""
        now, stack = monotonic(), self._stack
        if stack:
            self.seconds[stack[-1]] += now - self._since
        self._since = now
        stack.append(name)

    def leave(self) -> None:
        """From now on it is the caller's time again."""
        now = monotonic()
        self.seconds[self._stack.pop()] += now - self._since
        self._since = now

    def wait(self, seconds: float) -> None:
        """So long a channel was full: no one's time."""
        self._since += seconds

    def read(self, now: float) -> dict[str, float]:
        """The seconds up to `now` (monotonic), what is under way too; from any thread."""
        seconds, stack, since = dict(self.seconds), self._stack[-1:], self._since
        for name in stack:
            seconds[name] = seconds.get(name, 0.0) + max(0.0, now - since)
        return seconds


@dataclass
class Place:
    """Where an operator runs."""

    uid: str
    name: str
    options: Options
    subtask: int
    parallelism: int
    groups: KeyGroups
    resources: Mapping[type, Any]
    probe: Probe
    clock: Clock
    job: str = "job"
    keyed: bool = False  # whether all its records come with a key

    def context(self, metrics: OwnMetrics, store: Any = None) -> LocalContext:
        """What the operator's function may ask for."""
        held = store if self.keyed else None
        return LocalContext(
            self.resources, self.name, self.subtask, self.parallelism, metrics, held, self.uid, self.job
        )

    def owns(self, group: int) -> bool:
        """Whether keys of this group come here."""
        return self.groups.owner(group, self.parallelism) == self.subtask


@dataclass
class Saved:
    """What an operator's subtasks left in a checkpoint: keyed state by name and group, and each one's own."""

    parallelism: int = 0
    groups: dict[str, dict[int, Any]] = field(default_factory=dict)
    own: dict[int, Any] = field(default_factory=dict)
    counters: dict[int, list[int]] = field(default_factory=dict)
    delivered: dict[int, dict[str, int]] = field(default_factory=dict)
    watermark: float = float("-inf")
    checkpoint: int = 0  # 0: the beginning

    @classmethod
    def of(cls, parts: Mapping[int, Mapping[str, Any]], checkpoint: int) -> Saved:
        """The snapshots of all subtasks as one."""
        groups: dict[str, dict[int, Any]] = {}
        for part in parts.values():
            for name, held in part["groups"].items():
                groups.setdefault(name, {}).update(held)
        own = {subtask: part["own"] for subtask, part in parts.items() if part["own"] is not None}
        counters = {subtask: part["counters"] for subtask, part in parts.items()}
        delivered = {subtask: part["delivered"] for subtask, part in parts.items()}
        watermark = min(part["watermark"] for part in parts.values())
        return cls(len(parts), groups, own, counters, delivered, watermark, checkpoint)


class Operator:
    """A spec at work in one subtask."""

    def __init__(self, spec: Spec, place: Place) -> None:
        self.spec, self.place = spec, place
        self.counters = Counters()
        self.metrics = OwnMetrics()
        self.outputs: dict[str, list[Receiver]] = {}
        self.watermark = float("-inf")
        self._lasting = float("-inf")  # the watermark as a checkpoint has it: the end is this attempt's alone
        self.ended = False
        self.in_hand = 0  # records being handled just now: their account may be half written
        self.emitting = 0  # records being given to readers just now
        self.restored: dict[str, int] = {}  # what was sent before this attempt, maybe to another number of readers
        self.guard = Guard(self)

    def halt(self) -> None:
        """The attempt is over: no need to wait before another try."""
        self.guard.halt.set()

    @property
    def key(self) -> str:
        """A fused operator has one input."""
        return f"{self.place.uid}:0"

    @property
    def count(self) -> int:
        """Records received."""
        return self.counters.received

    def restore_count(self, count: int) -> None:
        """Its own counters know."""

    def open(self) -> None:
        """Make and open what it runs."""

    def close(self) -> None:
        """Close what `open` opened."""

    def shut(self) -> None:
        """`close`, and the thread in which calls were timed."""
        self.guard.close()
        self.close()

    def accepted(self, made: Any) -> Any:
        """What `on_error`'s function gave, in the place of what the operator's own would have given."""
        return made

    def receive(self, batch: Batch, port: int = 0) -> None:
        """Handle a batch."""
        count, before, place, counters = len(batch.values), self.in_hand, self.place, self.counters
        self.in_hand = before + count
        counters.received += count
        counters.batches += 1
        place.clock.enter(place.uid)
        try:
            self.process(batch, port)
        finally:
            place.clock.leave()
            self.in_hand = before

    def process(self, batch: Batch, port: int) -> None:
        """What this kind of operator does with a batch."""
        raise NotImplementedError

    def advance(self, watermark: float) -> None:
        """Event time has come so far; infinitely far at the end, though more may come in another run."""
        self.watermark = watermark
        if watermark < float("inf"):
            self._lasting = watermark

    def flush(self) -> None:
        """Handle what it holds back to make batches fuller."""

    def finish(self) -> None:
        """No more records will come."""

    @property
    def deadline(self) -> float | None:
        """When it wants `wake` to be called (seconds since the epoch)."""
        return None

    def wake(self, now: float) -> None:
        """The deadline has come."""

    @property
    def waiting(self) -> int:
        """Records received and not handled yet."""
        return 0

    def prepare(self, checkpoint: int) -> None:
        """A checkpoint is about to be taken (first phase of a commit)."""

    def committed(self, checkpoint: int) -> None:
        """That checkpoint, and all before it, will not be taken back."""

    def groups(self) -> dict[str, dict[int, Any]]:
        """Its keyed state by name and key group."""
        return {}

    def own(self) -> Any:
        """Its other state, as plain data; None for none."""
        return None

    def restore(self, saved: Saved) -> None:
        """Become as it was; an empty `saved` is the beginning. Overrides call this first."""
        self.guard.halt.clear()
        here = self.place.subtask
        if saved.parallelism == self.place.parallelism:
            parts = [saved.counters[here]]
        else:  # at another parallelism the first subtask carries on everyone's numbers
            parts = list(saved.counters.values()) if here == 0 else []
        self.counters = Counters(*(sum(column) for column in zip(*parts, strict=True)))
        self._restore_edges(saved)
        self.watermark = self._lasting = saved.watermark
        self.ended = False  # what ended has nothing left to give: to end it again gives nothing

    def snapshot(self) -> dict[str, Any]:
        """Its part of a checkpoint."""
        return {
            "subtask": self.place.subtask,
            "groups": self.groups(),
            "own": self.own(),
            "delivered": self.delivered(),
            "counters": list(msgspec.structs.astuple(self.counters)),
            "watermark": self._lasting,
        }

    def emit(self, batch: Batch, output: str = MAIN) -> None:
        """Send records on."""
        count, before = len(batch.values), self.emitting
        self.emitting = before + count
        if output == MAIN:
            self.counters.emitted += count
        receivers = self.outputs.get(output, ())
        try:
            if len(receivers) == 1:
                receivers[0].receive(batch)
            elif receivers:
                for receiver, copy in zip(receivers, batch.copies(len(receivers)), strict=True):
                    receiver.receive(copy)
        finally:
            self.emitting = before

    def delivered(self) -> dict[str, int]:
        """Records handed to each reader, by the reader's key."""
        receivers = [receiver for output in self.outputs.values() for receiver in output]
        return {receiver.key: receiver.count for receiver in receivers}

    def sent(self) -> dict[str, int]:
        """Records sent, by output as far as counted, and by reader."""
        counters = self.counters
        dead = counters.dead + counters.orphaned
        counts = {MAIN: counters.emitted, LATE: counters.late, DEAD: dead, UNPLACED: counters.orphaned}
        return {**counts, **self.delivered()}

    def bury(self, record: Any, error: Exception, attempts: int, *, orphan: bool = False) -> None:
        """Send a record that cannot be handled to the dead-letter output."""
        if orphan:
            self.counters.orphaned += 1
        else:
            self.counters.dead += 1
        text = f"{type(error).__name__}: {error}".encode("utf8", "backslashreplace").decode()
        self.emit(Batch([DeadLetter(self.place.uid, record, text, attempts, BEHIND if orphan else "")]), DEAD)

    def _restore_edges(self, saved: Saved) -> None:
        here = self.place.subtask
        same = saved.parallelism == self.place.parallelism
        parts = [saved.delivered[here]] if same else list(saved.delivered.values()) if here == 0 else []
        for receivers in self.outputs.values():
            for receiver in receivers:
                receiver.restore_count(sum(part.get(receiver.key, 0) for part in parts))
