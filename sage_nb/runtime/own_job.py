"""A job that this process runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Literal

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.again import Submission, tried_again
from sage_nb.runtime.checkpoint import FolderStore
from sage_nb.runtime.coordinator import Coordinator, Status
from sage_nb.runtime.job import Job, check_stopped
from sage_nb.runtime.letters import Letters, Retried
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.monitor import Monitor, Watched
from sage_nb.runtime.plan import Plan
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder


class OwnJob(Job):
    """A job that this process runs: its coordinator is here, and ends with it."""

    def __init__(
        self,
        plan: Plan,
        coordinator: Coordinator,
        tasks: Sequence[Watched],
        letters: Letters,
        submission: Submission,
    ) -> None:
        super().__init__(plan.graph.name, coordinator.done)
        self.plan, self.tasks = plan, tasks
        self._coordinator, self._letters, self._submission = coordinator, letters, submission
        self._monitor = Monitor(plan, coordinator, tasks, submission.alerts)
        self._retrying = threading.Lock()

    @property
    def status(self) -> Status:
        """As its coordinator says."""
        return self._coordinator.status

    @property
    def error(self) -> Exception | None:
        """As its coordinator says."""
        return self._coordinator.error

    @property
    def restarts(self) -> int:
        """As its coordinator counts."""
        return self._coordinator.restarts

    @property
    def warnings(self) -> list[str]:
        """Those its coordinator has kept."""
        return [*self._coordinator.warnings]

    @property
    def lines(self) -> list[str]:
        """Those its coordinator has kept."""
        return list(self._coordinator.lines)

    def savepoint(self, path: str, timeout: float = 60.0) -> str:
        """A copy of a checkpoint taken now."""
        store = FolderStore(Folder(path))
        if store.holds():
            raise BadValueError(f"there is a savepoint in {path!r} already; give another path, or remove it first")
        try:
            self._coordinator.savepoint(store).result(timeout)
        except FutureTimeoutError as error:
            raise SageError(f"no savepoint was taken in {timeout:g} s; it may still come, or give timeout=") from error
        return path

    def metrics(self) -> JobMetrics:
        """The numbers of its tasks, and its coordinator's."""
        return self._monitor.metrics()

    def letters(self) -> Letters:
        """Those of its folder, or of this process."""
        return self._letters

    def retry(self, letters: Sequence[DeadLetter] | None = None) -> Retried:
        """One call at a time."""
        with self._retrying:
            return tried_again(self._submission, self._letters, letters)

    @property
    def keeps(self) -> bool:
        """Where it was given a checkpoint folder."""
        return isinstance(self._coordinator.store, FolderStore)

    def resume(self) -> Job:
        """Submit it again, with the streams and alerts of this one."""
        check_stopped(self)
        return self._submission.again()

    def cluster(self) -> Any:
        """Its environment's."""
        return self._submission.env.cluster()

    def unbalanced(self) -> list[str]:
        """What does not add up in them."""
        return self._monitor.unbalanced()

    @property
    def _goes_on(self) -> str:
        if self.keeps:
            return "submit it again to go on from its last checkpoint"
        if self.plan.graph.replayable:
            return "a job with checkpoint=… in its environment can be paused and goes on"
        return ""

    def _ask(self, word: Literal["cancel", "pause"]) -> None:
        self._coordinator.cancel() if word == "cancel" else self._coordinator.pause()

    def _at_end(self, call: Callable[[], None]) -> None:
        self._coordinator.on_end.append(call)
