"""Looks at a job's tasks a few times a second, so that what happened in the last second can be told at any time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Protocol, runtime_checkable

from sage_nb.runtime.accounts import comparable, unbalanced
from sage_nb.runtime.alerts import Alert, Watch
from sage_nb.runtime.coordinator import TICK, Coordinator
from sage_nb.runtime.metrics import JobMetrics, Measured, measured
from sage_nb.runtime.operators.running import RECEIVED
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.task import Task
from sage_nb.runtime.timesheet import Mark

SPAN = 1.0  # seconds that rates are told over
LOOKS, REST = 20, 0.02  # a live job's accounts are looked at so often, with so many seconds between


@runtime_checkable
class Reporting(Protocol):
    """A task elsewhere, which tells its numbers itself."""

    @property
    def report(self) -> Measured:
        """The last ones heard."""
        ...

    def mark(self, now: float) -> Mark:
        """Nothing to tell rates by: it does so itself."""
        ...


Watched = Task | Reporting


class Monitor:
    """The numbers of a job, and its alerts."""

    def __init__(self, plan: Plan, coordinator: Coordinator, tasks: Sequence[Watched], alerts: Sequence[Alert]) -> None:
        self._plan, self._coordinator, self._tasks = plan, coordinator, tasks
        self._begun = time.monotonic()
        self._marks: tuple[tuple[Mark, ...], ...] = ()  # the last second's, oldest first
        self._looked = 0.0
        self._watches = [Watch(alert, coordinator.warnings) for alert in alerts]
        coordinator.on_tick.append(self._look)
        coordinator.on_finish.append(self._conclude)
        coordinator.on_end.append(self._alert)

    def _conclude(self) -> None:
        """Say what a person might miss: that nothing was computed, or that nothing came of it."""
        metrics, restored = self.metrics(), self._coordinator.settings.restored
        sources = [each for each in metrics.operators if each.kind == "source"]
        read = sum(each.received for each in sources)
        if restored is not None and not metrics.restarts and read == sum(each.restored[RECEIVED] for each in sources):
            self._coordinator.warnings.append(
                f"nothing was computed: by checkpoint {restored.checkpoint}, from which the job went on, its sources "
                f"had been read to their end; start over with fresh=True"
            )
        elif read and metrics.dead_letters and not any(each.passed for each in metrics.sinks):
            self._coordinator.warnings.append(
                f"nothing came to a sink: of {read} records read, {metrics.dead_letters} became dead letters; look at "
                f"job.dead_letters"
            )

    def metrics(self) -> JobMetrics:
        """All of it now; of a job that has ended, at its end."""
        coordinator = self._coordinator
        now = coordinator.done_at if coordinator.done.is_set() else time.monotonic()
        past = self._marks[0] if self._marks else (None,) * len(self._tasks)
        found = [self._measured(*pair, now) for pair in zip(self._tasks, past, strict=True)]
        return JobMetrics(
            name=self._plan.graph.name,
            status=coordinator.status,
            at=time.time(),
            seconds=now - self._begun,
            restarts=coordinator.restarts,
            committed=coordinator.committed_count,
            operators=tuple(each for _, operators in found for each in operators),
            tasks=tuple(task for task, _ in found),
            checkpoints=tuple(coordinator.taken),
            warnings=tuple(coordinator.warnings),
            warned=coordinator.warnings.count,
            alarms=tuple(sorted((each for watch in self._watches for each in watch.fired), key=attrgetter("since"))),
        )

    def unbalanced(self) -> list[str]:
        """What does not add up. Of a job that was stopped on its way nothing can be said: what was moving comes again.

        A job at work is looked at several times: what is amiss shows each time, what only moves does not. That needs
        numbers of one moment, which tasks elsewhere cannot give while they work.
        """
        if self._coordinator.status == "finished":
            return self._compared([self.metrics()] * 3)
        if any(isinstance(task, Reporting) for task in self._tasks):
            return []
        found: list[str] = []
        for _ in range(LOOKS):
            looks = [self.metrics() for _ in range(3)]
            if looks[-1].status == "finished":
                return self._compared(looks[-1:] * 3)
            if looks[-1].status not in ("running", "restarting"):
                return []
            found = self._compared(looks) if comparable(*looks) else []
            if not found:
                return []
            time.sleep(REST)
        return found

    def _measured(self, task: Watched, past: Mark | None, now: float) -> Measured:
        return task.report if isinstance(task, Reporting) else measured(self._plan.graph, task, past, now)

    def _compared(self, looks: Sequence[JobMetrics]) -> list[str]:
        first, between, last = looks
        return unbalanced(self._plan.graph, self._plan.parallelism(), first, between, last)

    def _look(self) -> None:
        """In the coordinator's thread."""
        now = time.monotonic()
        if now - self._looked < TICK:
            return
        self._looked = now
        marks = (*self._marks, tuple(task.mark(now) for task in self._tasks))
        young = [at for at, each in enumerate(marks) if now - each[0].at <= SPAN]
        self._marks = marks[max(0, young[0] - 1) :]
        self._alert()

    def _alert(self) -> None:
        if self._watches:
            metrics = self.metrics()
            for watch in self._watches:
                watch.look(metrics)
