"""Running a function in the calling thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sage_nb.errors import BadValueError
from sage_nb.stream.function import Context, MapFunction

In = TypeVar("In")
Out = TypeVar("Out")


def run_inline(
    function: MapFunction[In, Out], values: Sequence[In], context: Context, batch: int
) -> Iterator[list[Out]]:
    """`values` through `function`, `batch` at a time; each batch is given on as soon as it is done.

    >>> from sage_nb.runtime.context import LocalContext
    >>> class Double(MapFunction[int, int]):
    ...     def map(self, value):
    ...         return 2 * value
    >>> list(run_inline(Double(), [1, 2, 3], LocalContext(), batch=2))
    [[2, 4], [6]]
    """
    function.open(context)
    try:
        for start in range(0, len(values), batch):
            part = values[start : start + batch]
            yield _as_many(function, part, function.map_batch(part))
    finally:
        function.close()


def _as_many(function: MapFunction[In, Out], given: Sequence[In], made: list[Out]) -> list[Out]:
    if not isinstance(made, list) or len(made) != len(given):
        count = len(made) if isinstance(made, list) else f"a {type(made).__name__}"
        raise BadValueError(
            f"{type(function).__name__}.map_batch gave {count} for {len(given)} values; return a list with one for each"
        )
    return made
