"""The jobs that this process runs on Ray, for whoever asks what is going on."""

from __future__ import annotations

import threading
from typing import Any, Protocol


class Employer(Protocol):
    """A job at work, as it is asked about."""

    @property
    def name(self) -> str:
        """The job's."""
        ...

    def places(self) -> list[tuple[str, int, Any]]:
        """Operator, subtask and actor of each task that is in one."""
        ...


class Registry:
    """Jobs from their first actor to their last."""

    def __init__(self) -> None:
        self._jobs: list[Employer] = []
        self._lock = threading.Lock()

    def enter(self, job: Employer) -> None:
        """It has actors from now on."""
        with self._lock:
            self._jobs.append(job)

    def leave(self, job: Employer) -> None:
        """It has none any more."""
        with self._lock:
            self._jobs.remove(job)

    @property
    def jobs(self) -> list[Employer]:
        """Those at work, the oldest first."""
        with self._lock:
            return list(self._jobs)


REGISTRY = Registry()
