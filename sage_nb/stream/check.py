"""Functions are checked when the stream is built, not when the first record meets them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.stream.function import Function

ARGUMENTS = ("no argument", "one argument", "two arguments", "three arguments")


def callable_with(function: object, count: int, where: str) -> Callable[..., Any]:
    """`function`, if it can be called with `count` arguments.

    >>> callable_with(lambda a, b: a, 1, "map('pair')")
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: map('pair') calls its function with one argument; <lambda>(a, b) takes others
    """
    if not callable(function):
        raise BadValueError(f"{where} takes a function, got {function!r:.60} ({type(function).__name__})")
    try:
        signature = inspect.signature(function)
        signature.bind(*range(count))
    except ValueError:  # a builtin without a signature
        return function
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise BadValueError(
            f"{where} calls its function with {ARGUMENTS[count]}; {name}{signature} takes others"
        ) from error
    return function


def key_of(key: object, where: str) -> Callable[[Any], Any]:
    """A function that reads the key: `key` itself, or the field of that name."""
    if isinstance(key, str):
        return Field(key)
    if not callable(key):
        raise BadValueError(f"{where} takes a field's name or a function of a record, got {key!r:.60}")
    return callable_with(key, 1, where)


class Field:
    """Reads a field of a mapping, or an attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Field({self.name!r})"

    def __call__(self, value: Any) -> Any:
        """The field's value."""
        return value[self.name] if isinstance(value, dict) else getattr(value, self.name)


def function_of(function: Any, base: type, where: str, count: int | None) -> Any:
    """A function object, a class of them (made anew in each subtask), or, if it takes `count` arguments, a callable."""
    if is_kind(function, base):
        return function
    if count is None or is_kind(function, Function) or not callable(function):
        what = f"a {base.__name__}" if count is None else f"a function or a {base.__name__}"
        raise BadValueError(f"{where}() takes {what}, got {function!r:.60}; derive your class from {base.__name__}")
    return callable_with(function, count, f"{where}()")


def is_kind(function: object, base: type) -> bool:
    """Whether it is an object or a class of that kind."""
    return isinstance(function, base) or (isinstance(function, type) and issubclass(function, base))


def name_of(function: object) -> str:
    """What a person calls it."""
    return getattr(function, "__name__", type(function).__name__)
