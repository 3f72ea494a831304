"""A user's function from its making to its closing; what goes wrong says whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from sage_nb.errors import SageError
from sage_nb.runtime.operators.guard import MisuseError, OperatorError
from sage_nb.stream.function import Context, Function


def fresh(function: Any, name: str) -> Any:
    """An instance of a function for one subtask, shared by no other; a plain callable is what it is.

    Raises MisuseError where it cannot be made or copied.
    """
    if isinstance(function, type) and issubclass(function, Function):
        with naming(name, "made"):
            return function()
    if not isinstance(function, Function):
        return function
    try:
        return deepcopy(function)
    except Exception as error:
        raise MisuseError(
            f"operator {name!r}: its {type(function).__name__} cannot be copied for each subtask ({error}); "
            f"acquire locks, files and clients in open()"
        ) from error


def opened(function: Any, context: Context) -> Any:
    """Open a function, if it has a life cycle; gives it back."""
    if isinstance(function, Function):
        with naming(context.name, "opened"):
            function.open(context)
    return function


def closed(function: Any, name: str) -> None:
    """Close it, if it has a life cycle."""
    if isinstance(function, Function):
        with naming(name, "closed"):
            function.close()


@contextmanager
def naming(name: str, what: str) -> Iterator[None]:
    """A user's error in the block says whose it is, and that it came when it was being `what`."""
    try:
        yield
    except SageError as error:
        if repr(name) in str(error):
            raise
        raise type(error)(f"operator {name!r}: {error}") from error
    except Exception as error:
        raise OperatorError(f"operator {name!r} failed when it was {what}: {type(error).__name__}: {error}") from error
