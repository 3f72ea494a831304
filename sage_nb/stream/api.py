"""The stream API: each method describes one operator more; nothing runs before the environment is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from typing_extensions import Unpack

from sage_nb.errors import BadValueError
from sage_nb.stream.build import (
    How,
    branches_of,
    check_body,
    check_lateness,
    join_spec,
    options_of,
    side_of,
    until_of,
)
from sage_nb.stream.check import callable_with, function_of, is_kind, key_of, name_of
from sage_nb.stream.function import (
    CoMapFunction,
    FilterFunction,
    FlatMapFunction,
    KeyedProcessFunction,
    MapFunction,
    ProcessFunction,
)
from sage_nb.stream.graph import (
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
    Loop,
    MapSpec,
    Node,
    Partition,
    ProcessSpec,
    SinkSpec,
    Spec,
    TailSpec,
    TimesSpec,
)
from sage_nb.stream.sink import CallSink, SinkFunction
from sage_nb.stream.time import WatermarkStrategy
from sage_nb.stream.window import (
    CountWindows,
    SessionWindows,
    Span,
    TimeWindows,
    Windows,
)
from sage_nb.stream.windowed import WindowedStream

Key = str | Callable[[Any], Any]


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
    """The records of one output of an operator. Methods give new streams; this one stays as it is.

    Every method that takes `how` takes the operator's options by name: `name`, `uid`, `parallelism`, `resources`,
    `together`, `retry`, `breaker`, `timeout`, `batch`, `on_error`.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> from sage_nb.stream.sink import CollectSink
    >>> from sage_nb.stream.time import monotonous
    >>> from sage_nb.stream.window import Count, tumbling
    >>> def rows(build, items):
    ...     env, found = LocalEnvironment(), []
    ...     build(env.from_collection(items)).sink(CollectSink(found))
    ...     env.submit().wait()
    ...     return found
    >>> rows(lambda s: s.map(str.upper).filter(lambda w: w != "B").flat_map(lambda w: [w, w]), ["a", "b"])
    ['A', 'A']
    >>> sorted(rows(lambda s: s.split(big=lambda n: n > 9)["big"].union(s.filter(lambda n: n == 0)), [0, 5, 10]))
    [0, 10]
    >>> sorted(rows(lambda s: s.connect(s).co_map(lambda n: n, lambda n: -n), [1, 2]))
    [-2, -1, 1, 2]
    >>> sorted(rows(lambda s: s.iterate(lambda body: body.map(lambda n: 2 * n), until=lambda n: n > 9), [1, 7]))
    [14, 16]
    >>> timed = monotonous(lambda word: len(word))
    >>> rows(lambda s: s.with_times(timed).key_by(len).window(tumbling(2)).aggregate(Count()), ["a", "b"])
    [Windowed(key=1, start=0, end=2, value=2)]
    >>> rows(lambda s: s.map(lambda n: 1 / n, name="invert").side("dead").map(lambda letter: letter.record), [1, 0])
    [0]
    >>> dealt = lambda s: s.partition_custom(lambda n, parts: n % parts).map(abs, parallelism=2)
    >>> sorted(rows(lambda s: dealt(s).union(s.broadcast().map(abs, parallelism=2)), [-2, 1]))
    [1, 1, 1, 2, 2, 2]
    >>> rows(lambda s: s.with_times(timed).join(s.with_times(timed), on=len, window=tumbling(2)), ["a"])
    [('a', 'a')]
    >>> rows(lambda s: s.gather(s.map(lambda n: (n, n * n)), on=(abs, lambda pair: pair[0])), [3])
    [(3, (3, 9))]
    >>> numbers = LocalEnvironment().from_collection([0, 1])
    >>> numbers.then(FilterSpec(bool), {"name": "truthy"}), numbers.input(1).port
    (<Stream 'truthy'>, 1)
    >>> numbers.with_times(monotonous(abs)).window(tumbling(5)).aggregate(Count()).late
    <Stream 'window'.late>
    """

    sinks: Sinks
    node: Node
    output: str = MAIN
    partition: Partition = STRAIGHT

    def __repr__(self) -> str:
        output = "" if self.output == MAIN else f".{self.output}"
        return f"<Stream {self.node.name!r}{output}{' ' * bool(self.partition.word)}{self.partition.word}>"

    def map(self, function: MapFunction[Any, Any] | Callable[[Any], Any], **how: Unpack[How]) -> Stream:
        """One record out for each one in."""
        return self.then(MapSpec(function_of(function, MapFunction, "map", 1)), how)

    def filter(self, function: FilterFunction[Any] | Callable[[Any], bool], **how: Unpack[How]) -> Stream:
        """Only the records for which the function is true."""
        return self.then(FilterSpec(function_of(function, FilterFunction, "filter", 1)), how)

    def flat_map(
        self, function: FlatMapFunction[Any, Any] | Callable[[Any], Iterable[Any]], **how: Unpack[How]
    ) -> Stream:
        """Any number of records out for each one in."""
        return self.then(FlatMapSpec(function_of(function, FlatMapFunction, "flat_map", 1)), how)

    def process(self, function: ProcessFunction[Any, Any], **how: Unpack[How]) -> Stream:
        """The general operator: side outputs, and on a keyed stream state and timers.

        >>> from sage_nb.runtime.environment import LocalEnvironment
        >>> class Signed(ProcessFunction[int, int]):
        ...     def process(self, value, context):
        ...         if value < 0:
        ...             context.output("negative", value)
        ...         else:
        ...             yield value
        >>> env, negative = LocalEnvironment(), []
        >>> env.from_collection([1, -2]).process(Signed()).side("negative").for_each(negative.append)
        >>> env.submit().wait(), negative
        ('finished', [-2])
        """
        made = function_of(function, ProcessFunction, "process", None)
        if is_kind(made, KeyedProcessFunction) and not isinstance(self.partition, ByKey):
            raise BadValueError(f"{name_of(made)} needs a keyed stream; write .key_by(…).process(…)")
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
        for each in others:
            _check_stream(each, "union()")
        how.setdefault("name", "union")
        return self._of(MapSpec(_same), [each.input() for each in (self, *others)], how)

    def split(self, **branches: Any) -> dict[str, Stream]:
        """Named branches: a record goes to the first whose predicate holds, or to `"rest"`; options go by name, too.

        `stream.split(big=lambda n: n > 9)["big"]`.
        """
        spec, how = branches_of(branches)
        node = self.then(spec, how).node
        return {name: Stream(self.sinks, node, name) for name in (*(name for name, _ in spec.branches), REST)}

    def connect(self, other: Stream) -> Connected:
        """Both streams, for an operator with two inputs."""
        _check_stream(other, "connect()")
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
        _check_stream(other, "join()")
        options.setdefault("name", "join")
        inputs = [self.key_by(mine).input(0), other.key_by(theirs).input(1)]
        return self._of(join_spec(window, between, how), inputs, options)

    def gather(
        self, *others: Stream, on: Key | tuple[Key, ...], count: Callable[[Any], int] | None = None, **how: Unpack[How]
    ) -> Stream:
        """Tuples of one record of each of these streams, of equal key: what a fan-out computed, together again.

        `on` is the key in all of them, or a tuple of one for each. What is not whole when the streams end goes out with
        None for what is missing. With `count`, the last stream brings as many as `count(record)` says of the first
        one's record, after a `flat_map`, say: the tuple ends with them, as they came; if some are missing, it is
        shorter.
        """
        streams = (self, *others)
        for each in others:
            _check_stream(each, "gather()")
        keys = on if isinstance(on, tuple) else (on,) * len(streams)
        if len(keys) != len(streams):
            raise BadValueError(f"gather(on=…) takes a key, or one for each of the {len(streams)} streams, got {on!r}")
        counting = None if count is None else callable_with(count, 1, "gather(count=…)")
        how.setdefault("name", "gather")
        inputs = [each.key_by(key).input(port) for port, (each, key) in enumerate(zip(streams, keys, strict=True))]
        return self._of(GatherSpec(len(inputs), counting), inputs, how)

    def window(self, windows: Windows, *, allowed_lateness: float = 0.0) -> WindowedStream:
        """Windows over each key's records (over all of them where the stream is not keyed).

        A record later than its window's end plus `allowed_lateness` seconds goes to `.side("late")`.
        """
        if not isinstance(windows, (TimeWindows, SessionWindows, CountWindows)):
            raise BadValueError(
                f"window() takes tumbling(…), sliding(…), session(…) or count_window(…), got {windows!r:.60}"
            )
        keyed = self if isinstance(self.partition, ByKey) else self.key_by(_one)
        return WindowedStream(keyed, windows, check_lateness(allowed_lateness))

    def iterate(
        self,
        body: Callable[[Stream], Stream],
        *,
        until: Callable[[Any], bool],
        max_rounds: int | None = None,
        **how: Unpack[How],
    ) -> Stream:
        """Records go through `body` again and again, each until `until` holds for it, at most `max_rounds` times.

        `key_by(…)` before it deals records out on their way into the loop; for keyed state write it in the body.
        Behind the loop event time goes on once the records that came in before have left it; so windows stand there.
        """
        until = until_of(until, max_rounds)
        loop = Loop(max_rounds)
        head = self.then(HeadSpec(loop), how)
        last = callable_with(body, 1, "iterate()")(head)
        if not isinstance(last, Stream):
            raise BadValueError(f"iterate() takes a body that returns a stream, it returned {last!r:.60}")
        check_body(head.node, last.node)
        if "uid" in how:
            how["uid"] += ".tail"
        return last.then(TailSpec(loop, until), how)

    def with_times(self, watermark: WatermarkStrategy, **how: Unpack[How]) -> Stream:
        """Give records their event time here, where the source does not.

        Before a `union()`, in each of its streams: behind it, time is as far as in the slowest. Given after it, the
        records of a stream that is read faster carry time forward, and those of the others are late.
        """
        if not isinstance(watermark, WatermarkStrategy):
            raise BadValueError(f"with_times() takes bounded_out_of_orderness(…), say, got {watermark!r:.60}")
        how.setdefault("name", "with_times")
        return self.then(TimesSpec(watermark), how)

    def apply(self, what: Applicable, **how: Unpack[How]) -> Stream:
        """The operators that `what` describes: a retrieval pipeline, an `@operator`.

        >>> from sage_nb.runtime.environment import LocalEnvironment
        >>> from sage_nb.stream.operator import operator
        >>> @operator
        ... def shout(word):
        ...     return word.upper()
        >>> env, said = LocalEnvironment(), []
        >>> env.from_collection(["a"]).apply(shout).for_each(said.append)
        >>> env.submit().wait(), said
        ('finished', ['A'])
        """
        if not hasattr(what, "on_stream"):
            raise BadValueError(f"apply() takes a pipeline or an @operator, got {what!r:.60}; use map() for a function")
        return what.on_stream(self, **how)

    def side(self, name: str) -> Stream:
        """A side output of this operator: "late", "dead" (`DeadLetter`s), or one its function names."""
        return Stream(self.sinks, self.node, side_of(self.node.spec, name))

    @property
    def late(self) -> Stream:
        """`side("late")`."""
        return self.side(LATE)

    def sink(self, sink: SinkFunction[Any], **how: Unpack[How]) -> None:
        """Records leave the job here."""
        if not isinstance(sink, SinkFunction):
            mend = "for a function write .for_each(function)"
            if is_kind(sink, SinkFunction):
                mend = f"write {name_of(sink)}(…)"
            elif isinstance(sink, list):
                mend = "for a list write CollectSink(list)"
            raise BadValueError(f"sink() takes a sink such as JsonlSink or CollectSink, got {sink!r:.60}; {mend}")
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
        return self._of(spec, [self.input()], how)

    def _of(self, spec: Spec, inputs: list[Input], how: How) -> Stream:
        return Stream(self.sinks, Node(spec, tuple(inputs), options_of(how, spec)))


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
        if len(functions) == 1 and is_kind(functions[0], CoMapFunction):
            spec = CoMapSpec(functions[0], None, flat)
        elif len(functions) == 2:
            first, second = (callable_with(each, 1, "co_map()") for each in functions)
            spec = CoMapSpec(first, second, flat)
        else:
            raise BadValueError("co_map() takes a CoMapFunction, or two functions: one for each stream")
        how.setdefault("name", "co_map")
        inputs = (self.first.input(0), self.second.input(1))
        return Stream(self.first.sinks, Node(spec, inputs, options_of(how, spec)))


def _same(value: Any) -> Any:
    return value


def _one(_: Any) -> int:
    return 0


def _check_stream(other: object, where: str) -> None:
    if not isinstance(other, Stream):
        raise BadValueError(
            f"{where} takes streams, got {other!r:.60}; make one with from_collection() or from_source()"
        )
