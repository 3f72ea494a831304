"""Restart strategies: after a failure, whether to begin again and when (Flink's names)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sage_nb.errors import BadValueError


class Restart(Protocol):
    """Says when to begin again."""

    def delay(self, failures: Sequence[float]) -> float | None:
        """Seconds to wait after the last of these failures (monotonic seconds, oldest first); None to give up."""
        ...


@dataclass(frozen=True)
class NoRestart:
    """The first failure is the job's.

    >>> NoRestart().delay([0.0]) is None
    True
    """

    def delay(self, failures: Sequence[float]) -> float | None:  # noqa: ARG002
        """Never."""
        return None


@dataclass(frozen=True)
class FixedDelay:
    """Up to `attempts` times, `seconds` after each failure.

    >>> [FixedDelay(2, 1.0).delay(failures) for failures in ([0.0], [0.0, 5.0], [0.0, 5.0, 9.0])]
    [1.0, 1.0, None]
    """

    attempts: int = 3
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.seconds < 0:
            raise BadValueError(f"FixedDelay needs 1 attempt or more and 0 seconds or more, got {self}")

    def delay(self, failures: Sequence[float]) -> float | None:
        """As long as attempts are left."""
        return self.seconds if len(failures) <= self.attempts else None


@dataclass(frozen=True)
class FailureRate:
    """As long as no more than `failures` fall into `interval` seconds, `seconds` after each.

    >>> FailureRate(1, interval=10).delay([0.0, 20.0]), FailureRate(1, interval=10).delay([15.0, 20.0])
    (1.0, None)
    """

    failures: int = 3
    interval: float = 60.0
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.interval <= 0 or self.seconds < 0:
            raise BadValueError(
                f"FailureRate needs 1 failure or more, an interval above 0 and 0 seconds or more, got {self}"
            )

    def delay(self, failures: Sequence[float]) -> float | None:
        """While the rate holds."""
        recent = [at for at in failures if failures[-1] - at < self.interval]
        return self.seconds if len(recent) <= self.failures else None


@dataclass(frozen=True)
class ExponentialDelay:
    """Always, after `initial` seconds, then `factor` times longer up to `longest`; a calm spell starts it over.

    >>> ExponentialDelay(jitter=0).delay([0.0, 1.0, 3.0])
    2.25
    """

    initial: float = 1.0
    longest: float = 60.0
    factor: float = 1.5
    jitter: float = 0.1
    calm: float = 3600.0

    def __post_init__(self) -> None:
        if not (0 < self.initial <= self.longest and self.factor >= 1 and self.jitter >= 0 and self.calm > 0):
            raise BadValueError(
                f"ExponentialDelay needs initial above 0 and up to longest, a factor of 1 or more, "
                f"jitter of 0 or more and calm above 0, got {self}"
            )

    def delay(self, failures: Sequence[float]) -> float | None:
        """Longer with each failure since the last calm spell."""
        run = 1
        for later, earlier in zip(reversed(failures), reversed(failures[:-1]), strict=False):
            if later - earlier >= self.calm:
                break
            run += 1
        wait = self.initial
        while run > 1 and wait < self.longest:
            run, wait = run - 1, wait * self.factor
        return min(wait, self.longest) * (1 + self.jitter * random.random())
