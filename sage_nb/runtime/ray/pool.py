"""Actors that jobs have left, for the next ones: a new process and its imports cost a second or more."""

from __future__ import annotations

import threading
from typing import Any

import ray

KEPT = 16  # actors that wait for work, at the most
ANSWER = 1.0  # seconds within which one that waits for work answers, if it lives


class Pool:
    """Idle actors of the cluster that this process is connected to."""

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._where: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def take(self) -> Any:
        """One that lives, or None."""
        while (actor := self._next()) is not None:
            try:
                ray.get(actor.pid.remote(), timeout=ANSWER)
            except ray.exceptions.RayError:
                continue
            return actor
        return None

    def keep(self, actor: Any) -> bool:
        """Keep one, if there is room."""
        with self._lock:
            self._forget_others()
            if len(self._idle) >= KEPT:
                return False
            self._idle.append(actor)
            return True

    @property
    def idle(self) -> int:
        """How many wait for work."""
        with self._lock:
            self._forget_others()
            return len(self._idle)

    def _next(self) -> Any:
        with self._lock:
            self._forget_others()
            return self._idle.pop() if self._idle else None

    def _forget_others(self) -> None:
        """Those of a cluster that this process has left went with it."""
        context = ray.get_runtime_context()
        where = (context.gcs_address, context.get_job_id())
        if where != self._where:
            self._where, self._idle = where, []


POOL = Pool()
