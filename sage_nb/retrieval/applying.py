"""A function of one's own in a pipeline: opened where it runs, and what it gives is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.values import Result
from sage_nb.stream.function import Context, MapFunction


class Applying(MapFunction[Result, Result]):
    """The running half of `Applied`: of a callable, a MapFunction, or a class of one."""

    def __init__(self, code: Any, name: str) -> None:
        self._name = name
        self._function: Any = code() if isinstance(code, type) else code

    def open(self, context: Context, /) -> None:
        """Open it, if it has a life cycle."""
        if isinstance(self._function, MapFunction):
            self._function.open(context)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """Its results, one for each.

        Raises BadValueError where one is no Result, or one of another question.
        """
        if isinstance(self._function, MapFunction):
            made = list(self._function.map_batch(batch))
        else:
            made = [self._function(result) for result in batch]
        return [self._checked(*pair) for pair in zip(batch, made, strict=True)]

    def close(self) -> None:
        """Close it, if it has a life cycle."""
        if isinstance(self._function, MapFunction):
            self._function.close()

    def _checked(self, before: Result, after: object) -> Result:
        if not isinstance(after, Result):
            raise BadValueError(
                f"{self._name} gave a {type(after).__name__}; a function in a pipeline returns a Result"
            )
        if after.query.id != before.query.id:
            raise BadValueError(
                f"{self._name} gave a result of {after.query.id!r} for {before.query.id!r}; keep the question's id"
            )
        return after
