"""Event time: where a record's time stands, and how far time has come (watermarks). Times are seconds, as floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sage_nb.errors import BadValueError

FOREVER = float("inf")
Extractor = Callable[[Any], float]


@dataclass(frozen=True)
class WatermarkStrategy:
    """How event time is read and how far it has come; made by the three functions below.

    `timestamp` is a field's name or a function of the record; `delay` the seconds by which records may come out of
    order; `marker` reads a watermark off some records instead. A watermark goes out after every `every` records (None:
    after every batch). A split that brings nothing for `idle_after` seconds no longer holds time back.
    """

    timestamp: str | Extractor = "time"
    delay: float = 0.0
    marker: Callable[[Any], float | None] | None = None
    every: int | None = None
    idle_after: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.timestamp) and not isinstance(self.timestamp, str):
            raise BadValueError(f"timestamp must be a field's name or a function, got {self.timestamp!r:.60}")
        if not isinstance(self.delay, (int, float)) or not 0 <= self.delay < FOREVER:
            raise BadValueError(f"out-of-orderness must be 0 seconds or more, got {self.delay!r}")
        if self.every is not None and self.every < 1:
            raise BadValueError(f"every must be 1 record or more, got {self.every!r}")
        if self.idle_after is not None and self.idle_after <= 0:
            raise BadValueError(f"idle_after must be more than 0 seconds, got {self.idle_after!r}")

    def time_of(self, value: Any) -> float:
        """The record's event time.

        Raises BadValueError where it has none.
        """
        try:
            given = self.timestamp(value) if callable(self.timestamp) else _field(value, self.timestamp)
            return _seconds(given)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise BadValueError(
                f"no event time in {value!r:.60}: {type(error).__name__} {error}; "
                f"name the field that holds seconds, or give a function, as timestamp="
            ) from error

    def marked(self, value: Any) -> float | None:
        """The watermark that the record carries, if it carries one.

        Raises BadValueError where what it carries is no time.
        """
        mark = None if self.marker is None else self.marker(value)
        try:
            return None if mark is None else _seconds(mark)
        except (TypeError, ValueError) as error:
            raise BadValueError(
                f"no watermark in {value!r:.60}: {error}; the marker must give seconds, or None"
            ) from error

    def after(self, watermark: float, time: float, marked: float | None) -> float:
        """The watermark once a record of that time, which carries that mark, has passed."""
        if self.marker is None:
            return max(watermark, time - self.delay)
        return watermark if marked is None else max(watermark, marked)


def bounded_out_of_orderness(
    seconds: float,
    timestamp: str | Extractor = "time",
    *,
    every: int | None = None,
    idle_after: float | None = None,
) -> WatermarkStrategy:
    """Records come at most `seconds` late: the watermark trails the latest time seen by as much.

    >>> bounded_out_of_orderness(5).after(float("-inf"), 12.0, None)
    7.0
    """
    return WatermarkStrategy(timestamp, seconds, None, every, idle_after)


def monotonous(
    timestamp: str | Extractor = "time", *, every: int | None = None, idle_after: float | None = None
) -> WatermarkStrategy:
    """Records come in the order of their times.

    >>> monotonous("at").time_of({"at": 12})
    12.0
    """
    return WatermarkStrategy(timestamp, 0.0, None, every, idle_after)


def punctuated(
    marker: Callable[[Any], float | None],
    timestamp: str | Extractor = "time",
    *,
    every: int | None = None,
    idle_after: float | None = None,
) -> WatermarkStrategy:
    """Some records say how far time has come: `marker(record)` is that time, or None.

    >>> strategy = punctuated(lambda record: record.get("up_to"))
    >>> strategy.marked({"time": 9, "up_to": 8}), strategy.marked({"time": 9})
    (8.0, None)
    """
    return WatermarkStrategy(timestamp, 0.0, marker, every, idle_after)


def _seconds(given: Any) -> float:
    seconds = float(given)
    if not math.isfinite(seconds):
        raise ValueError(f"{given!r} is no moment")
    return seconds


def _field(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)
