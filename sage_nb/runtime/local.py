"""Running a plan's tasks as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sage_nb.runtime.coordinator import Coordinator
from sage_nb.runtime.edge import Edge, Straight, edge_of
from sage_nb.runtime.gate import Gate
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.operators.apply import CoMapping, Filtering, FlatMapping, OneToOne, Splitting
from sage_nb.runtime.operators.ends import Reading, Sinking, Timing
from sage_nb.runtime.operators.gather import Gathering
from sage_nb.runtime.operators.joins import IntervalJoining, WindowJoining
from sage_nb.runtime.operators.loop import AGAIN, FEEDBACK, Entering, Leaving
from sage_nb.runtime.operators.process import Processing
from sage_nb.runtime.operators.running import Clock, Operator, Place
from sage_nb.runtime.operators.windows import Counting, Windowing
from sage_nb.runtime.plan import Chain, Plan, straight
from sage_nb.runtime.task import Task
from sage_nb.stream import graph as g
from sage_nb.stream.batch import Item
from sage_nb.stream.window import CountWindows

Subtask = tuple[Chain, int]
Origin = tuple[g.Input | None, int]

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


class Wire:
    """The sending end of a channel between two threads."""

    def __init__(self, sender: Task, gate: Gate, channel: int) -> None:
        self._sender, self._gate, self._channel = sender, gate, channel

    def send(self, item: Item) -> None:
        """Into the reader's gate; waits while the channel is full."""
        self._sender.send(self._gate, self._channel, item)


class Threads:
    """The tasks of a plan, wired."""

    def __init__(self, plan: Plan, coordinator: Coordinator, resources: Mapping[type, Any]) -> None:
        self._plan, self._coordinator, self._resources = plan, coordinator, resources
        self._groups = KeyGroups(plan.graph.max_parallelism)
        self._channels: dict[Subtask, dict[Origin, int]] = {}
        self._tasks: dict[Subtask, Task] = {}
        self._tails = {chain.head.spec.loop: chain for chain in plan.chains if isinstance(chain.head.spec, g.TailSpec)}
        self._heads = {chain.head.spec.loop: chain for chain in plan.chains if isinstance(chain.head.spec, g.HeadSpec)}
        places = [(chain, subtask) for chain in plan.chains for subtask in range(chain.parallelism)]
        for place in places:
            self._tasks[place] = self._made(*place)
        for place in places:
            self._wire(*place)
        for chain in _inside(plan):
            for subtask in range(chain.parallelism):
                self._tasks[chain, subtask].inside = True

    @property
    def tasks(self) -> list[Task]:
        """All of them, each after those it reads."""
        return list(self._tasks.values())

    def start(self) -> None:
        """A thread for each; they wait to begin."""
        for task in self.tasks:
            threading.Thread(target=task.run, name=f"sage-{task!r}", daemon=True).start()

    def _made(self, chain: Chain, subtask: int) -> Task:
        origins, ports = self._origins(chain, subtask)
        self._channels[chain, subtask] = {origin: at for at, origin in enumerate(origins)}
        feedback = [at for at, (read, _) in enumerate(origins) if read is None]
        probe = self._coordinator.probe
        gate = Gate(len(origins), CAPACITY, feedback, fencing=probe.fencing)
        clock = Clock()
        operators = [self._operator(uid, node, chain, subtask, clock) for uid, node in chain.nodes]
        return Task(chain.uid, operators, gate, ports, self._coordinator, probe)

    def _operator(self, uid: str, node: g.Node, chain: Chain, subtask: int, clock: Clock) -> Operator:
        place = Place(
            uid=uid,
            name=node.name,
            options=node.options,
            subtask=subtask,
            parallelism=chain.parallelism,
            groups=self._groups,
            resources=self._resources,
            probe=self._coordinator.probe,
            clock=clock,
        )
        counting = isinstance(node.spec, g.WindowSpec) and isinstance(node.spec.windows, CountWindows)
        return (Counting if counting else OPERATORS[type(node.spec)])(node.spec, place)

    def _origins(self, chain: Chain, subtask: int) -> tuple[list[Origin], list[int]]:
        """Who sends to a task: which input, which subtask of it (None: a loop's tail); and the port of each."""
        origins: list[Origin] = []
        ports = []
        for read in chain.head.inputs:
            senders = self._plan.chain_of(read.node).parallelism
            mine = [subtask] if straight(read, chain.head, self._plan.default) else range(senders)
            origins += [(read, sender) for sender in mine]
            ports += [read.port] * len(mine)
        if isinstance(chain.head.spec, g.HeadSpec):
            tails = self._tails[chain.head.spec.loop].parallelism
            origins += [(None, sender) for sender in range(tails)]
            ports += [FEEDBACK] * tails
        return origins, ports

    def _wire(self, chain: Chain, subtask: int) -> None:
        task = self._tasks[chain, subtask]
        fused = {node: operator for (_, node), operator in zip(chain.nodes, task.operators, strict=True)}
        for uid, reader in self._plan.graph.nodes:
            for at, read in enumerate(reader.inputs):
                if read.node not in fused:
                    continue
                receivers = fused[read.node].outputs.setdefault(read.output, [])
                if reader in fused:
                    receivers.append(fused[reader])
                else:
                    wires = self._wires(task, reader, read, subtask)
                    task.edges.append(edge_of(read.partition, fused[read.node], wires, self._groups))
                    task.edges[-1].key = f"{uid}:{at}"
                    receivers.append(task.edges[-1])
        if isinstance(chain.head.spec, g.TailSpec):
            self._wire_back(chain.head.spec.loop, task, subtask)

    def _wires(self, task: Task, reader: g.Node, read: g.Input, subtask: int) -> list[Wire]:
        chain = self._plan.chain_of(reader)
        to = [subtask] if straight(read, reader, self._plan.default) else range(chain.parallelism)
        return [Wire(task, self._tasks[chain, at].gate, self._channels[chain, at][read, subtask]) for at in to]

    def _wire_back(self, loop: g.Loop, task: Task, subtask: int) -> None:
        chain = self._heads[loop]
        wires = [
            Wire(task, self._tasks[chain, at].gate, self._channels[chain, at][None, subtask])
            for at in range(chain.parallelism)
        ]
        back: Edge = Straight(task.operators[0], wires, subtask)
        back.key = f"{chain.uid}:{AGAIN}"
        task.edges.append(back)
        task.operators[0].outputs[AGAIN] = [back]


def _inside(plan: Plan) -> list[Chain]:
    """The chains of all loops, heads and tails too."""
    found: list[Chain] = []
    for chain in plan.chains:
        stack = [chain.head] if isinstance(chain.head.spec, g.TailSpec) else []
        while stack:
            node = stack.pop()
            found.append(plan.chain_of(node))
            if not isinstance(node.spec, g.HeadSpec):
                stack.extend(read.node for read in node.inputs)
    return found
