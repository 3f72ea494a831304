"""The stream API: each method describes one operator more; nothing runs before the environment is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict

from typing_extensions import Unpack

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.stream.check import callable_with, key_of
from sage_nb.stream.function import (
    AggregateFunction,
    CoMapFunction,
    FilterFunction,
    FlatMapFunction,
    KeyedProcessFunction,
    MapFunction,
    ProcessFunction,
)
from sage_nb.stream.graph import (
    DEAD,
    LATE,
    MAIN,
    REST,
    STRAIGHT,
    ByKey,
    CoMapSpec,
    Custom,
    Everywhere,
    FilterSpec,
    FlatMapSpec,
    GatherSpec,
    HeadSpec,
    Input,
    IntervalJoinSpec,
    Loop,
    MapSpec,
    Node,
    Partition,
    ProcessSpec,
    SinkSpec,
    Spec,
    SplitSpec,
    TailSpec,
    TimesSpec,
    WindowJoinSpec,
    WindowSpec,
)
from sage_nb.stream.policy import Batching, CircuitBreaker, OnError, Options, Retry
from sage_nb.stream.sink import CallSink, SinkFunction
from sage_nb.stream.time import WatermarkStrategy
from sage_nb.stream.window import Aggregating, Applying, Folding, Reducing, Span, TimeWindows, Windows

Key = str | Callable[[Any], Any]


class How(TypedDict, total=False):
    """Options that every operator takes."""

    name: str
    uid: str
    parallelism: int
    resources: Mapping[str, float]
    retry: Retry
    breaker: CircuitBreaker
    timeout: float
    batch: tuple[int, float] | int
    on_error: OnError


class Applicable(Protocol):
    """What `Stream.apply` takes: it describes operators of its own."""

    def on_stream(self, stream: Stream, /, **how: Unpack[How]) -> Stream:
        """The stream behind them."""
        ...


@dataclass
class Sinks:
    """Where streams end, as an environment collects them."""

    nodes: list[Node] = field(default_factory=list)

    def add(self, node: Node) -> None:
        """Take one more; one with the uid of an older one takes its place, as when a cell is run again."""
        if node.options.uid:
            self.nodes = [old for old in self.nodes if old.options.uid != node.options.uid]
        self.nodes.append(node)


@dataclass(frozen=True, eq=False)
class Stream:
    """The records of one output of an operator. Methods give new streams; this one stays as it is."""

    sinks: Sinks
    node: Node
    output: str = MAIN
    partition: Partition = STRAIGHT

    def map(self, function: MapFunction[Any, Any] | Callable[[Any], Any], **how: Unpack[How]) -> Stream:
        """One record out for each one in."""
        return self.then(MapSpec(_function(function, MapFunction, "map", 1)), how)

    def filter(self, function: FilterFunction[Any] | Callable[[Any], bool], **how: Unpack[How]) -> Stream:
        """Only the records for which the function is true."""
        return self.then(FilterSpec(_function(function, FilterFunction, "filter", 1)), how)

    def flat_map(
        self, function: FlatMapFunction[Any, Any] | Callable[[Any], Iterable[Any]], **how: Unpack[How]
    ) -> Stream:
        """Any number of records out for each one in."""
        return self.then(FlatMapSpec(_function(function, FlatMapFunction, "flat_map", 1)), how)

    def process(self, function: ProcessFunction[Any, Any], **how: Unpack[How]) -> Stream:
        """The general operator: side outputs, and on a keyed stream state and timers."""
        made = _function(function, ProcessFunction, "process", None)
        if _kind(made, KeyedProcessFunction) and not isinstance(self.partition, ByKey):
            raise BadValueError(f"{_name(made)} needs a keyed stream; write .key_by(…).process(…)")
        return self.then(ProcessSpec(made), how)

    def key_by(self, key: Key) -> Stream:
        """Records of equal key go to the same subtask, in their order; keys are plain data, a field's name will do."""
        return replace(self, partition=ByKey(key_of(key, "key_by()")))

    def partition_custom(self, partitioner: Callable[[Any, int], int]) -> Stream:
        """`partitioner(record, subtasks)` says which subtask takes a record, from 0."""
        return replace(self, partition=Custom(callable_with(partitioner, 2, "partition_custom()")))

    def broadcast(self) -> Stream:
        """Every record to every subtask of what comes next."""
        return replace(self, partition=Everywhere())

    def union(self, *others: Stream, **how: Unpack[How]) -> Stream:
        """The records of all these streams."""
        inputs = [each.input() for each in (self, *others)]
        how.setdefault("name", "union")
        return Stream(self.sinks, Node(MapSpec(_same), tuple(inputs), options_of(how)))

    def split(self, **branches: Callable[[Any], bool]) -> dict[str, Stream]:
        """Named branches: a record goes to the first whose predicate holds, or to `"rest"`.

        `stream.split(big=lambda n: n > 9)["big"]`.
        """
        if not branches or {REST, DEAD, MAIN} & set(branches):
            raise BadValueError("split() takes name=predicate pairs; 'rest', 'out' and 'dead' are names of its own")
        pairs = tuple((name, callable_with(each, 1, f"split({name}=…)")) for name, each in branches.items())
        node = self.then(SplitSpec(pairs), {}).node
        return {name: Stream(self.sinks, node, name) for name in (*branches, REST)}

    def connect(self, other: Stream) -> Connected:
        """Both streams, for an operator with two inputs."""
        return Connected(self, other)

    def join(
        self,
        other: Stream,
        *,
        on: Key | tuple[Key, Key],
        window: TimeWindows | None = None,
        between: Span | None = None,
        how: str = "inner",
        **options: Unpack[How],
    ) -> Stream:
        """Pairs `(mine, theirs)` of equal key: in the same window, or their time `between` seconds from mine.

        `how` (windows only) is inner, left, right or outer; what has no partner is paired with None.
        """
        mine, theirs = on if isinstance(on, tuple) else (on, on)
        spec = _join_spec(window, between, how)
        inputs = (self.key_by(mine).input(0), other.key_by(theirs).input(1))
        options.setdefault("name", "join")
        return Stream(self.sinks, Node(spec, inputs, options_of(options)))

    def gather(self, *others: Stream, on: Key, **how: Unpack[How]) -> Stream:
        """Tuples of one record of each of these streams, of equal key: what a fan-out computed, together again.

        What is not whole when the streams end goes out with None for what is missing.
        """
        inputs = [each.key_by(on).input(port) for port, each in enumerate((self, *others))]
        how.setdefault("name", "gather")
        return Stream(self.sinks, Node(GatherSpec(len(inputs)), tuple(inputs), options_of(how)))

    def window(self, windows: Windows, *, allowed_lateness: float = 0.0) -> WindowedStream:
        """Windows over each key's records (over all of them where the stream is not keyed).

        A record later than its window's end plus `allowed_lateness` seconds goes to `.side("late")`.
        """
        keyed = self if isinstance(self.partition, ByKey) else self.key_by(_one)
        return WindowedStream(keyed, windows, allowed_lateness)

    def iterate(
        self,
        body: Callable[[Stream], Stream],
        *,
        until: Callable[[Any], bool],
        max_rounds: int | None = None,
        **how: Unpack[How],
    ) -> Stream:
        """Records go through `body` again and again, each until `until` holds for it, at most `max_rounds` times."""
        callable_with(until, 1, "iterate(until=…)")
        if max_rounds is not None and max_rounds < 1:
            raise BadValueError(f"iterate(max_rounds=…) must be 1 or more, got {max_rounds!r}")
        loop = Loop(max_rounds)
        head = replace(self, partition=STRAIGHT).then(HeadSpec(loop), how)
        last = body(head)
        _check_body(head, last)
        if "uid" in how:
            how["uid"] += ".tail"
        return last.then(TailSpec(loop, until), how)

    def with_times(self, watermark: WatermarkStrategy, **how: Unpack[How]) -> Stream:
        """Give records their event time here, where the source does not."""
        return self.then(TimesSpec(watermark), how)

    def apply(self, what: Applicable, **how: Unpack[How]) -> Stream:
        """The operators that `what` describes: a retrieval pipeline, an `@operator`."""
        if not hasattr(what, "on_stream"):
            raise BadValueError(f"apply() takes a pipeline or an @operator, got {what!r:.60}; use map() for a function")
        return what.on_stream(self, **how)

    def side(self, name: str) -> Stream:
        """A side output of this operator: "late", "dead" (`DeadLetter`s), or one its function names."""
        if name == MAIN:
            raise UnknownNameError("'out' is the stream itself; name a side output, such as 'late' or 'dead'")
        return Stream(self.sinks, self.node, name)

    @property
    def late(self) -> Stream:
        """`side("late")`."""
        return self.side(LATE)

    def sink(self, sink: SinkFunction[Any], **how: Unpack[How]) -> None:
        """Records leave the job here."""
        if not isinstance(sink, SinkFunction):
            raise BadValueError(
                f"sink() takes a sink such as JsonlSink or CollectSink, got {sink!r:.60}; "
                f"for a function write .for_each(function)"
            )
        how.setdefault("name", type(sink).__name__)
        self.sinks.add(self.then(SinkSpec(sink), how).node)

    def for_each(self, function: Callable[[Any], object], **how: Unpack[How]) -> None:
        """Call a function with each record; after a failure it may see one again."""
        self.sink(CallSink(callable_with(function, 1, "for_each()")), **how)

    def input(self, port: int = 0) -> Input:
        """The stream as what an operator reads."""
        return Input(self.node, self.output, self.partition, port)

    def then(self, spec: Spec, how: How) -> Stream:
        """The stream behind an operator of that kind."""
        return Stream(self.sinks, Node(spec, (self.input(),), options_of(how)))


