"""`@operator`: a plain function as an operator of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, overload

from typing_extensions import Unpack

from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.check import callable_with


@dataclass(frozen=True)
class Operator:
    """A named function with options; `stream.apply(it)` maps with it, or flat-maps where it is a generator."""

    function: Callable[[Any], Any]
    how: tuple[tuple[str, Any], ...] = ()

    def __call__(self, value: Any) -> Any:
        """The function itself."""
        return self.function(value)

    def on_stream(self, stream: Stream, /, **how: Unpack[How]) -> Stream:
        """The stream behind it."""
        options: Any = {"name": self.function.__name__, **dict(self.how), **how}
        step = stream.flat_map if inspect.isgeneratorfunction(self.function) else stream.map
        return step(self.function, **options)

    def using(self, **how: Unpack[How]) -> Operator:
        """The same with other options."""
        return replace(self, how=tuple({**dict(self.how), **how}.items()))


@overload
def operator(function: Callable[[Any], Any], /) -> Operator: ...
@overload
def operator(**how: Unpack[How]) -> Callable[[Callable[[Any], Any]], Operator]: ...
def operator(function: Any = None, /, **how: Unpack[How]) -> Any:
    """Make an operator of a function of one record; a generator function may give any number.

    >>> @operator
    ... def shout(word):
    ...     return word.upper()
    >>> shout("a")
    'A'
    >>> @operator(parallelism=2)
    ... def letters(word):
    ...     yield from word
    >>> list(letters("ab"))
    ['a', 'b']
    """
    if function is None:
        return lambda given: operator(given).using(**how)
    return Operator(callable_with(function, 1, "@operator"))
