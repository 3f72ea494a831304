"""Where tests reach into a running job: to fail it at a named point, or to switch a safeguard off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Probe:
    """Does nothing; a test's own overrides `at`. The three switches are for negative controls."""

    alignment: bool = True  # channels wait for the barrier of the others
    fencing: bool = True  # what an earlier attempt still sends is thrown away
    two_phase: bool = True  # sinks show records only once their checkpoint is committed

    def at(self, point: str, where: str) -> None:
        """Called when `where` (an operator's uid, or "coordinator") comes to `point`."""