@dataclass(frozen=True)
class Connected:
    """Two streams on their way into one operator."""

    first: Stream
    second: Stream

    def key_by(self, first: Key, second: Key) -> Connected:
        """Both by key: equal keys meet."""
        return Connected(self.first.key_by(first), self.second.key_by(second))

    def co_map(self, *functions: Any, **how: Unpack[How]) -> Stream:
        """One out for each one in: a `CoMapFunction`, or a function for each stream."""
        return self._joined(functions, how, flat=False)

    def co_flat_map(self, *functions: Any, **how: Unpack[How]) -> Stream:
        """Any number out for each one in; `map1` and `map2` return iterables."""
        return self._joined(functions, how, flat=True)

    def _joined(self, functions: tuple[Any, ...], how: How, *, flat: bool) -> Stream:
        if len(functions) == 1 and _kind(functions[0], CoMapFunction):
            spec = CoMapSpec(functions[0], None, flat)
        elif len(functions) == 2:
            first, second = (callable_with(each, 1, "co_map()") for each in functions)
            spec = CoMapSpec(first, second, flat)
        else:
            raise BadValueError("co_map() takes a CoMapFunction, or two functions: one for each stream")
        return Stream(self.first.sinks, Node(spec, (self.first.input(0), self.second.input(1)), options_of(how)))


