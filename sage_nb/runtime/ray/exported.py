"""A job's metrics among Ray's own, so that whatever watches the cluster has them too."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.util.metrics import Gauge

from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.prometheus import families

EVERY = 5.0  # seconds between looks: as often as Prometheus asks, or oftener


class Exported:
    """The names, labels and values of `job.prometheus()`, as gauges of Ray's; its nodes serve them with `ray_` before.

    What only grows is a gauge as well: Ray's counters take differences, and a job that begins again from a checkpoint
    counts on from there. Prometheus' `rate()` does not mind.
    """

    def __init__(self, look: Callable[[], JobMetrics]) -> None:
        self._look = look
        self._due = 0.0  # monotonic seconds
        self._gauges: dict[str, Gauge] = {}

    def tick(self) -> None:
        """Update them, if that is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY
            self.update()

    def update(self) -> None:
        """Those of now."""
        for family in families(self._look()):
            for name, labels, value, *_ in family.samples:
                if name not in self._gauges:
                    self._gauges[name] = Gauge(name, family.documentation, tuple(labels))
                self._gauges[name].set(value, labels)
