"""From the logical graph to tasks: which operators share a thread, how many of each, what is connected to what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from sage_nb.stream.policy import Parallelism, Resources

UNDECIDED = 2**15 + 1  # subtasks of an operator that is to have as many as there is room for: more than any may have
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

    @classmethod
    def filling(cls, graph: Graph, parallelism: Parallelism, alone: Callable[[Node], bool], fill: Fill) -> Plan:
        """As `of`, with "auto" decided by `fill`, from a draft in which those operators' chains are undecided."""
        if not any(_auto(node, parallelism) for _, node in graph.nodes):
            return cls.of(graph, int(parallelism), alone)
        default = 1 if parallelism == "auto" else parallelism  # if that is "auto", no operator is left without a number
        draft = cls.of(graph.decided(lambda node: UNDECIDED if _auto(node, parallelism) else None), default, alone)
        room = fill(draft)

        def number(node: Node) -> int | None:
            if not _auto(node, parallelism):
                return None
            return max(1, min(graph.max_parallelism, room[node.options.resources]))

        return cls.of(graph.decided(number), default, alone)

    @property
    def undecided(self) -> list[Chain]:
        """Chains that are to fill what there is."""
        return [chain for chain in self.chains if chain.parallelism == UNDECIDED]

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


Fill = Callable[[Plan], Mapping[Resources, int]]  # for undecided chains: how many subtasks, by what they ask for


def subtasks(node: Node, parallelism: int) -> int:
    """How many subtasks an operator runs in."""
    return int(node.options.parallelism or (1 if isinstance(node.spec, SourceSpec) else parallelism))


def _auto(node: Node, parallelism: Parallelism) -> bool:
    """Whether an operator is to fill what there is: it says so, or says nothing where that is the default."""
    own = node.options.parallelism
    return own == "auto" or (own is None and parallelism == "auto" and not isinstance(node.spec, SourceSpec))


def straight(read: Input, reader: Node, parallelism: int) -> bool:
    """Whether each subtask reads only the one of the same number."""
    return type(read.partition) is type(STRAIGHT) and subtasks(read.node, parallelism) == subtasks(reader, parallelism)


def _fusable(node: Node, parallelism: int) -> Node | None:
    """The operator that this one can be fused to, if any."""
    if len(node.inputs) != 1 or isinstance(node.spec, (*ALONE, TimesSpec)):
        return None
    read = node.inputs[0]
    one, other = read.node.options, node.options
    alike = (one.resources, one.together) == (other.resources, other.together)
    return read.node if alike and straight(read, node, parallelism) and not isinstance(read.node.spec, ALONE) else None
