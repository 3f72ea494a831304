"""A running job, as its owner sees it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import islice
from typing import Any

from sage_nb.errors import BadValueError, SageError
from sage_nb.records import markup
from sage_nb.runtime.alerts import Alert
from sage_nb.runtime.checkpoint import FolderStore
from sage_nb.runtime.coordinator import Coordinator, Status
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.monitor import Monitor, Watched
from sage_nb.runtime.panel import summary
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.profile import Profile
from sage_nb.runtime.progress import Progress
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder

LOG = logging.getLogger("sage_nb.runtime")
LOOK = 0.05  # seconds between looks while waiting, so that the stop button is heard
SHOWN = 5  # dead letters and warnings of a display


class Job:
    """A graph at work. It runs by itself; this is the handle.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env = LocalEnvironment("doubles")
    >>> env.from_collection([1, 2]).map(lambda n: 2 * n, name="double").for_each(abs)
    >>> job = env.submit()
    >>> job.wait(), job.metrics().total("double", "received"), job.dead_letters
    ('finished', 2, [])
    """

    def __init__(
        self,
        plan: Plan,
        coordinator: Coordinator,
        tasks: Sequence[Watched],
        dead: Callable[[], Iterator[DeadLetter]],
        alerts: Sequence[Alert] = (),
    ) -> None:
        self.plan, self.tasks = plan, tasks
        self._coordinator, self._dead = coordinator, dead
        self._monitor = Monitor(plan, coordinator, tasks, alerts)

    def __repr__(self) -> str:
        return "\n  ".join([f"<Job {summary(self.metrics())}>", *self._remarks()])

    def _repr_html_(self) -> str:
        """The metrics, with what went wrong and how it stands below."""
        remarks = "".join(f"<div class='sage-quiet'>{markup.escape(each).text}</div>" for each in self._remarks())
        letters = [
            (each.operator, f"{each.record!r:.200}", each.error, each.attempts) for each in islice(self._dead(), SHOWN)
        ]
        header = ["operator", "record", "error", "attempts"]
        table = markup.table(header, letters, f"dead letters (the first {len(letters)})") if letters else ""
        return f"{self.metrics()._repr_html_()}{remarks}{table}"

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
        """What went not as it should and was mended: a damaged checkpoint, one given up, an alert's action.

        Of very many the first and the last hundred are kept, and the number of the others.
        """
        return [*self._coordinator.warnings]

    @property
    def lines(self) -> list[str]:
        """What operators in other processes have printed or logged, the last lines of it, each behind its task.

        Those in this process print where it prints.
        """
        return list(self._coordinator.lines)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records that an operator could not handle, as far as committed."""
        return list(self._dead())

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Status:
        """Wait for the end; gives the status. The stop button pauses the job where its last checkpoint is.

        `progress` shows a line that is drawn anew twice a second. Raises what made the job fail; TimeoutError when it
        still runs after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        bar = Progress(self.metrics()) if progress else None
        try:
            while not self._coordinator.done.wait(LOOK):
                if bar is not None and bar.due:
                    bar.show(self.metrics())
                if end is not None and time.monotonic() > end:
                    raise TimeoutError(f"{self.plan.graph.name!r} is not done after {timeout:g} s; it runs on")
        except KeyboardInterrupt:
            self.pause()
            LOG.warning("%s", self._standing())
        finally:
            if bar is not None:
                bar.close(self.metrics())
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Status]:
        """As `wait`, without holding up the event loop; where the task that awaits is cancelled, the job pauses."""
        try:
            while not self._coordinator.done.is_set():
                yield from asyncio.sleep(LOOK).__await__()
        except (asyncio.CancelledError, KeyboardInterrupt):
            self._coordinator.pause()
            raise
        return self._outcome()

    def cancel(self) -> None:
        """Stop at once. What was not committed does not show."""
        self._coordinator.cancel()
        self._coordinator.done.wait()

    def pause(self) -> None:
        """Stop at a checkpoint taken now; submitting the job again goes on from there. Without a folder: cancel.

        Where none can be taken within a second, since an operator is not done with its records, it stops at the last
        one.
        """
        self._coordinator.pause()
        self._coordinator.done.wait()

    def savepoint(self, path: str, timeout: float = 60.0) -> str:
        """Keep the job's state under `path` while it runs on; start from it with `submit(savepoint=path)`.

        Raises SageError where it could not be taken, BadValueError where one lies there already.
        """
        store = FolderStore(Folder(path))
        if store.holds():
            raise BadValueError(f"there is a savepoint in {path!r} already; give another path, or remove it first")
        try:
            self._coordinator.savepoint(store).result(timeout)
        except FutureTimeoutError as error:
            raise SageError(f"no savepoint was taken in {timeout:g} s; it may still come, or give timeout=") from error
        return path

    def metrics(self) -> JobMetrics:
        """Records, times, watermarks and checkpoints so far."""
        return self._monitor.metrics()

    def profile(self) -> Profile:
        """Where the time of its tasks went so far."""
        return Profile.of(self.metrics())

    def prometheus(self) -> str:
        """The metrics in Prometheus' text format."""
        from sage_nb.runtime.prometheus import exposition

        return exposition(self.metrics())

    def serve_metrics(self, port: int = 0, host: str = "127.0.0.1") -> Any:
        """Answer Prometheus at `.url` until the job ends, or `.close()`; port 0 is any that is free.

        Raises BadValueError where the port is taken.
        """
        from sage_nb.runtime.prometheus import MetricsServer

        server = MetricsServer(self.metrics, port, host)
        self._coordinator.on_end.append(server.close)
        if self._coordinator.done.is_set():
            server.close()
        return server

    def unbalanced(self) -> list[str]:
        """What does not add up in the records' accounts, a sentence each: of a job at work or finished, nothing."""
        return self._monitor.unbalanced()

    def _remarks(self) -> list[str]:
        warnings = self.warnings
        left = self._coordinator.warnings.count - SHOWN
        more = [f"… and {left} warnings more"] if left > 0 else []
        standing = [self._standing()] if self.status in ("paused", "failed", "cancelled") else []
        return [*standing, *(f"warning: {each}" for each in warnings[-SHOWN:]), *more]

    def _standing(self) -> str:
        """How a job that was stopped stands, and how it goes on."""
        name, last = self.plan.graph.name, self._coordinator.taken
        if self.status == "failed":
            return f"{name!r} failed: {self._coordinator.error}"
        if self.status == "paused" and last:
            return f"{name!r} is paused at checkpoint {last[-1].number}; submit it again to go on from there"
        if self.status == "paused":
            return f"{name!r} is paused where it was when it was submitted: no checkpoint was committed since"
        if self.status == "cancelled" and isinstance(self._coordinator.store, FolderStore):
            return f"{name!r} is cancelled; submit it again to go on from its last checkpoint"
        if self.status == "cancelled" and self.plan.graph.replayable:
            return f"{name!r} is cancelled; a job with checkpoint=… in its environment can be paused and goes on"
        return f"{name!r} is {self.status}"

    def _outcome(self) -> Status:
        if self._coordinator.error is not None and self.status == "failed":
            raise self._coordinator.error
        return self.status
