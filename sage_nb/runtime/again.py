"""What a job was submitted with, so that it can go on, and its dead letters can be tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as changed

from sage_nb.errors import BadValueError
from sage_nb.records.plain import pack
from sage_nb.runtime.letters import Letters, Retried
from sage_nb.stream.check import is_kind
from sage_nb.stream.function import Function, Snapshotting
from sage_nb.stream.graph import (
    ByKey,
    Everywhere,
    FilterSpec,
    FlatMapSpec,
    Graph,
    Input,
    MapSpec,
    Node,
    ProcessSpec,
    SinkSpec,
    Spec,
    SplitSpec,
    TimesSpec,
)
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.sink import CollectSink, JsonlSink, ParquetSink, SinkFunction, TwoPhaseSink

if TYPE_CHECKING:
    from sage_nb.runtime.alerts import Alert
    from sage_nb.runtime.environment import Environment
    from sage_nb.runtime.job import Job

FREE = (MapSpec, FilterSpec, FlatMapSpec, ProcessSpec, SplitSpec, TimesSpec, SinkSpec)  # what may keep no state


@dataclass(frozen=True)
class Submission:
    """An environment with the streams that were submitted, and the alerts."""

    env: Environment
    alerts: tuple[Alert, ...]

    def again(self) -> Job:
        """The job, from its last checkpoint."""
        return self.env.submit(alerts=self.alerts)


def tried_again(submission: Submission, open_: Letters, given: Sequence[DeadLetter] | None) -> Retried:
    """Letters sent through their operators and what follows these, operator by operator; then they are settled."""
    letters = [each for each in open_ if not each.final] if given is None else list(given)
    _check(letters, open_)
    came: list[DeadLetter] = []
    for uid in dict.fromkeys(each.operator for each in letters):
        mine = [each for each in letters if each.operator == uid]
        new = _once(submission.env, uid, mine)
        open_.settle(mine, new)
        came += new
    failed = Counter(map(_what, came)) & Counter(map(_what, letters))
    return Retried(len(letters), len(letters) - failed.total(), tuple(came))


def _check(letters: Sequence[DeadLetter], open_: Letters) -> None:
    if not letters:
        raise BadValueError("there is no dead letter to try again; job.dead_letters shows those that are open, and why")
    for each in letters:
        if each.final:
            raise BadValueError(f"the dead letter {each.record!r:.60} cannot be tried again: {each.final}")
    strange = Counter(map(pack, letters)) - Counter(map(pack, open_))
    if strange:
        raise BadValueError(f"{strange.total()} of these dead letters are not open; take them from job.dead_letters")


def _once(env: Environment, uid: str, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """The dead letters of a small job that reads these records where the operator does."""
    beside = env.unchecked()
    beside.name = f"{env.name}-again"
    source = beside.from_collection([each.record for each in letters], name="dead-letters-again")
    for sink in rest(env.graph(), uid, source.node):
        beside.ends.add(sink)
    job = beside.submit()
    job.wait()
    attempts = {_what(each): each.attempts for each in letters}
    return [changed(each, attempts=each.attempts + attempts.get(_what(each), 0)) for each in job.dead_letters]


def rest(graph: Graph, uid: str, source: Node) -> list[Node]:
    """The ends of a graph of its own: an operator that reads a source instead, and all that follows it.

    Raises BadValueError where there is no such operator, or one of them keeps state, or a sink is one job's alone.
    """
    start = dict(graph.nodes).get(uid)
    made: dict[Node, Node] = {}
    for name, node in graph.nodes:
        inputs = [Input(source)] if node is start else [_input(made, each) for each in node.inputs if each.node in made]
        if not inputs:
            continue
        if reason := next(_reasons(name, node, first=node is start), ""):
            raise BadValueError(
                f"the dead letters of {uid!r} cannot be tried again beside the job: {reason}; mend what made them fail "
                f"and submit the job with fresh=True, or give job.dead_letters to a job of your own"
            )
        options = replace(node.options, uid=name, parallelism=1)
        made[node] = Node(_beside(node.spec), tuple(inputs), options)
    if not made:
        raise BadValueError(f"the job has no operator {uid!r} any more, so its dead letters cannot be tried again")
    read = {each.node for node in made.values() for each in node.inputs}
    return [node for node in made.values() if node not in read]


def _input(made: dict[Node, Node], read: Input) -> Input:
    return Input(made[read.node], read.output, port=read.port)


def _reasons(name: str, node: Node, *, first: bool) -> Iterator[str]:
    """Why an operator cannot do its work in another job than its own."""
    spec, partitions = node.spec, [each.partition for each in node.inputs]
    own: Any = getattr(spec, "function", None) or getattr(spec, "sink", None)
    if not node.inputs:
        yield f"{name!r} is a source"
    elif not isinstance(spec, FREE) or is_kind(own, Snapshotting):
        yield f"{name!r} keeps state, which another job has not"
    elif is_kind(own, Function) and any(isinstance(each, ByKey) for each in partitions):
        yield f"{name!r} may keep state by key, which another job has not"
    elif not first and any(isinstance(each, Everywhere) for each in partitions):
        yield f"{name!r} is given every record in each of its subtasks"
    if isinstance(spec, SinkSpec) and beside(spec.sink) is None:
        yield f"the sink {name!r} keeps records aside for one job alone"


def _beside(spec: Spec) -> Spec:
    sink = beside(spec.sink) if isinstance(spec, SinkSpec) else None
    return spec if sink is None else SinkSpec(sink)


def beside(sink: SinkFunction[Any]) -> SinkFunction[Any] | None:
    """What another job may write to the same place with, while this sink's job runs; None where there is nothing.

    Two phases are one job's alone, whose going back would discard what another keeps aside: but names of files tell
    whose they are, and a list can be filled by two sinks.

    >>> rows = []
    >>> beside(CollectSink(rows)).target is rows
    True
    """
    if isinstance(sink, CollectSink):
        return CollectSink(sink.target)
    return sink if isinstance(sink, (JsonlSink, ParquetSink)) or not isinstance(sink, TwoPhaseSink) else None


def _what(letter: DeadLetter) -> tuple[str, bytes]:
    return letter.operator, pack(letter.record)
