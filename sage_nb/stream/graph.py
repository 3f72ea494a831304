"""The logical graph: what each operator does and what it reads, as immutable values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.drawing import Arrow, Box, drawing
from sage_nb.stream.check import Field
from sage_nb.stream.policy import Options
from sage_nb.stream.sink import SinkFunction
from sage_nb.stream.source import SourceFunction
from sage_nb.stream.time import WatermarkStrategy
from sage_nb.stream.window import CountWindows, Folding, SessionWindows, TimeWindows

MAIN, LATE, REST, DEAD = "out", "late", "rest", "dead"  # the outputs every reader knows
MAX_PARALLELISM = 128


@dataclass(frozen=True)
class Spec:
    """What an operator does; the runtime knows how for each kind."""

    @property
    def kind(self) -> str:
        """The operator's word, which also names it where no other name is given."""
        return type(self).__name__.removesuffix("Spec").lower()


@dataclass(frozen=True)
class SourceSpec(Spec):
    """Reads splits."""

    source: SourceFunction[Any]
    watermark: WatermarkStrategy | None = None


@dataclass(frozen=True)
class MapSpec(Spec):
    """One out for one in."""

    function: Any


@dataclass(frozen=True)
class FilterSpec(Spec):
    """Keeps some."""

    function: Any


@dataclass(frozen=True)
class FlatMapSpec(Spec):
    """Any number out for one in."""

    function: Any


@dataclass(frozen=True)
class ProcessSpec(Spec):
    """State, timers, side outputs."""

    function: Any


@dataclass(frozen=True)
class CoMapSpec(Spec):
    """Two inputs, a function for each; `flat`: any number out."""

    first: Any
    second: Any
    flat: bool = False


@dataclass(frozen=True)
class SplitSpec(Spec):
    """To the first branch whose predicate holds, else to the rest."""

    branches: tuple[tuple[str, Callable[[Any], bool]], ...]


@dataclass(frozen=True)
class TimesSpec(Spec):
    """Gives records their event time, and the stream its watermarks."""

    watermark: WatermarkStrategy


@dataclass(frozen=True)
class WindowSpec(Spec):
    """Folds each key's records in windows."""

    windows: TimeWindows | SessionWindows | CountWindows
    folding: Folding
    lateness: float = 0.0


@dataclass(frozen=True)
class WindowJoinSpec(Spec):
    """Pairs of two inputs' records that share key and window."""

    windows: TimeWindows
    how: str = "inner"


@dataclass(frozen=True)
class IntervalJoinSpec(Spec):
    """Pairs of equal key where the second record's time is `lower` to `upper` seconds from the first's."""

    lower: float
    upper: float


@dataclass(frozen=True)
class GatherSpec(Spec):
    """One record of each input, by key; with `count`, as many of the last one as it says of the first one's."""

    streams: int
    count: Callable[[Any], int] | None = None


@dataclass(frozen=True, eq=False)
class Loop:
    """Ties a loop's head to its tail."""

    max_rounds: int | None


@dataclass(frozen=True)
class HeadSpec(Spec):
    """Where records enter a loop, and come round again."""

    loop: Loop


@dataclass(frozen=True)
class TailSpec(Spec):
    """Where records leave a loop, or are sent round again."""

    loop: Loop
    until: Callable[[Any], bool]


@dataclass(frozen=True)
class SinkSpec(Spec):
    """Where records leave the job."""

    sink: SinkFunction[Any]


@dataclass(frozen=True)
class Partition:
    """How records find the subtask that reads them; the plain one goes straight on where it can."""

    @property
    def word(self) -> str:
        """What a drawing writes on the edge."""
        return ""


@dataclass(frozen=True)
class ByKey(Partition):
    """Equal keys to equal subtasks."""

    key: Callable[[Any], Any]

    @property
    def word(self) -> str:
        """The field, where it is one."""
        return f"by {self.key.name}" if isinstance(self.key, Field) else "by key"


@dataclass(frozen=True)
class Everywhere(Partition):
    """Every record to every subtask."""

    @property
    def word(self) -> str:
        """To all."""
        return "broadcast"


@dataclass(frozen=True)
class Custom(Partition):
    """`partitioner(record, subtasks)` says which."""

    partitioner: Callable[[Any, int], int]

    @property
    def word(self) -> str:
        """The user's own."""
        return "custom"


STRAIGHT = Partition()


@dataclass(frozen=True, eq=False)
class Input:
    """One thing that an operator reads: which output of which operator, how partitioned, at which port."""

    node: Node
    output: str = MAIN
    partition: Partition = STRAIGHT
    port: int = 0

    def __repr__(self) -> str:
        return f"Input({self.node.name!r}, {self.output!r})"

    @property
    def word(self) -> str:
        """Which output, and how partitioned, as a drawing says it."""
        return " ".join(each for each in ("" if self.output == MAIN else self.output, self.partition.word) if each)


@dataclass(frozen=True, eq=False)
class Node:
    """An operator in its place."""

    spec: Spec
    inputs: tuple[Input, ...] = ()
    options: Options = field(default_factory=Options)
    ours: bool = False  # no one asked for it: it comes and goes with what others read

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.spec.kind}, reads {[read.node.name for read in self.inputs]})"

    @property
    def name(self) -> str:
        """What people call it."""
        return self.options.name or self.options.uid or self.spec.kind


