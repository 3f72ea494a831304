"""From a plan to tasks: any process can build any of them, given the plan and a way to reach the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sage_nb.runtime.edge import Edge, Port, Straight, edge_of
from sage_nb.runtime.gate import Gate
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.messages import Link
from sage_nb.runtime.operators.apply import CoMapping, Filtering, FlatMapping, OneToOne, Splitting
from sage_nb.runtime.operators.ends import Reading, Sinking
from sage_nb.runtime.operators.gather import Gathering
from sage_nb.runtime.operators.joins import IntervalJoining, WindowJoining
from sage_nb.runtime.operators.loop import AGAIN, FEEDBACK, Entering, Leaving
from sage_nb.runtime.operators.process import Processing
from sage_nb.runtime.operators.running import Clock, Operator, Place
from sage_nb.runtime.operators.times import Timing
from sage_nb.runtime.operators.windows import Counting, Windowing
from sage_nb.runtime.plan import Chain, Plan, straight
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.task import Task
from sage_nb.stream import graph as g
from sage_nb.stream.window import CountWindows

Origin = tuple[g.Input | None, int]  # who sends on a channel: which input (None: a loop's tail), which subtask of it

CAPACITY = 8  # batches that wait in a channel before its sender does

OPERATORS: Mapping[type[g.Spec], type[Operator]] = {
    g.SourceSpec: Reading,
    g.MapSpec: OneToOne,
    g.FilterSpec: Filtering,
    g.FlatMapSpec: FlatMapping,
    g.ProcessSpec: Processing,
    g.SplitSpec: Splitting,
    g.CoMapSpec: CoMapping,
    g.TimesSpec: Timing,
    g.WindowSpec: Windowing,
    g.WindowJoinSpec: WindowJoining,
    g.IntervalJoinSpec: IntervalJoining,
    g.GatherSpec: Gathering,
    g.HeadSpec: Entering,
    g.TailSpec: Leaving,
    g.SinkSpec: Sinking,
}


@dataclass(frozen=True)
class Address:
    """The receiving end of a channel: which task, and which of its channels."""

    uid: str
    subtask: int
    channel: int


Connect = Callable[[Address], Port]


@dataclass(frozen=True)
class Wiring:
    """What tasks are built from, in one process.

    Who is connected to whom, and over which channel, follows from the plan alone: each process finds the same answer.
    """

    plan: Plan
    link: Link
    probe: Probe
    resources: Mapping[type, Any] = field(default_factory=dict)

    @cached_property
    def groups(self) -> KeyGroups:
        """The job's key groups; tasks of a process share what they learn of keys."""
        return KeyGroups(self.plan.graph.max_parallelism)

    def gate(self, chain: Chain, subtask: int) -> Gate:
        """Where a task's input waits."""
        origins = self.origins(chain, subtask)
        feedback = [at for at, (read, _) in enumerate(origins) if read is None]
        return Gate(len(origins), CAPACITY, feedback, fencing=self.probe.fencing)

    def task(self, chain: Chain, subtask: int, gate: Gate, connect: Connect) -> Task:
        """A task that reads from `gate` and sends to what `connect` gives for an address."""
        clock = Clock()
        operators = [self._operator(uid, node, chain, subtask, clock) for uid, node in chain.nodes]
        ports = [FEEDBACK if read is None else read.port for read, _ in self.origins(chain, subtask)]
        task = Task(chain.uid, operators, gate, ports, self.link, self.probe)
        task.inside = chain in self._looping
        self._wire(task, chain, subtask, connect)
        return task

    def origins(self, chain: Chain, subtask: int) -> list[Origin]:
        """Who sends to a task, channel by channel."""
        origins: list[Origin] = []
        for read in chain.head.inputs:
            senders = self.plan.chain_of(read.node).parallelism
            mine = [subtask] if straight(read, chain.head, self.plan.default) else range(senders)
            origins += [(read, sender) for sender in mine]
        if isinstance(chain.head.spec, g.HeadSpec):
            tails = self.plan.tail(chain.head.spec.loop).parallelism
            origins += [(None, sender) for sender in range(tails)]
        return origins

    @cached_property
    def _looping(self) -> frozenset[Chain]:
        """The chains of all loops, heads and tails too."""
        found: set[Chain] = set()
        for chain in self.plan.chains:
            stack = [chain.head] if isinstance(chain.head.spec, g.TailSpec) else []
            while stack:
                node = stack.pop()
                found.add(self.plan.chain_of(node))
                if not isinstance(node.spec, g.HeadSpec):
                    stack.extend(read.node for read in node.inputs)
        return frozenset(found)

    def _operator(self, uid: str, node: g.Node, chain: Chain, subtask: int, clock: Clock) -> Operator:
        place = Place(
            uid=uid,
            name=node.name,
            options=node.options,
            subtask=subtask,
            parallelism=chain.parallelism,
            groups=self.groups,
            resources=self.resources,
            probe=self.probe,
            clock=clock,
            job=self.plan.job,
            keyed=all(isinstance(read.partition, g.ByKey) for read in node.inputs),
        )
        counting = isinstance(node.spec, g.WindowSpec) and isinstance(node.spec.windows, CountWindows)
        return (Counting if counting else OPERATORS[type(node.spec)])(node.spec, place)

    def _wire(self, task: Task, chain: Chain, subtask: int, connect: Connect) -> None:
        """Connect the operators of a task to their readers: others of the task directly, the rest over edges."""
        fused = {node: operator for (_, node), operator in zip(chain.nodes, task.operators, strict=True)}
        for uid, reader in self.plan.graph.nodes:
            for at, read in enumerate(reader.inputs):
                if read.node not in fused:
                    continue
                receivers = fused[read.node].outputs.setdefault(read.output, [])
                if reader in fused:
                    receivers.append(fused[reader])
                else:
                    ports = self._ports(self.plan.chain_of(reader), reader, read, subtask, connect)
                    edge = edge_of(read.partition, fused[read.node], ports, self.groups)
                    edge.key = f"{uid}:{at}"
                    task.edges.append(edge)
                    receivers.append(edge)
        if isinstance(chain.head.spec, g.TailSpec):
            self._wire_back(task, self.plan.head(chain.head.spec.loop), subtask, connect)

    def _ports(self, to: Chain, reader: g.Node, read: g.Input, subtask: int, connect: Connect) -> list[Port]:
        receivers = [subtask] if straight(read, reader, self.plan.default) else range(to.parallelism)
        return [connect(self._address(to, at, (read, subtask))) for at in receivers]

    def _wire_back(self, task: Task, head: Chain, subtask: int, connect: Connect) -> None:
        ports = [connect(self._address(head, at, (None, subtask))) for at in range(head.parallelism)]
        back: Edge = Straight(task.operators[0], ports, subtask)
        back.key = f"{head.uid}:{AGAIN}"
        task.edges.append(back)
        task.operators[0].outputs[AGAIN] = [back]

    def _address(self, chain: Chain, subtask: int, origin: Origin) -> Address:
        return Address(chain.uid, subtask, self.origins(chain, subtask).index(origin))
