"""What a job has done so far, in numbers: records, time, watermarks, checkpoints; and whether nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sage_nb.records import markup
from sage_nb.runtime.taking import Taken
from sage_nb.runtime.task import Task
from sage_nb.stream.graph import Everywhere, Graph


@dataclass(frozen=True)
class OperatorMetrics:
    """One operator in one subtask. Counts are records; `self_s` seconds in its own code since the job began.

    `received = passed + filtered + late + dead + waiting`; `delivered` are records handed on, by reader.
    """

    uid: str
    subtask: int
    received: int
    passed: int
    filtered: int
    late: int
    dead: int
    degraded: int
    orphaned: int
    retried: int
    emitted: int
    waiting: int
    mean_batch: float
    self_s: float
    watermark: float
    own: dict[str, float]
    delivered: dict[str, int]

    @property
    def missing(self) -> int:
        """Records received that are accounted for nowhere; 0, always."""
        return self.received - self.passed - self.filtered - self.late - self.dead - self.waiting


@dataclass(frozen=True)
class TaskMetrics:
    """One task: how full its input is (0 to 1), what waits there, and its seconds busy, back-pressured and idle."""

    uid: str
    subtask: int
    queue_fill: float
    queued: int
    busy_s: float
    backpressured_s: float
    idle_s: float


@dataclass(frozen=True)
class JobMetrics:
    """All of it at one moment."""

    name: str
    status: str
    seconds: float
    restarts: int
    operators: tuple[OperatorMetrics, ...]
    tasks: tuple[TaskMetrics, ...]
    checkpoints: tuple[Taken, ...]

    def total(self, uid: str, count: str) -> int:
        """A count of an operator over its subtasks."""
        return sum(getattr(each, count) for each in self.operators if each.uid == uid)

    def _repr_html_(self) -> str:
        """The table a notebook shows: a row for each operator and subtask."""
        names = ["operator", "in", "out", "filtered", "late", "dead", "retried", "waiting", "records/s", "own time s"]
        rows: list[list[str | float | markup.Html]] = []
        for each in self.operators:
            counts = (each.received, each.emitted, each.filtered, each.late, each.dead, each.retried, each.waiting)
            rate = each.received / max(self.seconds, 1e-9)
            rows.append([f"{each.uid}[{each.subtask}]", *map(str, counts), f"{rate:,.0f}", f"{each.self_s:.3f}"])
        head = f"{self.name}: {self.status} · {self.seconds:.1f} s · {self.restarts} restarts"
        return markup.table(names, rows, f"{head} · {len(self.checkpoints)} checkpoints")


def operator_metrics(task: Task) -> Iterator[OperatorMetrics]:
    """The numbers of a task's operators."""
    for operator in task.operators:
        counters, place = operator.counters, operator.place
        yield OperatorMetrics(
            uid=place.uid,
            subtask=place.subtask,
            received=counters.received,
            passed=counters.passed,
            filtered=counters.filtered,
            late=counters.late,
            dead=counters.dead,
            degraded=counters.degraded,
            orphaned=counters.orphaned,
            retried=counters.retried,
            emitted=counters.emitted,
            waiting=operator.waiting,
            mean_batch=counters.received / max(1, counters.batches),
            self_s=task.clock.seconds.get(place.uid, 0.0),
            watermark=operator.watermark,
            own={**operator.metrics.counters, **operator.metrics.gauges},
            delivered=operator.delivered(),
        )


def task_metrics(task: Task, now: float) -> TaskMetrics:
    """The numbers of a task; `now` in monotonic seconds."""
    busy = max(0.0, now - task.since - task.idle_s - task.blocked_s)
    return TaskMetrics(task.uid, task.subtask, task.gate.fill, task.gate.waiting, busy, task.blocked_s, task.idle_s)


def unbalanced(graph: Graph, metrics: JobMetrics, edges_waiting: int = 0) -> list[str]:
    """What does not add up, a sentence each: records in = records accounted for, on every operator and every edge.

    `edges_waiting` are records held back on edges of a job that still runs.
    """
    found = [
        f"{each.uid}[{each.subtask}]: {each.missing} records missing" for each in metrics.operators if each.missing
    ]
    for uid, node in graph.nodes:
        if not node.inputs or any(isinstance(read.partition, Everywhere) for read in node.inputs):
            continue
        keys = {f"{uid}:{at}" for at in range(len(node.inputs))} | {f"{uid}:again"}
        sent = sum(count for each in metrics.operators for key, count in each.delivered.items() if key in keys)
        queued = sum(task.queued for task in metrics.tasks if task.uid == uid)
        received = metrics.total(uid, "received")
        if abs(sent - received - queued) > edges_waiting:
            found.append(f"{uid}: {sent} records sent to it, {received} received, {queued} on their way")
    return found


def sampled(graph: Graph, tasks: Sequence[Task], now: float, **facts: Any) -> JobMetrics:
    """The numbers of all tasks."""
    operators = tuple(each for task in tasks for each in operator_metrics(task))
    return JobMetrics(
        name=graph.name, operators=operators, tasks=tuple(task_metrics(task, now) for task in tasks), **facts
    )
