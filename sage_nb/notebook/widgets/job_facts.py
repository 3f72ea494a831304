"""What a dashboard shows of a job, as small plain values: drawn by JavaScript, and where none runs as tables."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile, zip_longest
from typing import Any

from sage_nb.notebook.display import WORKING, short
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.plain import pack
from sage_nb.runtime.metrics import JobMetrics, OperatorMetrics, TaskMetrics
from sage_nb.runtime.operators.guard import text_of
from sage_nb.runtime.panel import duration, size
from sage_nb.runtime.progress import counted
from sage_nb.stream.policy import DeadLetter

Facts = dict[str, Any]
POINTS = 60  # of the drawn history: half a minute
CHECKPOINTS, WARNINGS, ALARMS = 10, 5, 20  # the last ones, as shown
IDLE = 95  # per cent from which a stage is all idle: what is left is its looking for records, and no news
OURS = ("dead-letters", "dead-letters-sink")  # operators that nobody wrote
ALSO = {"filtered": "filtered", "late": "late", "degraded": "fallback", "retried": "retry", "waiting": "waiting"}
PLURAL = {"fallback": "fallbacks", "retry": "retries", "dead letter": "dead letters"}
STAGES = ("stage", "records/s", "in", "out", "queue %", "busy %", "back-pressured %", "idle %", "also")
TAKEN = ("checkpoint", "age", "took", "size", "aligned in")
LETTERS = ("operator", "record", "error", "tries", "can be tried again")
NODES = ("node", "address", "alive", "CPUs free", "GPUs free", "memory free", "works here")


class Rates:
    """Records a second of each operator at the last looks."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[int]] = {}

    def note(self, metrics: JobMetrics) -> None:
        """One look more; a job that has ended takes no records."""
        for uid, each in _by_operator(metrics).items():
            rate = sum(one.received_per_s for one in each) if metrics.status in WORKING else 0.0
            self._kept.setdefault(uid, deque(maxlen=POINTS)).append(round(rate))

    def of(self, uid: str) -> list[int]:
        """The oldest first, from the first that is not 0: what has never moved, or not for long, is no news."""
        return list(dropwhile(lambda rate: not rate, self._kept.get(uid, ())))


def job_facts(metrics: JobMetrics, rates: Rates) -> Facts:
    """All that is told of the job itself; `now` and `seconds` go on by themselves."""
    working = metrics.status in WORKING
    tasks: dict[str, list[TaskMetrics]] = {}
    for task in metrics.tasks:
        tasks.setdefault(task.uid, []).append(task)
    return {
        "name": metrics.name,
        "status": metrics.status,
        "working": working,
        "now": metrics.at,
        "seconds": round(metrics.seconds, 1),
        "out": sum(each.passed for each in metrics.sinks),
        "rate": round(sum(each.received_per_s for each in metrics.sinks)) if working else 0,
        "rates": _summed([rates.of(uid) for uid in dict.fromkeys(each.uid for each in metrics.sinks)]),
        "restarts": metrics.restarts,
        "committed": metrics.committed,
        "dead": metrics.dead_letters,
        "warned": metrics.warned,
        "stages": [
            _stage(uid, each, tasks.get(uid, []) if working else [], rates.of(uid))
            for uid, each in _by_operator(metrics).items()
            if uid not in OURS
        ],
        "checkpoints": [
            [each.number, each.at, round(each.seconds, 3), each.bytes, round(each.aligned_s, 3)]
            for each in reversed(metrics.checkpoints[-CHECKPOINTS:])
        ],
        "alarms": [[str(each), each.since, each.until] for each in reversed(metrics.alarms[-ALARMS:])],
        "warnings": list(metrics.warnings[-WARNINGS:]),
    }


def letter_facts(letter: DeadLetter, *, whole: bool = False) -> Facts:
    """A dead letter: the beginning of it, or all.

    >>> letter_facts(DeadLetter("parse", "{" * 1000, "ValueError: no JSON", 1))["record"][-5:]
    '{{{ …'
    """
    record = letter.record if isinstance(letter.record, str) else text_of(letter.record)
    return {
        "key": key_of(letter),
        "operator": letter.operator,
        "record": record if whole else markup.shortened(record, 120),
        "error": letter.error if whole else markup.shortened(letter.error, 200),
        "attempts": letter.attempts,
        "final": letter.final,
    }


def key_of(letter: DeadLetter) -> str:
    """By which a click says which letter is meant; equal letters are one."""
    return f"{zlib.crc32(pack(letter)):08x}"


def cluster_facts(status: Any, job: str) -> Facts:
    """The nodes of a cluster, and which subtasks of the job each has."""
    mine = [each for each in (*status.actors, *status.durable) if each.job == job]
    nodes = []
    for node in status.nodes:
        here = sorted(f"{each.operator}[{each.subtask}]" for each in mine if each.node == node.id)
        nodes.append([*node.row[:-1], size(node.memory.free), ", ".join(here)])
    lost = sorted(f"{each.operator}[{each.subtask}]" for each in mine if each.pid is None)
    return {"address": status.address, "nodes": nodes, "lost": ", ".join(lost)}


