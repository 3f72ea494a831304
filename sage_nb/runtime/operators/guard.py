"""Calling a user's function so that no record is lost: retries, time limits, circuit breaker, dead letters."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.gate import FencedError
from sage_nb.stream.policy import CircuitBreaker, Retry

if TYPE_CHECKING:
    from sage_nb.runtime.operators.running import Operator


class _Lost:
    """The type of `LOST`."""


LOST: Final = _Lost()  # what a call gives whose record went to the dead letters


class OperatorError(SageError):
    """An operator failed on a record, and its policy is to fail."""


class WrongReturnError(BadValueError):
    """A function gave what its operator cannot use: a mistake in the code, which no policy covers up."""


class CircuitOpenError(SageError):
    """A call not made: too many before it failed."""


class OperatorTimeoutError(SageError):
    """A call that took longer than the operator's timeout."""


class Guard:
    """The policy of one operator in one subtask."""

    def __init__(self, operator: Operator) -> None:
        options = operator.place.options
        self._operator, self._retry, self._on_error = operator, options.retry, options.on_error
        self._limit = Limit(options.timeout, operator.place.name) if options.timeout else None
        self._breaker = Breaker(options.breaker) if options.breaker else None
        self.halt = threading.Event()

    @property
    def idle(self) -> bool:
        """Whether a call that succeeds needs nothing of it, so that it may be made directly."""
        return self._limit is None and self._breaker is None

    def call(self, function: Callable[[Any], Any], value: Any, *, orphan: bool = False) -> Any:
        """`function(value)` under the policy, or `LOST`; `orphan`: the value was not received as a record."""
        try:
            return self._once(function, value)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001  the policy decides
            return self.failed(function, value, error, orphan=orphan)

    def failed(self, function: Callable[[Any], Any], value: Any, error: Exception, *, orphan: bool = False) -> Any:
        """What becomes of a value whose first call failed: the result of a later one, a fallback, or `LOST`."""
        if isinstance(error, WrongReturnError):
            raise error
        attempts = 1
        if self._retry is not None and isinstance(error, self._retry.on):
            try:
                return self._retrying(self._retry)(self._again, function, value)
            except RetryError as last:
                error = last.last_attempt.exception() or error  # type: ignore[assignment]
                attempts += last.last_attempt.attempt_number
            except FencedError:
                raise
            except Exception as other:  # noqa: BLE001  an error that is not worth another try
                error, attempts = other, attempts + 1
        return self._given_up(value, error, attempts, orphan=orphan)

    def _once(self, function: Callable[[Any], Any], value: Any) -> Any:
        if self._breaker is not None:
            self._breaker.check(self._operator.place.name)
        try:
            result = function(value) if self._limit is None else self._limit.call(function, value)
        except Exception:
            if self._breaker is not None:
                self._breaker.note(failed=True)
            raise
        if self._breaker is not None:
            self._breaker.note(failed=False)
        return result

    def _again(self, function: Callable[[Any], Any], value: Any) -> Any:
        self._operator.counters.retried += 1
        return self._once(function, value)

    def _retrying(self, retry: Retry) -> Retrying:
        waits = iter(_waits(retry))
        self._pause(next(waits))
        return Retrying(
            stop=stop_after_attempt(retry.times),
            wait=lambda _: next(waits),
            retry=retry_if_exception_type(retry.on),
            sleep=self._pause,
        )

    def _pause(self, seconds: float) -> None:
        if self.halt.wait(seconds):
            raise FencedError

    def _given_up(self, value: Any, error: Exception, attempts: int, *, orphan: bool) -> Any:
        if self._on_error == "fail" or isinstance(error, FencedError):
            raise _explained(self._operator.place.name, value, error) from error
        if self._on_error == "dead_letter":
            self._operator.bury(value, error, attempts, orphan=orphan)
            return LOST
        self._operator.counters.degraded += 1
        return self._on_error(value, error)


class Limit:
    """Calls in a thread of their own, abandoned when they take too long."""

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds, self._name = seconds, name
        self._thread: ThreadPoolExecutor | None = None

    def call(self, function: Callable[[Any], Any], value: Any) -> Any:
        """`function(value)`; OperatorTimeoutError when it is not back in time."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sage-{self._name}")
        future = self._thread.submit(function, value)
        try:
            return future.result(self._seconds)
        except FutureTimeoutError:
            if future.done():
                raise
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
            raise OperatorTimeoutError(f"{self._name!r} took longer than {self._seconds:g} s") from None


class Breaker:
    """Counts the last calls; open, it lets none through; after a while it lets one try."""

    def __init__(self, policy: CircuitBreaker) -> None:
        self._policy = policy
        self._last: deque[bool] = deque(maxlen=policy.window)
        self._open_until = 0.0

    def check(self, name: str) -> None:
        """Raise CircuitOpenError while open."""
        left = self._open_until - time.monotonic()
        if left > 0:
            raise CircuitOpenError(f"{name!r} is not called for {left:.1f} s more: too many of its last calls failed")

    def note(self, *, failed: bool) -> None:
        """One call more."""
        if self._open_until and failed:  # the one that was let try
            self._open()
            return
        self._open_until = 0.0
        self._last.append(failed)
        if len(self._last) == self._policy.window and sum(self._last) >= self._policy.failure_rate * len(self._last):
            self._open()

    def _open(self) -> None:
        self._open_until = time.monotonic() + self._policy.open_for
        self._last.clear()


def _waits(retry: Retry) -> list[float]:
    """Seconds before each try: exponential, capped, lengthened by chance."""
    plain = [min(retry.longest, retry.backoff * 2**at) for at in range(retry.times + 1)]
    return [wait * (1 + random.random() * retry.jitter) for wait in plain]


def _explained(name: str, value: Any, error: Exception) -> Exception:
    """The error of the job: ours as it is, a user's with the operator and the record."""
    if isinstance(error, SageError):
        return error
    shown = f"{value!r:.80}"
    return OperatorError(f"operator {name!r} failed on {shown}: {type(error).__name__}: {error}")