@dataclass(frozen=True, repr=False)
class Graph:
    """All operators of a job, each after those it reads, under unique ids."""

    name: str
    nodes: tuple[tuple[str, Node], ...]
    max_parallelism: int = MAX_PARALLELISM

    @classmethod
    def of(cls, name: str, sinks: Iterable[Node], max_parallelism: int = MAX_PARALLELISM) -> Graph:
        """The graph that ends in these sinks.

        Raises BadValueError where it has none, or two operators share a uid.
        """
        ordered = list(_ordered(sinks))
        if not ordered:
            raise BadValueError(f"the environment {name!r} has no sink, so nothing would run; end a stream in .sink(…)")
        return cls(name, tuple(zip(_uids(ordered), ordered, strict=True)), max_parallelism)

    def __str__(self) -> str:
        """A line for each operator: its id, its kind, what it reads.

        >>> print(Graph("words", (("count", Node(MapSpec(len))),)))
        words
          count: map
        """
        lines = [self.name]
        for uid, node in self.nodes:
            read = ", ".join(self._read(uid))
            lines.append(f"  {uid}: {_kind(node)}{' ← ' if read else ''}{read}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The picture a notebook shows."""
        boxes = [Box(uid, uid, _kind(node)) for uid, node in self.nodes]
        return drawing(boxes, [arrow for uid, _ in self.nodes for arrow in self._arrows(uid)], self.name)

    def _arrows(self, uid: str) -> list[Arrow]:
        """What an operator reads, its own loop's tail last."""
        uids, node = self.uids, dict(self.nodes)[uid]
        arrows = [Arrow(uids[each.node], uid, each.word) for each in node.inputs]
        tails = [(name, each.spec) for name, each in self.nodes if isinstance(each.spec, TailSpec)]
        loop = node.spec.loop if isinstance(node.spec, HeadSpec) else None
        return arrows + [Arrow(name, uid, "again", back=True) for name, tail in tails if tail.loop is loop]

    def _read(self, uid: str) -> list[str]:
        arrows = self._arrows(uid)
        return [f"{each.tail} ({each.label})" if each.label else each.tail for each in arrows]

    @property
    def uids(self) -> dict[Node, str]:
        """The id of each operator."""
        return {node: uid for uid, node in self.nodes}

    def decided(self, parallelism: Callable[[Node], int | None]) -> Graph:
        """The same graph with other numbers of subtasks, for the operators that get one (None: as it is).

        >>> graph = Graph("j", (("a", Node(MapSpec(str))), ("kept", Node(MapSpec(str), ours=True))))
        >>> [(node.options.parallelism, node.ours) for _, node in graph.decided(lambda node: 2).nodes]
        [(2, False), (2, True)]
        """
        new: dict[Node, Node] = {}
        for _, node in self.nodes:
            inputs = tuple(Input(new[each.node], each.output, each.partition, each.port) for each in node.inputs)
            number = parallelism(node)
            options = node.options if number is None else replace(node.options, parallelism=number)
            new[node] = replace(node, inputs=inputs, options=options)
        return replace(self, nodes=tuple((uid, new[node]) for uid, node in self.nodes))

    @property
    def replayable(self) -> bool:
        """Whether all its sources can be read again, so that a job can go on from where it was."""
        return all(node.spec.source.replayable for _, node in self.nodes if isinstance(node.spec, SourceSpec))

    def shape(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to fit: ids, kinds and edges (not parallelism, not code).

        Operators of our own count for nothing: what they keep, a job can do without.

        >>> Graph("j", (("a", Node(MapSpec(str))),)).shape()
        {'a': ['map', []]}
        """
        uids = self.uids
        asked = [(uid, node) for uid, node in self.nodes if not node.ours]
        return {uid: [node.spec.kind, [f"{uids[i.node]}.{i.output}" for i in node.inputs]] for uid, node in asked}


def _kind(node: Node) -> str:
    many = node.options.parallelism or 1
    return node.spec.kind if many == 1 else f"{node.spec.kind} x{many}"


def _ordered(sinks: Iterable[Node]) -> Iterator[Node]:
    seen: set[Node] = set()
    for sink in sinks:
        stack: list[tuple[Node, bool]] = [(sink, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((each.node, False) for each in reversed(node.inputs))


def _uids(nodes: Sequence[Node]) -> list[str]:
    given = Counter(node.options.uid for node in nodes if node.options.uid)
    twice = [uid for uid, count in given.items() if count > 1]
    if twice:
        raise BadValueError(f"two operators have the uid {twice[0]!r}; give each its own")
    taken = set(given)
    return [node.options.uid or _free(node.options.name or node.spec.kind, taken) for node in nodes]


def _free(word: str, taken: set[str]) -> str:
    """`word`, or with a number behind it where that is taken already."""
    uid = next(each for each in chain([word], (f"{word}-{at}" for at in count(2))) if each not in taken)
    taken.add(uid)
    return uid
