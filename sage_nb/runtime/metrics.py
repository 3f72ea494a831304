"""What a job has done so far, in numbers: records, time, watermarks, checkpoints. Plain values that cross processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from sage_nb.runtime.edge import Edge
from sage_nb.runtime.operators.running import Operator
from sage_nb.runtime.taking import Taken
from sage_nb.runtime.task import Task
from sage_nb.runtime.timesheet import Mark
from sage_nb.stream.graph import Graph, Node, SinkSpec

SOON = 0.05  # seconds: a span shorter than this tells no rate


class OperatorMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One operator in one subtask. Counts are records.

    `received = passed + filtered + late + dead + waiting`, but for the records just `in_hand`. `sent` are records
    handed on, by output and by reader (its uid and which of its inputs), `restored` those of them, and those received,
    before this attempt; `held` are kept back to fill batches, `emitting` are just being handed on. `self_s` are seconds
    in its own code, `model_s` those of the models it calls.
    """

    uid: str
    name: str
    kind: str
    reads: tuple[str, ...]
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
    in_hand: int
    emitting: int
    mean_batch: float
    received_per_s: float
    emitted_per_s: float
    self_s: float
    model_s: float
    watermark: float | None
    lag_s: float | None
    delivery: str
    own: dict[str, float]
    sent: dict[str, int]
    restored: dict[str, int]
    held: dict[str, int]

    @property
    def accounted(self) -> int:
        """Records received of which is known what became of them."""
        return self.passed + self.filtered + self.late + self.dead + self.waiting

    @property
    def dead_letters(self) -> int:
        """What it sent to the dead letters."""
        return self.dead + self.orphaned


class TaskMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One task, which runs `operators` without a queue between them: how full its input is (0 to 1), and its time.

    The rates are of the last second or so; busy, back-pressured and idle make 1000 together. `attempt` is None until
    its state is restored.
    """

    uid: str
    operators: tuple[str, ...]
    subtask: int
    attempt: int | None
    queue_fill: float
    queued: int
    in_hand: int
    busy_s: float
    backpressured_s: float
    idle_s: float
    busy_ms_per_s: float
    backpressured_ms_per_s: float
    idle_ms_per_s: float


class Alarm(msgspec.Struct, frozen=True):
    """A rule that holds, or held: of which operator ("" for the job), with what value as it began to be one.

    `since` and `until` in seconds since the epoch; `until` is None while it holds.

    >>> print(Alarm("queue_fill > 0.9 for 10s", "parse", 0.97, since=1_790_000_000.0))
    queue_fill > 0.9 for 10s: 0.97 of parse
    """

    rule: str
    operator: str
    value: float
    since: float
    until: float | None = None

    def __str__(self) -> str:
        """As in "restarts > 1: 2"."""
        return f"{self.rule}: {self.value:.4g}{f' of {self.operator}' if self.operator else ''}"


class JobMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one moment; `at` in seconds since the epoch. `checkpoints` are the last ones, `committed` counts.

    `alarms` are the last ones, oldest first.
    """

    name: str
    status: str
    at: float
    seconds: float
    restarts: int
    committed: int
    operators: tuple[OperatorMetrics, ...]
    tasks: tuple[TaskMetrics, ...]
    checkpoints: tuple[Taken, ...]
    warnings: tuple[str, ...]  # the first and the last
    warned: int = 0  # how many there were
    alarms: tuple[Alarm, ...] = ()

    @property
    def sinks(self) -> tuple[OperatorMetrics, ...]:
        """Where records leave, but for the place that dead letters are kept in."""
        return tuple(each for each in self.operators if each.kind == "sink" and each.uid != "dead-letters-sink")

    @property
    def dead_letters(self) -> int:
        """Records that an operator could not handle."""
        return sum(each.dead_letters for each in self.operators)

    def total(self, uid: str, count: str) -> int:
        """A count of an operator over its subtasks."""
        return sum(getattr(each, count) for each in self.operators if each.uid == uid)

    def skew(self, uid: str) -> float:
        """How unevenly its subtasks are burdened: records received by the busiest of them, over the mean of all.

        1 is even (and what nothing has come to is), the number of subtasks is all in one, as with a single hot key.
        """
        received = [each.received for each in self.operators if each.uid == uid]
        return max(received) * len(received) / sum(received) if any(received) else 1.0

    @property
    def spread(self) -> tuple[str, ...]:
        """The operators of several subtasks, by uid: those whose skew says something."""
        return tuple(dict.fromkeys(each.uid for each in self.operators if each.subtask))

    def __str__(self) -> str:
        from sage_nb.runtime.panel import text

        return text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from sage_nb.runtime.panel import html

        return html(self)


