"""Calling a user's function so that no record is lost: retries, time limits, circuit breaker, dead letters."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.gate import FencedError
from sage_nb.stream.policy import CircuitBreaker, Retry

if TYPE_CHECKING:
    from sage_nb.runtime.operators.running import Operator


class _Lost:
    """The type of `LOST`."""


LOST: Final = _Lost()  # what a call gives whose record went to the dead letters


class OperatorError(SageError):
    """An operator failed on a record, and its policy is to fail.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env = LocalEnvironment("inverses")
    >>> env.from_collection([2, 0]).map(lambda n: 1 / n, name="invert", on_error="fail").for_each(float)
    >>> env.submit().wait()
    Traceback (most recent call last):
    sage_nb.runtime.operators.guard.OperatorError: operator 'invert' failed on 0: ZeroDivisionError: division by zero
    """


class MisuseError(BadValueError):
    """A mistake in the code of a job: every record would meet it, so no policy covers it up."""


class TaskLostError(SageError):
    """A task that cannot be reached: its process, or its node, is gone. A new attempt may mend it."""


class WrongReturnError(MisuseError):
    """A function gave what its operator cannot use."""


class CircuitOpenError(OperatorError):
    """A call not made: too many before it failed.

    >>> issubclass(CircuitOpenError, OperatorError)
    True
    """


class OperatorTimeoutError(OperatorError):
    """A call that took longer than the operator's timeout.

    >>> issubclass(OperatorTimeoutError, OperatorError)
    True
    """


class Guard:
    """The policy of one operator in one subtask."""

    def __init__(self, operator: Operator) -> None:
        options = operator.place.options
        self._operator, self._retry, self._on_error = operator, options.retry, options.on_error
        self._limit = Limit(options.timeout, operator.place.name) if options.timeout else None
        self._breaker = Breaker(options.breaker) if options.breaker else None
        self._calls = 0  # made for the record at hand
        self.halt = threading.Event()

    @property
    def idle(self) -> bool:
        """Whether a call that succeeds needs nothing of it, so that it may be made directly."""
        return self._limit is None and self._breaker is None

    def call(self, function: Callable[[Any], Any], value: Any, *, orphan: bool = False) -> Any:
        """`function(value)` under the policy, or `LOST`; `orphan`: the value was not received as a record."""
        try:
            return self.once(function, value)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001  the policy decides
            return self.failed(function, value, error, orphan=orphan)

    def once(self, function: Callable[[Any], Any], value: Any) -> Any:
        """`function(value)` within its time, unless the breaker is open; its error is the caller's to handle."""
        if self._breaker is not None:
            self._breaker.check(self._operator.place.name)
        self._calls += 1
        try:
            result = function(value) if self._limit is None else self._limit.call(function, value)
        except Exception:
            if self._breaker is not None:
                self._breaker.note(failed=True)
            raise
        if self._breaker is not None:
            self._breaker.note(failed=False)
        return result

    def failed(self, function: Callable[[Any], Any], value: Any, error: Exception, *, orphan: bool = False) -> Any:
        """What becomes of a value whose first call failed: the result of a later one, a fallback, or `LOST`."""
        self._calls = 0 if isinstance(error, CircuitOpenError) else 1
        if self._retry is not None and self._passing(error):
            try:
                return self._retrying(self._retry)(self._again, function, value)
            except FencedError:
                raise
            except Exception as last:  # noqa: BLE001  the policy decides
                error = last
        return self._given_up(value, error, orphan=orphan)

    def astray(self, value: Any, error: Exception, reader: str) -> Any:
        """What becomes of a record that finds no place at its reader: no fallback of this operator can stand for it."""
        self._calls = 1
        name, kind = self._operator.place.name, type(error).__name__
        lost = OperatorError(
            f"a record of {name!r} finds no place at {reader!r}: {kind}: {error}; it is {shown(value)}"
        )
        return self._given_up(value, lost, orphan=True)

    def close(self) -> None:
        """End the thread in which calls are timed."""
        if self._limit is not None:
            self._limit.close()

    def _passing(self, error: BaseException) -> bool:
        """Whether another try may find it gone."""
        worth = self._retry is not None and isinstance(error, self._retry.on)
        return worth and not isinstance(error, (CircuitOpenError, FencedError, MisuseError))

    def _again(self, function: Callable[[Any], Any], value: Any) -> Any:
        made = self._calls
        try:
            return self.once(function, value)
        finally:
            self._operator.counters.retried += self._calls - made

    def _retrying(self, retry: Retry) -> Retrying:
        waits = iter(_waits(retry))
        self._pause(next(waits))
        return Retrying(
            stop=stop_after_attempt(retry.times),
            wait=lambda _: next(waits),
            retry=retry_if_exception(self._passing),
            sleep=self._pause,
            reraise=True,
        )

    def _pause(self, seconds: float) -> None:
        if self.halt.wait(seconds):
            raise FencedError

    def _given_up(self, value: Any, error: Exception, *, orphan: bool) -> Any:
        if isinstance(error, (FencedError, MisuseError)):
            raise error
        if self._on_error == "fail":
            raise _explained(self._operator.place.name, value, error) from error
        if self._on_error != "dead_letter" and not orphan:
            try:
                made = self._operator.accepted(self._on_error(value, error))
            except (FencedError, MisuseError):
                raise
            except Exception as second:  # noqa: BLE001  the record is kept
                error = _twice(error, second)
            else:
                self._operator.counters.degraded += 1
                return made
        self._operator.bury(value, error, self._calls, orphan=orphan)
        return LOST


