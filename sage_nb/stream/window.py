"""Windows: which ones a record falls into, and what is made of the records in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.plain import plain
from sage_nb.stream.function import AggregateFunction, Clock

Span = tuple[float, float]  # start (inside) and end (outside), seconds
SHORTEST = 1e-6  # seconds: the shortest slide; windows are told apart to the nanosecond


@plain
class Windowed(msgspec.Struct, frozen=True):
    """What a window gave: the key, the window's first second and the one after its last, and the value.

    A count window's span is that of its records' numbers, from 0, within the key.

    >>> Windowed("user", 0, 60, 3).value
    3
    """

    key: Any
    start: float
    end: float
    value: Any


@dataclass(frozen=True)
class TimeWindows:
    """Windows of `size` seconds, one every `slide`; of event time, or of the clock on the wall."""

    size: float
    slide: float
    clock: Clock = "event"

    def spans(self, time: float) -> list[Span]:
        """The windows that hold `time`, earliest first.

        >>> TimeWindows(10, 5).spans(12.0)
        [(5, 15), (10, 20)]
        >>> TimeWindows(0.3, 0.3).spans(0.9)
        [(0.9, 1.2)]
        """
        at = math.floor(time / self.slide)  # floats: it may be one off
        at += (self._span(at + 1)[0] <= time) - (self._span(at)[0] > time)
        found: list[Span] = []
        while (span := self._span(at - len(found)))[1] > time:
            found.append(span)
        return found[::-1]

    def _span(self, at: int) -> Span:
        """The window of that number, to the nanosecond: thirds of a second leave no gap and do not overlap."""
        start = at * self.slide
        return round(start, 9) + 0, round(start + self.size, 9) + 0  # + 0: no minus 0.0


@dataclass(frozen=True)
class SessionWindows:
    """Windows that end when `gap` seconds pass without a record of the key."""

    gap: float
    clock: Clock = "event"


@dataclass(frozen=True)
class CountWindows:
    """Windows of `size` records of a key, one every `slide` records; the last one may be short."""

    size: int
    slide: int


Windows = TimeWindows | SessionWindows | CountWindows


def tumbling(seconds: float, *, clock: Clock = "event") -> TimeWindows:
    """Windows side by side.

    >>> tumbling(60).spans(75.0)
    [(60, 120)]
    """
    return sliding(seconds, seconds, clock=clock)


def sliding(seconds: float, slide: float, *, clock: Clock = "event") -> TimeWindows:
    """Windows of `seconds`, a new one every `slide` seconds, aligned to time 0.

    >>> sliding(60, 30).spans(75.0)
    [(30, 90), (60, 120)]
    """
    _positive("a window's length", seconds)
    _positive("a window's slide", slide)
    if slide < SHORTEST:
        raise BadValueError(f"a window's slide must be {SHORTEST:g} seconds or more, got {slide!r}")
    if slide > seconds:
        raise BadValueError(f"a slide of {slide:g} s leaves gaps between windows of {seconds:g} s; make it shorter")
    return TimeWindows(seconds, slide, clock)


def session(gap: float, *, clock: Clock = "event") -> SessionWindows:
    """Windows of activity: a pause of `gap` seconds ends one.

    >>> session(1800)
    SessionWindows(gap=1800, clock='event')
    """
    _positive("a session's gap", gap)
    return SessionWindows(gap, clock)


def count_window(records: int, slide: int | None = None) -> CountWindows:
    """Windows of so many records of a key; at the end of the stream the last, short one is given too.

    >>> count_window(100, slide=50)
    CountWindows(size=100, slide=50)
    """
    step = records if slide is None else slide
    for name, value in (("a count window's size", records), ("its slide", step)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadValueError(f"{name} must be a whole number of records, 1 or more, got {value!r}")
    if step > records:
        raise BadValueError(f"a slide of {step} would leave out records between windows of {records}; make it smaller")
    return CountWindows(records, step)


class Folding(Protocol):
    """How a window's records become its values."""

    def create(self) -> Any:
        """The accumulator of nothing."""
        ...

    def add(self, value: Any, accumulator: Any, /) -> Any:
        """One record more."""
        ...

    def merge(self, one: Any, other: Any, /) -> Any:
        """Two accumulators as one."""
        ...

    def results(self, key: Any, span: Span, accumulator: Any, /) -> list[Any]:
        """What goes out when the window is due."""
        ...


