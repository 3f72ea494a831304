"""How long what can be done without is waited for: so many seconds a call, and not at all when it is always late."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sage_nb.runtime.operators.guard import Breaker, Limit, OperatorTimeoutError
from sage_nb.stream.policy import CircuitBreaker

In = TypeVar("In")
Out = TypeVar("Out")

LATE = CircuitBreaker(failure_rate=1.0, window=3, open_for=30.0)  # what is late three times running rests so long


class Patient:
    """Calls that are left behind after so many seconds; None: never.

    What is late three times running is not called for 30 seconds: it would hold up every question. What fails at once
    holds up nothing, and is called again.
    """

    def __init__(self, seconds: float | None, name: str) -> None:
        self._name = name
        self._limit = Limit(seconds, name) if seconds is not None else None
        self._breaker = Breaker(LATE)

    def call(self, function: Callable[[In], Out], value: In) -> Out:
        """`function(value)`; OperatorTimeoutError where it is late, CircuitOpenError where it is not called."""
        if self._limit is None:
            return function(value)
        self._breaker.check(self._name)
        late = False
        try:
            made: Out = self._limit.call(function, value)
        except OperatorTimeoutError:
            late = True
            raise
        finally:
            self._breaker.note(failed=late)
        return made

    def close(self) -> None:
        """End the thread in which calls are timed, with the call it is in."""
        if self._limit is not None:
            self._limit.close()
