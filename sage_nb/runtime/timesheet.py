"""Where a task's time goes: idle, back-pressured, else busy; and marks of how far it was, to tell rates by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

Rest = Literal["idle", "blocked"]


class Spent(NamedTuple):
    """Seconds of each kind."""

    busy: float
    blocked: float
    idle: float


@dataclass(frozen=True)
class Mark:
    """How far a task was at a moment (monotonic seconds): its time, and records in and out of each operator."""

    attempt: int
    at: float
    spent: Spent
    counts: tuple[tuple[int, int], ...]


class Timesheet:
    """One thread writes it, any may read it: what is under way counts too, so a long wait shows while it lasts.

    >>> sheet = Timesheet()
    >>> sheet.rest("idle")
    >>> sheet.read(time.monotonic() + 5).idle >= 5
    True
    """

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._sheet: tuple[float, float, Rest | None, float] = 0.0, 0.0, None, 0.0

    def rest(self, why: Rest) -> None:
        """From now on it waits."""
        idle, blocked, _, _ = self._sheet
        self._sheet = idle, blocked, why, time.monotonic()

    def work(self, rested: float | None = None) -> None:
        """From now on it is busy; of the time since, it `rested` only so long, where that is known."""
        now = time.monotonic()
        _, _, _, since = self._sheet
        self._sheet = *_added(self._sheet, now if rested is None else since + rested), None, now

    @property
    def blocked_s(self) -> float:
        """Seconds of waiting for room, up to the last time that there was."""
        return self._sheet[1]

    @property
    def blocked_since(self) -> float | None:
        """Since when it waits for room (monotonic seconds)."""
        _, _, why, since = self._sheet
        return since if why == "blocked" else None

    def read(self, now: float) -> Spent:
        """The seconds of each kind up to `now`."""
        idle, blocked = _added(self._sheet, now)
        return Spent(max(0.0, now - self._begun - idle - blocked), blocked, idle)


def _added(sheet: tuple[float, float, Rest | None, float], now: float) -> tuple[float, float]:
    idle, blocked, why, since = sheet
    rested = max(0.0, now - since) if why else 0.0
    return idle + rested * (why == "idle"), blocked + rested * (why == "blocked")