class Limit:
    """Calls in a thread of their own, left behind when they take too long."""

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds, self._name = seconds, name
        self._calls: queue.SimpleQueue[Any] | None = None

    def call(self, function: Callable[[Any], Any], value: Any) -> Any:
        """`function(value)`; OperatorTimeoutError when it is not back in time."""
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), name=f"sage-{self._name}-timed", daemon=True).start()
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._calls.put((function, value, answer))
        try:
            made, error = answer.get(timeout=self._seconds)
        except queue.Empty:
            self.close()
            raise OperatorTimeoutError(f"{self._name!r} took longer than {self._seconds:g} s") from None
        if error is not None:
            raise error
        return made

    def close(self) -> None:
        """The thread ends with the call it is in."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


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


def _serve(calls: queue.SimpleQueue[Any]) -> None:
    while (call := calls.get()) is not None:
        function, value, answer = call
        try:
            answer.put((function(value), None))
        except BaseException as error:  # noqa: BLE001  it is the caller's
            answer.put((None, error))


def _explained(name: str, value: Any, error: Exception) -> Exception:
    """The error of the job: it names the operator, and a user's the record, too."""
    if isinstance(error, SageError):
        return error if repr(name) in str(error) else type(error)(f"operator {name!r}: {error}")
    return OperatorError(f"operator {name!r} failed on {shown(value)}: {type(error).__name__}: {error}")


def _twice(error: Exception, second: Exception) -> Exception:
    return OperatorError(
        f"its on_error function failed too ({type(second).__name__}: {second}), on {type(error).__name__}: {error}"
    )


def hopeless(error: Exception) -> bool:
    """Whether a new attempt would meet the same error: a mistake in the job, not an accident."""
    return isinstance(error, SageError) and not isinstance(error, (OperatorError, TaskLostError))


def departed(task: str, error: BaseException) -> Exception:
    """What it means for its job that a function raised this: itself, or that sys.exit() was called."""
    if isinstance(error, Exception):
        return error
    return OperatorError(f"a function of {task} left its thread: {type(error).__name__}: {error}")


def shown(value: Any) -> str:
    """A value as a sentence shows it: short and on one line."""
    return " ".join(text_of(value)[:80].split())


def text_of(value: Any) -> str:
    """A value's repr, whatever it is."""
    try:
        return repr(value).encode("utf8", "backslashreplace").decode()
    except Exception as error:  # noqa: BLE001  a value that cannot even be shown
        return f"a {type(value).__name__} (its repr raises {type(error).__name__})"
