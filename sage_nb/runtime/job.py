"""A running job, as its owner sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.checkpoint import FolderStore
from sage_nb.runtime.coordinator import Coordinator, Status
from sage_nb.runtime.metrics import JobMetrics, sampled, unbalanced
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.task import Task
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder

LOOK = 0.05  # seconds between looks while waiting, so that the stop button is heard


class Job:
    """A graph at work. It runs by itself; this is the handle."""

    def __init__(
        self, plan: Plan, coordinator: Coordinator, tasks: Sequence[Task], dead: Callable[[], list[DeadLetter]]
    ) -> None:
        self.plan = plan
        self.begun = time.monotonic()
        self._coordinator, self._tasks, self._dead = coordinator, tasks, dead

    def __repr__(self) -> str:
        return f"<Job {self.plan.graph.name!r}: {self.status}>"

    @property
    def status(self) -> Status:
        """running, restarting, finished, failed, cancelled or paused."""
        return self._coordinator.status

    @property
    def restarts(self) -> int:
        """How often it began again after a failure."""
        return self._coordinator.restarts

    @property
    def warnings(self) -> list[str]:
        """What went not as it should and was mended: a damaged checkpoint, one given up."""
        return list(self._coordinator.warnings)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records that an operator could not handle, as far as committed."""
        return self._dead()

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end; gives the status. The stop button pauses the job where its last checkpoint is.

        Raises what made the job fail; TimeoutError when it still runs after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._coordinator.done.wait(LOOK):
                if end is not None and time.monotonic() > end:
                    raise TimeoutError(f"{self!r} is not done after {timeout:g} s; it runs on")
        except KeyboardInterrupt:
            self.pause()
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Status]:
        while not self._coordinator.done.is_set():
            yield from asyncio.sleep(LOOK).__await__()
        return self._outcome()

    def cancel(self) -> None:
        """Stop at once. What was not committed does not show."""
        self._coordinator.cancel()
        self._coordinator.done.wait()

    def pause(self) -> None:
        """Stop at a checkpoint taken now; submitting the job again goes on from there. Without a folder: cancel."""
        self._coordinator.pause()
        self._coordinator.done.wait()

    def savepoint(self, path: str, timeout: float = 60.0) -> str:
        """Keep the job's state under `path` while it runs on; start from it with `submit(savepoint=path)`.

        Raises SageError where it could not be taken, BadValueError where one lies there already.
        """
        store = FolderStore(Folder(path))
        if store.last_number():
            raise BadValueError(f"there is a savepoint in {path!r} already; give another path, or remove it first")
        try:
            self._coordinator.savepoint(store).result(timeout)
        except FutureTimeoutError as error:
            raise SageError(f"no savepoint was taken in {timeout:g} s; it may still come, or give timeout=") from error
        return path

    def metrics(self) -> JobMetrics:
        """Records, times, watermarks and checkpoints so far."""
        now = time.monotonic() if not self._coordinator.done.is_set() else self._coordinator.done_at
        return sampled(
            self.plan.graph,
            self._tasks,
            now,
            status=self.status,
            seconds=now - self.begun,
            restarts=self.restarts,
            checkpoints=tuple(self._coordinator.taken),
        )

    def unbalanced(self) -> list[str]:
        """What does not add up in the records' accounts, a sentence each; of a finished job, nothing ever."""
        held = sum(edge.waiting for task in self._tasks for edge in task.edges)
        return unbalanced(self.plan.graph, self.metrics(), held)

    def _outcome(self) -> Status:
        if self._coordinator.error is not None and self.status == "failed":
            raise self._coordinator.error
        return self.status
