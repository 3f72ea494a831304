"""A running job, as its owner sees it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import Any, Literal

from sage_nb.errors import BadValueError
from sage_nb.records import markup
from sage_nb.runtime.coordinator import Status
from sage_nb.runtime.letters import Letters, Retried
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.panel import summary
from sage_nb.runtime.profile import Profile
from sage_nb.runtime.progress import Progress
from sage_nb.stream.policy import DeadLetter

LOG = logging.getLogger("sage_nb.runtime")
LOOK = 0.05  # seconds between looks while waiting, so that the stop button is heard
SHOWN = 5  # dead letters and warnings of a display


class Job(ABC):
    """A graph at work. It runs by itself; this is the handle.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env = LocalEnvironment("doubles")
    >>> env.from_collection([1, 2]).map(lambda n: 2 * n, name="double").for_each(abs)
    >>> job = env.submit()
    >>> job.wait(), job.metrics().total("double", "received"), job.dead_letters
    ('finished', 2, [])
    >>> job.status, job.error, job.restarts, job.warnings, job.lines, job.unbalanced()
    ('finished', None, 0, [], [], [])
    >>> "sage_" in job.prometheus(), "127.0.0.1" in job.serve_metrics().url, len(job.profile().chains) > 0
    (True, True, True)

    One that does not end by itself:

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.stream.source import IDLE, SourceFunction
    >>> class Ticks(SourceFunction[int]):
    ...     def read(self, split, start):
    ...         yield start
    ...         while True:
    ...             time.sleep(0.01)
    ...             yield IDLE
    >>> with TemporaryDirectory() as folder:
    ...     env = LocalEnvironment("ticks", checkpoint=f"{folder}/checkpoints")
    ...     env.from_source(Ticks()).for_each(abs)
    ...     job = env.submit()
    ...     kept = job.savepoint(f"{folder}/before") == f"{folder}/before"
    ...     job.pause()
    ...     paused, keeps = job.status, job.keeps
    ...     job = job.resume()  # goes on from there
    ...     job.cancel()
    ...     kept, paused, keeps, job.status, job.cluster()
    (True, 'paused', True, 'cancelled', None)

    One whose records cannot be handled, until they can:

    >>> env, table, found = LocalEnvironment("looks-up"), {"a": 1}, []
    >>> env.from_collection(["a", "b"]).map(lambda key: table[key], name="look up").for_each(found.append)
    >>> job = env.submit()
    >>> job.wait(), [letter.record for letter in job.letters()]
    ('finished', ['b'])
    >>> table["b"] = 2
    >>> print(job.retry())
    1 of 1 dead letter went through
    >>> found, job.dead_letters
    ([1, 2], [])
    """

    stays = False  # whether it is there for others when who waits for it has gone: then that does not pause it

    def __init__(self, name: str, ended: threading.Event) -> None:
        self.name = name
        self.ended = ended  # set once it has

    @staticmethod
    def attach(name: str, address: str | None = None) -> Job:
        """The durable job of that name, whoever submitted it; `address` is its cluster's, as for `sage.jobs`.

        Raises UnknownNameError where there is none, ClusterError where there is no cluster.

        >>> Job.attach("clicks", "127.0.0.1:1")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        sage_nb.runtime.ray.cluster.ClusterError: there is no Ray cluster at '127.0.0.1:1'
        """
        from sage_nb.runtime.ray.durable import attached

        return attached(name, address)

    def __repr__(self) -> str:
        metrics = self.metrics()
        return "\n  ".join([f"<Job {summary(metrics)}>", *self._remarks(metrics)])

    def _repr_html_(self) -> str:
        """The metrics, with what went wrong and how it stands below."""
        metrics = self.metrics()
        remarks = "".join(
            f"<div class='sage-quiet mathjax_ignore'>{markup.escape(each).text}</div>"
            for each in self._remarks(metrics)
        )
        letters = [
            (each.operator, f"{each.record!r:.200}", each.error, each.attempts)
            for each in islice(self.letters(), SHOWN)
        ]
        header = ["operator", "record", "error", "attempts"]
        table = markup.table(header, letters, f"dead letters (the first {len(letters)})") if letters else ""
        return f"{metrics._repr_html_()}{remarks}{table}"

    @property
    @abstractmethod
    def status(self) -> Status:
        """running, restarting, finished, failed, cancelled or paused."""

    @property
    @abstractmethod
    def error(self) -> Exception | None:
        """What made it fail, if it has."""

    @property
    @abstractmethod
    def restarts(self) -> int:
        """How often it began again after a failure."""

    @property
    @abstractmethod
    def warnings(self) -> list[str]:
        """What went not as it should and was mended: a damaged checkpoint, one given up, an alert's action.

        Of very many the first and the last hundred are kept, and the number of the others.
        """

    @property
    @abstractmethod
    def lines(self) -> list[str]:
        """What operators in other processes have printed or logged, the last lines of it, each behind its task.

        Those in this process print where it prints.
        """

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records that an operator could not handle, as far as committed, without those that `retry` has settled."""
        return list(self.letters())

    @abstractmethod
    def letters(self) -> Letters:
        """The dead letters, to go through one by one."""

    @abstractmethod
    def retry(self, letters: Sequence[DeadLetter] | None = None) -> Retried:
        """Send dead letters (all that can be) through their operator again, and on to the sinks behind it.

        A small job does so beside this one, with the same code; what fails once more is a dead letter anew. Each counts
        once, unless this process dies between that job's end and the note that they are settled.

        Raises BadValueError where a letter cannot be tried again, and where an operator on the way keeps state.
        """

    @property
    @abstractmethod
    def keeps(self) -> bool:
        """Whether how far it has come lies in a folder, so that it can pause, and go on."""

    @abstractmethod
    def resume(self) -> Job:
        """The job that goes on from where this one has stopped, by its last checkpoint.

        Raises BadValueError where it has not stopped, is finished, or keeps nothing in a folder.
        """

    @abstractmethod
    def cluster(self) -> Any:
        """The cluster it runs on, with its nodes and GPUs; None where it runs in this process."""

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Status:
        """Wait for the end; gives the status. The stop button pauses the job where its last checkpoint is.

        A durable job runs on instead. `progress` shows a line that is drawn anew twice a second. Raises what made the
        job fail; TimeoutError when it still runs after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        bar: Progress | None = None
        try:
            bar = Progress(self.metrics()) if progress else None
            while not self.ended.wait(LOOK):
                if bar is not None and bar.due:
                    bar.show(self.metrics())
                if end is not None and time.monotonic() > end:
                    raise TimeoutError(f"{self.name!r} is not done after {timeout:g} s; it runs on")
        except KeyboardInterrupt:
            if not self.stays:
                self.pause()
            LOG.warning("%s", self._standing(self.metrics()))
        finally:
            if bar is not None:
                bar.close(self.metrics())
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Status]:
        """As `wait`, without holding up the event loop; where the task that awaits is cancelled, the job pauses."""
        try:
            while not self.ended.is_set():
                yield from asyncio.sleep(LOOK).__await__()
        except (asyncio.CancelledError, KeyboardInterrupt):
            if not self.stays:
                self._ask("pause")
            raise
        return self._outcome()

    def cancel(self) -> None:
        """Stop at once. What was not committed does not show."""
        self._ask("cancel")
        self.ended.wait()

    def pause(self) -> None:
        """Stop at a checkpoint taken now; submitting the job again goes on from there. Without a folder: cancel.

        Where none can be taken within a second, since an operator is not done with its records, it stops at the last
        one.
        """
        self._ask("pause")
        self.ended.wait()

    @abstractmethod
    def savepoint(self, path: str, timeout: float = 60.0) -> str:
        """Keep the job's state under `path` while it runs on; start from it with `submit(savepoint=path)`.

        Raises SageError where it could not be taken, BadValueError where one lies there already.
        """

    @abstractmethod
    def metrics(self) -> JobMetrics:
        """Records, times, watermarks and checkpoints so far."""

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
        self._at_end(server.close)
        if self.ended.is_set():
            server.close()
        return server

    @abstractmethod
    def unbalanced(self) -> list[str]:
        """What does not add up in the records' accounts, a sentence each: of a job at work or finished, nothing."""

    @property
    @abstractmethod
    def _goes_on(self) -> str:
        """How it goes on where it is cancelled; "" where it does not."""

    @abstractmethod
    def _ask(self, word: Literal["cancel", "pause"]) -> None:
        """Ask for its end; it is done when it is done."""

    @abstractmethod
    def _at_end(self, call: Callable[[], None]) -> None:
        """Have something called once it has ended, if it has not yet."""

    def _remarks(self, metrics: JobMetrics) -> list[str]:
        left = metrics.warned - SHOWN
        more = [f"… and {left} warnings more"] if left > 0 else []
        standing = [self._standing(metrics)] if metrics.status in ("paused", "failed", "cancelled") else []
        holding = [f"alert: {each}" for each in metrics.alarms if each.until is None]
        return [*standing, *holding, *(f"warning: {each}" for each in metrics.warnings[-SHOWN:]), *more]

    def _standing(self, metrics: JobMetrics) -> str:
        """How a job that was stopped, or is waited for no more, stands, and how it goes on."""
        name, last = self.name, metrics.checkpoints
        if metrics.status == "failed":
            return f"{name!r} failed: {self.error}"
        if metrics.status == "paused" and last:
            return f"{name!r} is paused at checkpoint {last[-1].number}; submit it again to go on from there"
        if metrics.status == "paused":
            return f"{name!r} is paused where it was when it was submitted: no checkpoint was committed since"
        if metrics.status == "cancelled" and self._goes_on:
            return f"{name!r} is cancelled; {self._goes_on}"
        if self.stays and not self.ended.is_set():
            return f"{name!r} is {metrics.status}, and is not stopped by this; pause() or cancel() it"
        return f"{name!r} is {metrics.status}"

    def _outcome(self) -> Status:
        status, error = self.status, self.error
        if error is not None and status == "failed":
            raise error
        return status


def check_stopped(job: Job) -> None:
    """Raise BadValueError where a job cannot go on."""
    if not job.ended.is_set():
        raise BadValueError(f"{job.name!r} is {job.status}; there is nothing to resume before it is paused")
    if job.status == "finished":
        raise BadValueError(f"{job.name!r} is finished; submit it with fresh=True to run it once more")
    if not job.keeps:
        raise BadValueError(f"{job.name!r} keeps nothing to go on from; give its environment checkpoint='a/folder'")