Measured = tuple[TaskMetrics, Sequence[OperatorMetrics]]


def measured(graph: Graph, task: Task, past: Mark | None, now: float) -> Measured:
    """The numbers of a task and its operators; rates since `past`. `now` in monotonic seconds."""
    mark = task.mark(now)
    if past is None or past.attempt != mark.attempt:
        past = task.begun or mark
    return _task(task, past, mark), list(_operators(graph, task, past, mark))


def _task(task: Task, past: Mark, mark: Mark) -> TaskMetrics:
    ms = [1000 * _rate(past, mark, *pair) for pair in zip(past.spent, mark.spent, strict=True)]
    return TaskMetrics(
        uid=task.uid,
        operators=tuple(each.place.uid for each in task.operators),
        subtask=task.subtask,
        attempt=task.begun.attempt if task.begun else None,
        queue_fill=task.gate.fill,
        queued=task.gate.waiting,
        in_hand=task.in_hand,
        busy_s=mark.spent.busy,
        backpressured_s=mark.spent.blocked,
        idle_s=mark.spent.idle,
        busy_ms_per_s=ms[0],
        backpressured_ms_per_s=ms[1],
        idle_ms_per_s=ms[2],
    )


def _operators(graph: Graph, task: Task, past: Mark, mark: Mark) -> Iterator[OperatorMetrics]:
    nodes, uids = dict(graph.nodes), graph.uids
    blocked = task.clock.sheet.blocked_since
    seconds = task.clock.read(mark.at if blocked is None else min(mark.at, blocked))
    for operator, before, after in zip(task.operators, past.counts, mark.counts, strict=True):
        uid = operator.place.uid
        node = nodes[uid]
        reads = tuple(uids[each.node] for each in node.inputs)
        rates = [_rate(past, mark, *pair) for pair in zip(before, after, strict=True)]
        yield _operator(operator, node, reads, rates, seconds.get(uid, 0.0))


def _operator(
    operator: Operator, node: Node, reads: tuple[str, ...], rates: Sequence[float], seconds: float
) -> OperatorMetrics:
    """Read what moves on before what it becomes, so that a record on its way is seen twice rather than not at all."""
    emitting, in_hand, waiting, held = operator.emitting, operator.in_hand, operator.waiting, _held(operator)
    counters, watermark = operator.counters, operator.watermark
    timed = abs(watermark) != float("inf")
    return OperatorMetrics(
        uid=operator.place.uid,
        name=node.name,
        kind=node.spec.kind,
        reads=reads,
        subtask=operator.place.subtask,
        waiting=waiting,
        in_hand=in_hand,
        emitting=emitting,
        passed=counters.passed,
        filtered=counters.filtered,
        late=counters.late,
        dead=counters.dead,
        degraded=counters.degraded,
        orphaned=counters.orphaned,
        retried=counters.retried,
        sent=operator.sent(),
        restored=operator.restored,
        held=held,
        emitted=counters.emitted,
        received=counters.received,
        mean_batch=counters.received / max(1, counters.batches),
        received_per_s=rates[0],
        emitted_per_s=rates[1],
        self_s=max(0.0, seconds - operator.metrics.model_s),
        model_s=operator.metrics.model_s,
        watermark=watermark if timed else None,
        lag_s=time.time() - watermark if timed else None,
        delivery=node.spec.sink.delivery if isinstance(node.spec, SinkSpec) else "",
        own={**operator.metrics.counters, **operator.metrics.gauges},
    )


def _held(operator: Operator) -> dict[str, int]:
    receivers = [receiver for output in operator.outputs.values() for receiver in output]
    return {receiver.key: receiver.waiting for receiver in receivers if isinstance(receiver, Edge)}


def _rate(past: Mark, mark: Mark, before: float, after: float) -> float:
    span = mark.at - past.at
    return max(0.0, after - before) / span if span >= SOON else 0.0