@dataclass(frozen=True)
class Aggregating:
    """Folds record by record with an `AggregateFunction`; gives one `Windowed`."""

    function: AggregateFunction[Any, Any, Any]

    def create(self) -> Any:
        """The function's."""
        return self.function.create()

    def add(self, value: Any, accumulator: Any, /) -> Any:
        """The function's."""
        return self.function.add(value, accumulator)

    def merge(self, one: Any, other: Any, /) -> Any:
        """The function's."""
        return self.function.merge(one, other)

    def results(self, key: Any, span: Span, accumulator: Any, /) -> list[Any]:
        """The function's result."""
        return [Windowed(key, *span, self.function.result(accumulator))]


@dataclass(frozen=True)
class Reducing:
    """Folds records of one type with a function of two; gives one `Windowed`."""

    function: Callable[[Any, Any], Any]

    def create(self) -> Any:
        """Nothing yet."""
        return []

    def add(self, value: Any, accumulator: Any, /) -> Any:
        """The function of what is held and the new one."""
        return [self.function(accumulator[0], value)] if accumulator else [value]

    def merge(self, one: Any, other: Any, /) -> Any:
        """The function of both."""
        return [self.function(one[0], other[0])] if one and other else one or other

    def results(self, key: Any, span: Span, accumulator: Any, /) -> list[Any]:
        """The fold."""
        return [Windowed(key, *span, accumulator[0])]


@dataclass(frozen=True)
class Applying:
    """Keeps a window's records and hands them over together: `function(key, span, records)` gives any number."""

    function: Callable[[Any, Span, list[Any]], Iterable[Any]]

    def create(self) -> Any:
        """No records."""
        return []

    def add(self, value: Any, accumulator: Any, /) -> Any:
        """One more."""
        accumulator.append(value)
        return accumulator

    def merge(self, one: Any, other: Any, /) -> Any:
        """All of them."""
        return [*one, *other]

    def results(self, key: Any, span: Span, accumulator: Any, /) -> list[Any]:
        """What the function makes of them."""
        return [Windowed(key, *span, value) for value in self.function(key, span, list(accumulator))]


class Count(AggregateFunction[Any, int, int]):
    """How many records.

    >>> count = Count()
    >>> count.result(count.add("b", count.add("a", count.create())))
    2
    """

    def create(self) -> int:
        """None yet."""
        return 0

    def add(self, value: Any, accumulator: int, /) -> int:  # noqa: ARG002  only that it came counts
        """One more."""
        return accumulator + 1

    def result(self, accumulator: int, /) -> int:
        """The number."""
        return accumulator

    def merge(self, one: int, other: int, /) -> int:
        """Their sum."""
        return one + other


class Mean(AggregateFunction[Any, list[float], float]):
    """The mean of a field (None: of the records themselves).

    >>> mean = Mean("price")
    >>> mean.result(mean.add({"price": 4}, mean.add({"price": 2}, mean.create())))
    3.0
    """

    def __init__(self, field: str | None = None) -> None:
        self.field = field

    def create(self) -> list[float]:
        """Sum and number."""
        return [0.0, 0]

    def add(self, value: Any, accumulator: list[float], /) -> list[float]:
        """Both grow."""
        return [accumulator[0] + (value if self.field is None else value[self.field]), accumulator[1] + 1]

    def result(self, accumulator: list[float], /) -> float:
        """Sum over number."""
        return accumulator[0] / accumulator[1]

    def merge(self, one: list[float], other: list[float], /) -> list[float]:
        """Both sums, both numbers."""
        return [one[0] + other[0], one[1] + other[1]]


def _positive(what: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise BadValueError(f"{what} must be more than 0 seconds, got {seconds!r}")
