"""From the logical graph to tasks: which operators share a thread, how many of each, what is connected to what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sage_nb.stream.graph import (
    STRAIGHT,
    Graph,
    HeadSpec,
    Input,
    Loop,
    Node,
    SourceSpec,
    TailSpec,
    TimesSpec,
)

ALONE = (HeadSpec, TailSpec)  # their signs are not those of the operators around them


@dataclass(frozen=True, eq=False)
class Chain:
    """Operators fused into one task: no queue between them. Only the first reads from other tasks."""

    nodes: tuple[tuple[str, Node], ...]
    parallelism: int

    @property
    def uid(self) -> str:
        """The first operator's."""
        return self.nodes[0][0]

    @property
    def head(self) -> Node:
        """The first operator."""
        return self.nodes[0][1]


@dataclass(frozen=True)
class Plan:
    """The chains of a job, each after those it reads."""

    graph: Graph
    chains: tuple[Chain, ...]
    default: int = 1
    job: str = "job"  # its id, the same for every resumption

    @classmethod
    def of(cls, graph: Graph, parallelism: int, alone: Callable[[Node], bool] = lambda _: False) -> Plan:
        """The plan of a graph; `parallelism` is for operators that name none (sources run once).

        No other operator is fused to one that is `alone`.
        """
        where: dict[Node, list[tuple[str, Node]]] = {}
        chains: list[list[tuple[str, Node]]] = []
        for uid, node in graph.nodes:
            upstream = _fusable(node, parallelism)
            if upstream is None or alone(upstream) or alone(node):
                chains.append([])
                where[node] = chains[-1]
            else:
                where[node] = where[upstream]
            where[node].append((uid, node))
        made = tuple(Chain(tuple(nodes), subtasks(nodes[0][1], parallelism)) for nodes in chains)
        return cls(graph, made, parallelism)

    def chain_of(self, node: Node) -> Chain:
        """The chain that holds an operator."""
        return self._holding[node]

    def named(self, uid: str) -> Chain:
        """The chain whose first operator has that id."""
        return next(chain for chain in self.chains if chain.uid == uid)

    def head(self, loop: Loop) -> Chain:
        """Where a loop begins."""
        return self._end_of(loop, HeadSpec)

    def tail(self, loop: Loop) -> Chain:
        """Where a loop ends."""
        return self._end_of(loop, TailSpec)

    def parallelism(self) -> dict[str, int]:
        """Subtasks of each operator, by uid."""
        return {uid: chain.parallelism for chain in self.chains for uid, _ in chain.nodes}

    @cached_property
    def _holding(self) -> dict[Node, Chain]:
        return {node: chain for chain in self.chains for _, node in chain.nodes}

    def _end_of(self, loop: Loop, kind: type[HeadSpec | TailSpec]) -> Chain:
        return next(chain for chain in self.chains if isinstance(spec := chain.head.spec, kind) and spec.loop is loop)


def subtasks(node: Node, parallelism: int) -> int:
    """How many subtasks an operator runs in."""
    return node.options.parallelism or (1 if isinstance(node.spec, SourceSpec) else parallelism)


def straight(read: Input, reader: Node, parallelism: int) -> bool:
    """Whether each subtask reads only the one of the same number."""
    return type(read.partition) is type(STRAIGHT) and subtasks(read.node, parallelism) == subtasks(reader, parallelism)


def _fusable(node: Node, parallelism: int) -> Node | None:
    """The operator that this one can be fused to, if any."""
    if len(node.inputs) != 1 or isinstance(node.spec, (*ALONE, TimesSpec)):
        return None
    read = node.inputs[0]
    alike = read.node.options.resources == node.options.resources
    return read.node if alike and straight(read, node, parallelism) and not isinstance(read.node.spec, ALONE) else None
