"""What an operator calls: functions with a life cycle, a record or a batch at a time (Flink's names)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from sage_nb.stream.state import State

In = TypeVar("In")
Out = TypeVar("Out")
Left = TypeVar("Left")
Right = TypeVar("Right")
Acc = TypeVar("Acc")
Resource = TypeVar("Resource")
Held = TypeVar("Held")


class Metrics(Protocol):
    """A function's own numbers; they show beside the runtime's."""

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        ...

    def model_time(self, items: int = 0, /) -> AbstractContextManager[None]:
        """`with context.metrics.model_time(n):` around a call of a model with n texts; a profile shows it apart."""
        ...


class Context(Protocol):
    """What a running function may ask of its runtime."""

    @property
    def name(self) -> str:
        """The operator's name."""
        ...

    @property
    def uid(self) -> str:
        """The operator's id: no other of the job has it."""
        ...

    @property
    def job(self) -> str:
        """The job's id: the same whenever the job goes on from its checkpoints; no other job has it."""
        ...

    @property
    def subtask(self) -> int:
        """Index of this copy, from 0."""
        ...

    @property
    def parallelism(self) -> int:
        """How many copies there are."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Counters and gauges of the function's own."""
        ...

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the operator; it has no handler of ours."""
        ...

    def get(self, kind: type[Resource], /) -> Resource:
        """The resource of that type which this process shares: `sage.Models`, say, with the models it has loaded."""
        ...

    def find(self, kind: type[Resource], /) -> Resource | None:
        """As `get`, for one that there need not be: None then."""
        ...

    def state(self, declared: State[Held], /) -> Held:
        """The keyed state declared so: always the current record's key's. Only on a keyed stream."""
        ...


class Function:
    """Flink's life cycle: `open` once per subtask, then the work, then `close` once, on failure too.

    >>> class Rated(MapFunction[str, float]):
    ...     def open(self, context):
    ...         self.rates = {"pound": 1.17}
    ...
    ...     def map(self, value):
    ...         return self.rates[value]
    ...
    ...     def close(self):
    ...         self.rates.clear()
    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env, rated = LocalEnvironment("rates"), []
    >>> env.from_collection(["pound"]).map(Rated()).for_each(rated.append)
    >>> env.submit().wait(), rated
    ('finished', [1.17])
    """

    def open(self, context: Context, /) -> None:
        """Acquire: load the model, open the index."""

    def close(self) -> None:
        """Release what `open` took."""


@runtime_checkable
class Snapshotting(Protocol):
    """A function whose own fields outlive a failure. The law: restoring a snapshot gives an equal function."""

    def snapshot_state(self) -> Any:
        """Its state as plain data."""
        ...

    def restore_state(self, state: Any, /) -> None:
        """Become as it was."""
        ...


class MapFunction(Function, Generic[In, Out]):
    """One value out for each value in.

    Write whichever of the two maps is natural; each is defined by the other.

    >>> class Shout(MapFunction[str, str]):
    ...     def map(self, value):
    ...         return value.upper()
    >>> Shout().map_batch(["a", "b"])
    ['A', 'B']
    """

    def map(self, value: In, /) -> Out:
        """The value that `value` becomes."""
        return self.map_batch([value])[0]

    def map_batch(self, batch: Sequence[In], /) -> list[Out]:
        """The values of a batch, in its order; as many as came."""
        return [self.map(value) for value in batch]


class FilterFunction(Function, Generic[In]):
    """Keeps a record or not.

    >>> class Long(FilterFunction[str]):
    ...     def filter(self, value):
    ...         return len(value) > 3
    >>> Long().filter("four")
    True
    """

    def filter(self, value: In, /) -> bool:
        """Whether to keep it."""
        raise NotImplementedError


class FlatMapFunction(Function, Generic[In, Out]):
    """Any number of values out for each value in.

    >>> class Words(FlatMapFunction[str, str]):
    ...     def flat_map(self, value):
    ...         yield from value.split()
    >>> list(Words().flat_map("to be"))
    ['to', 'be']
    """

    def flat_map(self, value: In, /) -> Iterable[Out]:
        """The values that `value` becomes."""
        raise NotImplementedError


class CoMapFunction(Function, Generic[Left, Right, Out]):
    """Two streams into one function that may share state between them.

    >>> class Priced(CoMapFunction[tuple, tuple, tuple]):
    ...     def open(self, context):
    ...         self.rates = {}
    ...
    ...     def map1(self, value):  # a price and its currency
    ...         return value[0] * self.rates.get(value[1], 1.0), "euro"
    ...
    ...     def map2(self, value):  # a currency and its rate
    ...         self.rates[value[0]] = value[1]
    ...         return value
    """

    def map1(self, value: Left, /) -> Out:
        """What a record of the first stream becomes."""
        raise NotImplementedError

    def map2(self, value: Right, /) -> Out:
        """What a record of the second stream becomes."""
        raise NotImplementedError


class ProcessContext(Protocol):
    """What `process` and `on_timer` may ask about the record, and do."""

    @property
    def key(self) -> Any:
        """The current key."""
        ...

    @property
    def time(self) -> float | None:
        """The record's event time in seconds; in `on_timer` the timer's."""
        ...

    @property
    def watermark(self) -> float:
        """How far event time has come: no record before it is still to come."""
        ...

    def output(self, name: str, value: object) -> None:
        """Send to the side output called `name`."""
        ...

    def set_timer(self, at: float, clock: Clock = "event") -> None:
        """Call `on_timer` for this key when the clock reaches `at` (seconds)."""
        ...

    def clear_timer(self, at: float, clock: Clock = "event") -> None:
        """Forget that timer."""
        ...


Clock = Literal["event", "processing"]


class ProcessFunction(Function, Generic[In, Out]):
    """The general operator: any number of records out, side outputs, and on a keyed stream state and timers.

    >>> class Doubled(ProcessFunction[int, int]):
    ...     def process(self, value, context):
    ...         if value < 0:
    ...             context.output("negative", value)
    ...         else:
    ...             yield 2 * value
    >>> from sage_nb.stream.time import monotonous
    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> class Reminder(KeyedProcessFunction[tuple, str]):
    ...     def process(self, value, context):
    ...         context.set_timer(value[1] + 10)
    ...
    ...     def on_timer(self, at, context):
    ...         yield f"{context.key} at {at:g}"
    >>> env, said = LocalEnvironment("reminders"), []
    >>> timed = env.from_collection([("ann", 1.0), ("bob", 2.0)]).with_times(monotonous(lambda value: value[1]))
    >>> timed.key_by(lambda value: value[0]).process(Reminder()).for_each(said.append)
    >>> env.submit().wait(), said
    ('finished', ['ann at 11', 'bob at 12'])
    """

    def process(self, value: In, context: ProcessContext, /) -> Iterable[Out] | None:
        """The records that `value` becomes."""
        raise NotImplementedError

    def on_timer(self, at: float, context: ProcessContext, /) -> Iterable[Out] | None:
        """The records due when a timer rings; by default none."""


class KeyedProcessFunction(ProcessFunction[In, Out]):
    """A `ProcessFunction` that needs a keyed stream: it uses state or timers.

    >>> from sage_nb.stream.state import ValueState
    >>> class Numbered(KeyedProcessFunction[str, tuple]):
    ...     def open(self, context):
    ...         self.seen = context.state(ValueState("seen", 0))
    ...
    ...     def process(self, value, context):
    ...         self.seen.update(self.seen.value() + 1)
    ...         yield context.key, self.seen.value()
    """


class AggregateFunction(Generic[In, Acc, Out]):
    """Folds the records of a window one by one; `merge` joins two accumulators (session windows need it).

    >>> class Longest(AggregateFunction[str, str, str]):
    ...     def create(self):
    ...         return ""
    ...
    ...     def add(self, value, accumulator):
    ...         return max(accumulator, value, key=len)
    ...
    ...     def result(self, accumulator):
    ...         return accumulator
    ...
    ...     def merge(self, one, other):
    ...         return max(one, other, key=len)
    """

    def create(self) -> Acc:
        """The accumulator of nothing."""
        raise NotImplementedError

    def add(self, value: In, accumulator: Acc, /) -> Acc:
        """The accumulator with one record more."""
        raise NotImplementedError

    def result(self, accumulator: Acc, /) -> Out:
        """What the window gives."""
        raise NotImplementedError

    def merge(self, one: Acc, other: Acc, /) -> Acc:
        """Both accumulators as one."""
        raise NotImplementedError
