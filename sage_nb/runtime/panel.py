"""A job's metrics as a table: in a notebook, and as text with the same facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.runtime.metrics import JobMetrics, OperatorMetrics, TaskMetrics
from sage_nb.runtime.progress import counted

Cell = str | int | float


class Row(NamedTuple):
    """An operator in a subtask; in the row of a task's first operator the task, in that of subtask 0 the skew."""

    own: OperatorMetrics
    task: TaskMetrics | None
    skew: float | None


class Column(NamedTuple):
    """A heading, what stands below it, and whether it is shown where nothing but 0 or nothing does."""

    name: str
    value: Callable[[Row], Cell]
    always: bool = False


COLUMNS = (
    Column("in", lambda row: row.own.received, always=True),
    Column("out", lambda row: row.own.emitted if row.own.kind != "sink" else row.own.passed, always=True),
    Column("filtered", lambda row: row.own.filtered),
    Column("late", lambda row: row.own.late),
    Column("dead letters", lambda row: row.own.dead_letters),
    Column("fallbacks", lambda row: row.own.degraded),
    Column("retries", lambda row: row.own.retried),
    Column("waiting", lambda row: row.own.waiting),
    Column("in/s", lambda row: round(row.own.received_per_s), always=True),
    Column("skew", lambda row: "" if row.skew is None else round(row.skew, 2)),
    Column("batch", lambda row: round(row.own.mean_batch, 1), always=True),
    Column("self s", lambda row: round(row.own.self_s, 3), always=True),
    Column("model s", lambda row: round(row.own.model_s, 3)),
    Column("queue %", lambda row: "" if row.task is None else round(100 * row.task.queue_fill)),
    Column("busy ms/s", lambda row: "" if row.task is None else round(row.task.busy_ms_per_s), always=True),
    Column("back-pressured", lambda row: "" if row.task is None else round(row.task.backpressured_ms_per_s)),
    Column("idle", lambda row: "" if row.task is None else round(row.task.idle_ms_per_s), always=True),
    Column("watermark", lambda row: "" if row.own.watermark is None else f"{row.own.watermark:.10g}"),
    Column("lag", lambda row: "" if row.own.lag_s is None else duration(row.own.lag_s)),
    Column("delivery", lambda row: row.own.delivery),
)


def html(metrics: JobMetrics) -> str:
    """For a notebook: a row for each operator and subtask; names are escaped."""
    return markup.table(*_table(metrics), caption=summary(metrics))


def text(metrics: JobMetrics) -> str:
    """For a terminal."""
    header, rows = _table(metrics)
    shown = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return f"{summary(metrics)}\n{text_table(header, shown)}"


def summary(metrics: JobMetrics) -> str:
    """The job in a line."""
    out, rate = sum(each.passed for each in metrics.sinks), sum(each.received_per_s for each in metrics.sinks)
    facts = [f"{metrics.status} for {duration(metrics.seconds)}" if metrics.status == "running" else metrics.status]
    if metrics.status != "running":
        facts.append(duration(metrics.seconds))
    facts.append(f"{counted(out, 'record')} out" + (f", {rate:,.0f}/s" if metrics.status == "running" else ""))
    if metrics.committed:
        last = metrics.checkpoints[-1]
        facts.append(
            f"{counted(metrics.committed, 'checkpoint')} (the last: {last.seconds:.2f} s, {size(last.bytes)}, "
            f"aligned in {last.aligned_s:.2f} s)"
        )
    for count, what in (
        (metrics.restarts, "restart"),
        (metrics.dead_letters, "dead letter"),
        (metrics.warned, "warning"),
    ):
        if count:
            facts.append(counted(count, what))
    return f"{metrics.name}: {' · '.join(facts)}"


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use.

    >>> [duration(each) for each in (0.25, 90, 7200, 3e9)]
    ['0.2 s', '1.5 min', '2.0 h', '95.1 y']
    """
    for unit, length in (("y", 365.25 * 86_400), ("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Bytes in the unit a person would use.

    >>> size(10), size(5_300_000)
    ('10 B', '5.3 MB')
    """
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"


def _table(metrics: JobMetrics) -> tuple[list[str], list[list[Cell]]]:
    tasks = {(task.uid, task.subtask): task for task in metrics.tasks}
    spread = metrics.spread
    skews: dict[tuple[str, int], float] = {(uid, 0): metrics.skew(uid) for uid in spread}
    places = [(each, (each.uid, each.subtask)) for each in metrics.operators]
    rows = [Row(each, tasks.get(place), skews.get(place)) for each, place in places]
    shown = [column for column in COLUMNS if column.always or any(column.value(row) not in ("", 0) for row in rows)]
    cells = [[_label(row.own, spread), *(column.value(row) for column in shown)] for row in rows]
    return ["operator", *(column.name for column in shown)], cells


def _label(each: OperatorMetrics, spread: Sequence[str]) -> str:
    return f"{each.uid}[{each.subtask}]" if each.uid in spread else each.uid
