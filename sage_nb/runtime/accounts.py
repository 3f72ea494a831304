"""Whether a record is missing: what went in somewhere, against what came out of it, on every operator and edge.

A job that runs is looked at three times, and the looks are compared so that a record on its way cannot seem lost or
doubled: what has arrived by the last look has at least what was sent by the first, but for what is in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sage_nb.runtime.metrics import JobMetrics, OperatorMetrics
from sage_nb.runtime.operators.loop import AGAIN
from sage_nb.runtime.operators.running import RECEIVED, UNPLACED
from sage_nb.stream.graph import DEAD, LATE, MAIN, Everywhere, Graph

COUNTED = (MAIN, LATE, DEAD)  # outputs whose records an operator counts


def comparable(*looks: JobMetrics) -> bool:
    """Whether all looks are at one attempt, its state restored everywhere."""
    attempts = {task.attempt for look in looks for task in look.tasks}
    return len(attempts) == 1 and None not in attempts and len({look.restarts for look in looks}) == 1


def unbalanced(
    graph: Graph, parallelism: Mapping[str, int], first: JobMetrics, between: JobMetrics, last: JobMetrics
) -> list[str]:
    """What does not add up, a sentence each; of a job that has finished, the looks are one and the same."""
    found = [
        *(text for one, other in zip(first.operators, last.operators, strict=True) for text in _inside(one, other)),
        *_handed_on(graph, parallelism, first, last),
    ]
    for uid, node in graph.nodes:
        if node.inputs:
            found.extend(_between(graph, uid, first, between, last))
    return found


def _inside(first: OperatorMetrics, last: OperatorMetrics) -> Iterator[str]:
    where = f"{first.uid}[{first.subtask}]"
    if (missing := first.received - last.accounted - last.in_hand) > 0:
        yield f"{where}: {missing} of {first.received} records received are missing"
    if (extra := first.accounted - last.received - first.in_hand) > 0:
        yield f"{where}: {extra} records more accounted for than received"


def _handed_on(graph: Graph, parallelism: Mapping[str, int], first: JobMetrics, last: JobMetrics) -> Iterator[str]:
    """From an operator to what reads it, in this task or on an edge."""
    for uid, node in graph.nodes:
        for at, read in enumerate(node.inputs):
            copies = parallelism[uid] if isinstance(read.partition, Everywhere) else 1
            for one, other in zip(first.operators, last.operators, strict=True):
                if one.uid == graph.uids[read.node] and read.output in COUNTED:
                    yield from _to_reader(one, other, read.output, f"{uid}:{at}", copies)


def _to_reader(first: OperatorMetrics, last: OperatorMetrics, output: str, key: str, copies: int) -> Iterator[str]:
    where, reader = f"{first.uid}[{first.subtask}]", key.rpartition(":")[0]
    unplaced = _since(last, UNPLACED) if output == MAIN else 0
    arrived = _since(last, key) + last.held.get(key, 0) + copies * (last.emitting + unplaced)
    if (missing := copies * _since(first, output) - arrived) > 0:
        yield f"{where}: {missing} records for {reader} were not sent"
    if (extra := _since(first, key) - copies * _since(last, output)) > 0:
        yield f"{where}: {extra} records more sent to {reader} than there were"


def _since(metrics: OperatorMetrics, what: str) -> int:
    """Sent in this attempt: before it, there may have been another number of readers."""
    return metrics.sent.get(what, 0) - metrics.restored.get(what, 0)


def _between(graph: Graph, uid: str, first: JobMetrics, between: JobMetrics, last: JobMetrics) -> Iterator[str]:
    """From the edges to the operator that reads them. One of ours may read others than before: what is new counts."""
    node = dict(graph.nodes)[uid]
    keys = {f"{uid}:{at}" for at in range(len(node.inputs))} | {f"{uid}:{AGAIN}"}
    queued = sum(task.queued for task in between.tasks if task.uid == uid)
    taken = sum(task.in_hand for task in last.tasks if task.uid == uid)
    before = _before(first, uid, keys) if node.ours else 0
    if (lost := _sent(first, keys) - before - queued - taken - last.total(uid, "received")) > 0:
        yield f"{uid}: {lost} of {_sent(first, keys)} records sent to it never came"
    if (extra := first.total(uid, "received") + queued + before - _sent(last, keys)) > 0:
        yield f"{uid}: {extra} records more came than were sent to it"


def _before(metrics: JobMetrics, uid: str, keys: set[str]) -> int:
    """How many more were sent to it than it received, before this attempt."""
    sent = sum(count for each in metrics.operators for key, count in each.restored.items() if key in keys)
    return sent - sum(each.restored.get(RECEIVED, 0) for each in metrics.operators if each.uid == uid)


def _sent(metrics: JobMetrics, keys: set[str]) -> int:
    return sum(count for each in metrics.operators for key, count in each.sent.items() if key in keys)
