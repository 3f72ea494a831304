"""A stream in windows: what shall become of the records of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from sage_nb.errors import BadValueError
from sage_nb.stream.build import How
from sage_nb.stream.check import callable_with
from sage_nb.stream.function import AggregateFunction
from sage_nb.stream.graph import WindowSpec
from sage_nb.stream.window import Aggregating, Applying, Folding, Reducing, SessionWindows, Span, Windows

if TYPE_CHECKING:
    from sage_nb.stream.api import Stream


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
        if isinstance(self.windows, SessionWindows) and type(function).merge is AggregateFunction.merge:
            raise BadValueError(f"sessions grow together; give {type(function).__name__} a merge(one, other)")
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