@dataclass(frozen=True)
class WindowedStream:
    """Records in windows, waiting for what shall become of them. Results are `Windowed` values."""

    stream: Stream
    windows: Windows
    lateness: float

    def __post_init__(self) -> None:
        if self.lateness < 0:
            raise BadValueError(f"allowed_lateness must be 0 seconds or more, got {self.lateness!r}")

    def aggregate(self, function: AggregateFunction[Any, Any, Any], **how: Unpack[How]) -> Stream:
        """Fold record by record; nothing but the accumulator is kept."""
        if not isinstance(function, AggregateFunction):
            raise BadValueError(f"aggregate() takes an AggregateFunction such as Count(), got {function!r:.60}")
        return self._folded(Aggregating(function), how)

    def reduce(self, function: Callable[[Any, Any], Any], **how: Unpack[How]) -> Stream:
        """Fold records of one type with a function of two."""
        return self._folded(Reducing(callable_with(function, 2, "reduce()")), how)

    def apply(self, function: Callable[[Any, Span, list[Any]], Iterable[Any]], **how: Unpack[How]) -> Stream:
        """All records of a window at once: `function(key, (start, end), records)` gives any number of values."""
        return self._folded(Applying(callable_with(function, 3, "apply()")), how)

    def _folded(self, folding: Folding, how: How) -> Stream:
        how.setdefault("name", "window")
        return self.stream.then(WindowSpec(self.windows, folding, self.lateness), how)


def options_of(how: How) -> Options:
    """The options as a value."""
    given: dict[str, Any] = dict(how)
    batch = given.get("batch")
    if batch is not None:
        given["batch"] = Batching(*batch) if isinstance(batch, tuple) else Batching(batch)
    given["resources"] = tuple(sorted(dict(given.get("resources") or {}).items()))
    unknown = set(given) - set(Options.__dataclass_fields__)
    if unknown:
        raise UnknownNameError.of("option", min(unknown), Options.__dataclass_fields__)
    return Options(**given)


def _function(function: Any, base: type, where: str, count: int | None) -> Any:
    """A function object, a class of them (made anew in each subtask), or a callable."""
    if _kind(function, base):
        return function
    if count is None or (isinstance(function, type) and hasattr(function, "open")):
        raise BadValueError(f"{where}() takes a {base.__name__}, got {function!r:.60}; derive your class from it")
    return callable_with(function, count, f"{where}()")


def _kind(function: object, base: type) -> bool:
    return isinstance(function, base) or (isinstance(function, type) and issubclass(function, base))


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _join_spec(window: TimeWindows | None, between: Span | None, how: str) -> Spec:
    if (window is None) == (between is None):
        raise BadValueError("join() takes either window=tumbling(…) or between=(lower, upper)")
    if how not in ("inner", "left", "right", "outer"):
        raise UnknownNameError.of("join", how, ("inner", "left", "right", "outer"))
    if window is not None:
        if not isinstance(window, TimeWindows):
            raise BadValueError("join(window=…) takes tumbling or sliding windows of time")
        return WindowJoinSpec(window, how)
    lower, upper = between or (0.0, 0.0)
    if how != "inner" or lower > upper:
        raise BadValueError("join(between=(lower, upper)) is an inner join, with lower no more than upper")
    return IntervalJoinSpec(lower, upper)


def _check_body(head: Stream, last: object) -> None:
    """The body stays inside the loop, and holds nothing that waits for event time."""
    if not isinstance(last, Stream):
        raise BadValueError(f"iterate() takes a body that returns a stream, it returned {last!r:.60}")
    stack, seen = [last.node], set()
    while stack:
        node = stack.pop()
        if node is head.node or node in seen:
            continue
        seen.add(node)
        if not node.inputs:
            raise BadValueError("the body of iterate() reads a stream from outside; connect it before the loop")
        if isinstance(node.spec, (WindowSpec, WindowJoinSpec, IntervalJoinSpec, HeadSpec)):
            raise BadValueError(f"{node.name!r} cannot stand in a loop: event time does not go round; put it behind")
        stack.extend(each.node for each in node.inputs)


def _same(value: Any) -> Any:
    return value


def _one(_: Any) -> int:
    return 0
