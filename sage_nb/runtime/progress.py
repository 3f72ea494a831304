"""The line that shows how a job gets on while someone waits for it."""

from __future__ import annotations

import time

from sage_nb.runtime.metrics import JobMetrics

EVERY = 0.5  # seconds between changes: at 2 Hz


class Progress:
    """A tqdm bar without an end: records at the sinks, how many a second, checkpoints, restarts, dead letters."""

    def __init__(self, metrics: JobMetrics) -> None:
        from tqdm.auto import tqdm  # it loads ipywidgets where they are installed: a tenth of a second

        self._bar = tqdm(desc=metrics.name, unit=" records", initial=_out(metrics), mininterval=0.0, miniters=0)
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for a change."""
        return time.monotonic() >= self._next

    def show(self, metrics: JobMetrics) -> None:
        """Draw it."""
        self._next = time.monotonic() + EVERY
        self._bar.n = _out(metrics)
        self._bar.set_postfix_str(facts(metrics), refresh=False)
        self._bar.refresh()

    def close(self, metrics: JobMetrics) -> None:
        """The last word stays."""
        self.show(metrics)
        self._bar.close()


def facts(metrics: JobMetrics) -> str:
    """What stands behind the count."""
    counts = {
        "checkpoint": metrics.committed,
        "restart": metrics.restarts,
        "dead letter": metrics.dead_letters,
        "warning": metrics.warned,
    }
    return ", ".join([metrics.status, *(counted(count, what) for what, count in counts.items() if count)])


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "restart"), counted(1200, "record")
    ('1 restart', '1,200 records')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _out(metrics: JobMetrics) -> int:
    return sum(each.passed for each in metrics.sinks)