def html(facts: Facts, letters: Facts, cluster: Facts) -> str:
    """For nbconvert and GitHub; what is untrusted is escaped."""
    rows = [_row(each) for each in facts["stages"]]
    for row, each in zip(rows, facts["stages"], strict=True):
        row[1] = markup.Html(f"{each['rate']:,} {_spark(each['rates'])}")
    parts = [markup.table(STAGES, rows, summary(facts))]
    parts += [f"<div class='sage-quiet mathjax_ignore'>{markup.escape(each).text}</div>" for each in _remarks(facts)]
    parts += [markup.table(header, rows, caption) for header, rows, caption in _tables(facts, letters, cluster)]
    return "".join(parts)


def text(facts: Facts, letters: Facts, cluster: Facts) -> str:
    """The same in a terminal."""
    parts = [summary(facts), _text_table(STAGES, [_row(each) for each in facts["stages"]]), *_remarks(facts)]
    for header, rows, caption in _tables(facts, letters, cluster):
        parts += [caption, _text_table(header, rows)]
    return "\n".join(parts)


def summary(facts: Facts) -> str:
    """The job in a line."""
    parts = [f"{facts['status']}, {duration(facts['seconds'])}", f"{counted(facts['out'], 'record')} out"]
    parts += [f"{facts['rate']:,}/s"] if facts["working"] else []
    counts = {"committed": "checkpoint", "restarts": "restart", "dead": "dead letter", "warned": "warning"}
    parts += [counted(facts[name], what) for name, what in counts.items() if facts[name]]
    return f"{facts['name']}: {' · '.join(parts)}"


def _remarks(facts: Facts) -> Iterator[str]:
    for said, since, until in facts["alarms"]:
        yield f"alert, {duration(facts['now'] - since)} ago{'' if until is None else ', over'}: {said}"
    for each in facts["warnings"]:
        yield f"warning: {each}"


def _tables(facts: Facts, letters: Facts, cluster: Facts) -> Iterator[tuple[Sequence[str], list[list[Any]], str]]:
    if facts["checkpoints"]:
        rows = [
            [number, duration(facts["now"] - at), f"{took:.2f} s", size(bytes_), f"{aligned:.2f} s"]
            for number, at, took, bytes_, aligned in facts["checkpoints"]
        ]
        yield TAKEN, rows, f"the last of {counted(facts['committed'], 'checkpoint')}"
    if letters.get("shown"):
        rows = [
            [each["operator"], each["record"], each["error"], each["attempts"], each["final"] or "yes"]
            for each in letters["shown"]
        ]
        yield LETTERS, rows, f"{counted(letters['open'], 'dead letter')}, the first {len(rows)}"
    if cluster.get("nodes"):
        yield NODES, cluster["nodes"], f"Ray cluster at {cluster['address']}"


def _by_operator(metrics: JobMetrics) -> Mapping[str, list[OperatorMetrics]]:
    found: dict[str, list[OperatorMetrics]] = {}
    for each in metrics.operators:
        found.setdefault(each.uid, []).append(each)
    return found


def _stage(uid: str, each: Sequence[OperatorMetrics], tasks: Sequence[TaskMetrics], rates: list[int]) -> Facts:
    """An operator over its subtasks; the shares of time are those of the task that it heads, the queue its fullest."""
    first = each[0]
    stage: Facts = {
        "name": short(uid),
        "kind": first.kind,
        "subtasks": len(each),
        "in": sum(one.received for one in each),
        "out": sum(one.passed if first.kind == "sink" else one.emitted for one in each),
        "rate": rates[-1] if rates else 0,
        "rates": rates,
        "queue": None,
        "time": None,
        "also": list(_also(each)),
    }
    if tasks:
        spent = [(one.busy_ms_per_s, one.backpressured_ms_per_s, one.idle_ms_per_s) for one in tasks]
        time = [round(sum(part) / len(tasks) / 10) for part in zip(*spent, strict=True)]
        stage["time"] = time if time[-1] < IDLE else [0, 0, 100]
        stage["queue"] = round(100 * max(one.queue_fill for one in tasks)) if first.reads else None
    return stage


def _also(each: Sequence[OperatorMetrics]) -> Iterator[str]:
    """What else became of its records, where something did."""
    for name in ("cached", "computed"):
        if count := sum(int(one.own.get(name, 0)) for one in each):
            yield f"{count:,} {name}"
    for name, word in (*ALSO.items(), ("dead_letters", "dead letter")):
        if count := sum(getattr(one, name) for one in each):
            yield f"{count:,} {word if count == 1 else PLURAL.get(word, word)}"


def _row(stage: Facts) -> list[Any]:
    many = f" x{stage['subtasks']}" if stage["subtasks"] > 1 else ""
    queue = "" if stage["queue"] is None else stage["queue"]
    shares = stage["time"] or ["", "", ""]
    counts = [stage["rate"], stage["in"], stage["out"]]
    return [stage["name"] + many, *counts, queue, *shares, " · ".join(stage["also"])]


def _text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return text_table(header, [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows])


def _summed(rates: Sequence[Sequence[int]]) -> list[int]:
    return [sum(each) for each in zip_longest(*(reversed(each) for each in rates), fillvalue=0)][::-1]


def _spark(rates: Sequence[int]) -> str:
    """The history as a line, 60 by 14 pixels."""
    top = max(rates, default=0) or 1
    points = " ".join(f"{at},{13 - 12 * rate / top:.1f}" for at, rate in enumerate(rates, POINTS - len(rates)))
    return (
        f"<svg width='{POINTS}' height='14' role='img' aria-label='at most {top:,} records a second'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor'/></svg>"
    )
