"""What becomes of a record that an operator cannot handle: tried again, kept aside, replaced; never lost unseen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import msgspec

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.plain import plain
from sage_nb.stream.check import callable_with

OnError = Literal["dead_letter", "fail"] | Callable[[Any, Exception], Any]
Parallelism = int | Literal["auto"]  # subtasks; "auto": as many as fill what the environment has
Resources = tuple[tuple[str, float], ...]  # what an operator asks for, by name


@dataclass(frozen=True)
class Retry:
    """Try a failing record again, `times` times: after `backoff` seconds, then twice that, up to `longest`.

    `jitter` is the share by which each wait is lengthened at random; `on` are the errors worth another try. A call that
    failed may have changed keyed state already: a function that is retried changes it last.

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
        for name in ("backoff", "longest", "jitter"):
            _seconds(f"Retry's {name}", getattr(self, name), least=0)
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise BadValueError(f"Retry(on=…) takes classes of errors, such as (TimeoutError,), got {self.on!r:.60}")
        object.__setattr__(self, "on", kinds)


@dataclass(frozen=True)
class CircuitBreaker:
    """After a share of `failure_rate` of the last `window` calls failed, none is made for `open_for` seconds.

    Records that come meanwhile go the way of `on_error` at once, with a `CircuitOpenError`.

    >>> CircuitBreaker(failure_rate=0.5, window=10, open_for=60).open_for
    60
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
class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that an operator could not handle, with the error and how often it was tried (0: never, circuit open).

    `final` says why it cannot go through its operator again; "" where it can: `job.retry()`.

    >>> DeadLetter("parse", "{", "ValueError: no JSON", 3).attempts
    3
    """

    operator: str
    record: Any
    error: str
    attempts: int
    final: str = ""


@dataclass(frozen=True)
class Batching:
    """A function gets up to `most` records at once, and no record waits longer than `wait` seconds for company."""

    most: int
    wait: float = 0.05

    def __post_init__(self) -> None:
        whole = isinstance(self.most, int) and not isinstance(self.most, bool)
        number = isinstance(self.wait, (int, float)) and not isinstance(self.wait, bool)
        if not (whole and number and self.most >= 1 and self.wait >= 0):
            raise BadValueError(
                f"batch=(most, wait) needs 1 record or more and 0 seconds or more, got {(self.most, self.wait)!r}"
            )

    @classmethod
    def of(cls, given: object) -> Batching:
        """What `batch=` was given: a number of records, or that and the seconds to wait."""
        parts = given if isinstance(given, (tuple, list)) else (given,)
        if not 1 <= len(parts) <= 2:
            raise BadValueError(f"batch= takes a number of records, or (most, wait), got {given!r:.60}")
        return cls(*parts)


RESOURCES = ("memory", "num_cpus", "num_gpus")  # those that Ray knows; others are a cluster's own


@dataclass(frozen=True)
class Options:
    """How an operator runs, beside what it does.

    Operators of one `together` (any name) run side by side on Ray: subtask 0 of each on one node, subtask 1 of each,
    and so on, out of one reservation of what they all ask for. Elsewhere they are in one process as it is.
    """

    name: str = ""
    uid: str = ""
    parallelism: Parallelism | None = None
    resources: Resources = ()
    together: str = ""
    retry: Retry | None = None
    breaker: CircuitBreaker | None = None
    timeout: float | None = None
    batch: Batching | None = None
    on_error: OnError = "dead_letter"

    def __post_init__(self) -> None:
        many = self.parallelism
        whole = isinstance(many, int) and not isinstance(many, bool)
        if many not in (None, "auto") and not (whole and many >= 1):  # type: ignore[operator]
            raise BadValueError(f'parallelism must be a whole number of 1 or more, or "auto", got {many!r}')
        if self.timeout is not None:
            _seconds("timeout", self.timeout)
        kinds = {"name": str, "uid": str, "together": str, "retry": Retry, "breaker": CircuitBreaker}
        for name, kind in kinds.items():
            given = getattr(self, name)
            if given is not None and not isinstance(given, kind):
                raise BadValueError(f"{name} must be a {kind.__name__}, got {given!r:.60}")
        if callable(self.on_error):
            callable_with(self.on_error, 2, "on_error=")
        elif self.on_error not in ("dead_letter", "fail"):
            raise BadValueError(
                f"on_error must be 'dead_letter', 'fail' or a function of record and error, got {self.on_error!r:.60}"
            )
        _check_resources(self.resources)


def _check_resources(resources: tuple[tuple[str, float], ...]) -> None:
    for name, amount in resources:
        near = get_close_matches(str(name), RESOURCES, n=1, cutoff=0.6)
        if not isinstance(name, str) or (name not in RESOURCES and near):
            raise UnknownNameError.of("resource", str(name), RESOURCES)
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
            raise BadValueError(f"resources={{{name!r}: …}} must be a number of 0 or more, got {amount!r:.60}")


def _seconds(what: str, given: object, least: float | None = None) -> None:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not number or not (given > 0 if least is None else given >= least):  # type: ignore[operator]
        raise BadValueError(
            f"{what} must be {'more than 0' if least is None else '0 or more'} seconds, got {given!r:.60}"
        )
