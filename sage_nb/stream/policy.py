"""What becomes of a record that an operator cannot handle: tried again, kept aside, replaced; never lost unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.plain import plain

OnError = Literal["dead_letter", "fail"] | Callable[[Any, Exception], Any]


@dataclass(frozen=True)
class Retry:
    """Try a failing record again, `times` times: after `backoff` seconds, then twice that, up to `longest`.

    `jitter` is the share by which each wait is lengthened at random; `on` are the errors worth another try.

    >>> Retry(3, backoff=0.5).times
    3
    """

    times: int
    backoff: float = 1.0
    longest: float = 60.0
    jitter: float = 0.1
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 1:
            raise BadValueError(f"Retry needs a number of times, 1 or more, got {self.times!r}")
        if min(self.backoff, self.longest, self.jitter) < 0:
            raise BadValueError("Retry's backoff, longest and jitter must be 0 or more")


@dataclass(frozen=True)
class CircuitBreaker:
    """After a share of `failure_rate` of the last `window` calls failed, none is made for `open_for` seconds.

    Records that come meanwhile go the way of `on_error` at once, with a `CircuitOpenError`.
    """

    failure_rate: float = 0.5
    window: int = 20
    open_for: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.failure_rate <= 1 or self.window < 1 or self.open_for <= 0:
            raise BadValueError(
                "a CircuitBreaker needs a failure_rate in (0, 1], a window of 1 call or more and open_for above 0, "
                f"got {self.failure_rate!r}, {self.window!r}, {self.open_for!r}"
            )


@plain
class DeadLetter(msgspec.Struct, frozen=True):
    """A record that an operator could not handle, with the error and how often it was tried."""

    operator: str
    record: Any
    error: str
    attempts: int


@dataclass(frozen=True)
class Batching:
    """A function gets up to `most` records at once, and no record waits longer than `wait` seconds for company."""

    most: int
    wait: float = 0.05

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1 or self.wait < 0:
            raise BadValueError(
                f"batch=(most, wait) needs 1 record or more and 0 seconds or more, got {(self.most, self.wait)!r}"
            )


@dataclass(frozen=True)
class Options:
    """How an operator runs, beside what it does."""

    name: str = ""
    uid: str = ""
    parallelism: int | None = None
    resources: tuple[tuple[str, float], ...] = ()
    retry: Retry | None = None
    breaker: CircuitBreaker | None = None
    timeout: float | None = None
    batch: Batching | None = None
    on_error: OnError = "dead_letter"

    def __post_init__(self) -> None:
        if self.parallelism is not None and (
            isinstance(self.parallelism, bool) or not isinstance(self.parallelism, int) or self.parallelism < 1
        ):
            raise BadValueError(f"parallelism must be a whole number of 1 or more, got {self.parallelism!r}")
        if self.timeout is not None and self.timeout <= 0:
            raise BadValueError(f"timeout must be more than 0 seconds, got {self.timeout!r}")
        if self.on_error not in ("dead_letter", "fail") and not callable(self.on_error):
            raise BadValueError(
                f"on_error must be 'dead_letter', 'fail' or a function of record and error, got {self.on_error!r}"
            )
