"""Durable jobs: their coordinator is a detached actor, so that they outlive whoever submitted them."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import ray
from ray._private import worker  # who started the cluster has no public name

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.runtime.coordinator import Status
from sage_nb.runtime.job import Job, check_stopped
from sage_nb.runtime.letters import Letters, Retried
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.ray.cluster import ClusterError, ClusterOptions, connect
from sage_nb.runtime.ray.keeper import CLOSING, Detached, Report
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder

LOG = logging.getLogger("sage_nb.runtime")
NAMESPACE, PREFIX = "sage_nb", "job:"  # of the actors' names
ANSWER = 30.0  # seconds within which a coordinator answers
RETRYING = 3600.0  # and within which it has tried dead letters again
SOON = 2.0  # and within which it answers who only looks around
POLL = 1.0  # seconds that a call waits for the end
LOOK = 0.1  # seconds between looks whether this process is still connected
UNDER_WAY = ("running", "restarting")


class DurableJob(Job):
    """A job whose coordinator lives in an actor of its own. This process only looks on, and so may any other.

    The stop button, or the end of this process, leaves it running. How it has ended can be asked for a day, or until
    shortly after `wait`, `cancel` or `pause` has told somebody.
    """

    stays = True

    def __init__(self, name: str, keeper: Any, report: Report) -> None:
        super().__init__(name, threading.Event())
        self._keeper, self._report = keeper, report
        self._where = _here()
        self._calls: list[Callable[[], None]] = []
        self._shipped = b""  # what it goes on with: its coordinator's process does not stay for long once it has paused
        self._lock = threading.Lock()
        threading.Thread(target=_listen, args=(weakref.ref(self),), name=f"sage-{name}-durable", daemon=True).start()

    @property
    def status(self) -> Status:
        """As its coordinator says; raises ClusterError where this process has left the cluster before the end."""
        status: Status = self._reported().metrics.status  # type: ignore[assignment]  # metrics hold it as a str
        return status

    @property
    def error(self) -> Exception | None:
        """What made it fail, if it has."""
        return self._reported().error

    @property
    def restarts(self) -> int:
        """As its coordinator counts."""
        return self._reported().metrics.restarts

    @property
    def warnings(self) -> list[str]:
        """Those its coordinator has kept."""
        return list(self._reported().metrics.warnings)

    @property
    def lines(self) -> list[str]:
        """Those its coordinator has kept."""
        return list(self._reported().lines)

    def cancel(self) -> None:
        """Stop at once. What was not committed does not show."""
        super().cancel()
        self._tell()

    def pause(self) -> None:
        """Stop at a checkpoint taken now; `resume`, or submitting the job again, goes on from there."""
        self._shipped = self._shipped or (not self.ended.is_set() and self._asked("sent")) or b""
        super().pause()
        self._tell()

    def savepoint(self, path: str, timeout: float = 60.0) -> str:
        """A copy of a checkpoint taken now, in a folder that the coordinator's node sees."""
        if self.ended.is_set() or self._asked("savepoint", Folder(path).absolute, timeout, within=timeout) is None:
            raise SageError(f"no savepoint was taken: the job is {self.status}; take one while it runs")
        return path

    def metrics(self) -> JobMetrics:
        """The numbers of its tasks, and its coordinator's."""
        return self._reported().metrics

    def letters(self) -> Letters:
        """Those in its folder, which must be seen from here."""
        folder = self._reported().folder
        if not Folder(folder).names():
            raise SageError(f"the dead letters of {self.name!r} lie below {folder!r}, which is not seen from here")
        return Letters.below(folder)

    def retry(self, letters: Sequence[DeadLetter] | None = None) -> Retried:
        """In its coordinator's process, where its code is."""
        given = None if letters is None else list(letters)
        retried: Retried | None = self._asked("retry", given, within=RETRYING)
        if retried is None:
            raise self._codeless("try its dead letters again")
        return retried

    @property
    def keeps(self) -> bool:
        """Always."""
        return True

    def resume(self) -> Job:
        """Have it submitted once more by an actor of its own, with the code that was sent the first time."""
        check_stopped(self)
        self._shipped = self._shipped or self._asked("sent") or b""
        if not self._shipped:
            raise self._codeless("go on")
        return submit(self.name, self._shipped, going_on=True)

    def cluster(self) -> Any:
        """The one that this process is connected to."""
        from sage_nb.runtime.ray.status import cluster_status

        return cluster_status()

    def unbalanced(self) -> list[str]:
        """What does not add up in them, once it has ended."""
        return list(self._reported().unbalanced)

    def listen(self) -> bool:
        """Wait a moment for the end; whether there is nothing more to hear."""
        try:
            outcome = self._asked("outcome", POLL)
        except Exception:  # noqa: BLE001  whatever a connection raises that is being ended, or is too slow for now
            if _here() == self._where:
                return False
            outcome = self._report
        if outcome is not None:
            self._end(outcome)
        return self.ended.is_set()

    @property
    def _goes_on(self) -> str:
        return "submit it again to go on from its last checkpoint"

    def _ask(self, word: Literal["cancel", "pause"]) -> None:
        if not self.ended.is_set():
            self._asked(word)

    def _at_end(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def _outcome(self) -> Status:
        self._tell()
        return super()._outcome()

    def _tell(self) -> None:
        """The outcome is known: its coordinator's process need not stay for it."""
        if self.ended.is_set() and _here() == self._where:
            self._keeper.told.remote()

    def _reported(self) -> Report:
        if not self.ended.is_set():
            self._report = self._asked("report") or self._report
        elif self._report.metrics.status in UNDER_WAY:
            raise self._left()
        return self._report

    def _asked(self, method: str, *arguments: Any, within: float = 0.0) -> Any:
        """What its coordinator answers; None where that is gone."""
        if _here() != self._where:
            raise self._left()
        try:
            return _answer(self.name, lambda: getattr(self._keeper, method).remote(*arguments), ANSWER + within)
        except ray.exceptions.ActorDiedError:
            self._end(self._lost())
            return None

    def _end(self, outcome: Report) -> None:
        """The last word of it."""
        with self._lock:
            if self.ended.is_set():
                return
            self._report = outcome
            self.ended.set()
        for call in self._calls:
            call()

    def _lost(self) -> Report:
        error = ClusterError(
            f"the coordinator of the durable job {self.name!r} is gone: it was killed or its node is lost, or the job "
            f"ended and another process was told how; submit it again to go on from its last checkpoint"
        )
        metrics = msgspec.structs.replace(self._report.metrics, status="failed")
        return Report(metrics, error, self._report.lines, (), self._report.folder)

    def _codeless(self, what: str) -> SageError:
        return SageError(
            f"the durable job {self.name!r} cannot {what}: its coordinator is gone, and with it the job's code; submit "
            f"it where that is written"
        )

    def _left(self) -> ClusterError:
        return ClusterError(
            f"this process has left the Ray cluster of the durable job {self.name!r}, which may run on there; connect "
            f"again, and attach to it with Job.attach({self.name!r})"
        )


def jobs(address: str | None = None) -> list[Job]:
    """The durable jobs of a cluster, whoever submitted them, by name.

    Also those that have ended and whose outcome can still be asked for. `address` is the cluster's; None is the one
    this process is connected to, or one that runs on this machine.

    Raises ClusterError where there is none.

    >>> jobs("127.0.0.1:1")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    sage_nb.runtime.ray.cluster.ClusterError: there is no Ray cluster at '127.0.0.1:1'
    """
    _reach(address)
    return [job for name in names() if (job := _found(name)) is not None]


def attached(name: str, address: str | None = None) -> Job:
    """The durable job of that name, as for `Job.attach`.

    Raises UnknownNameError where there is none, ClusterError where there is no cluster.
    """
    _reach(address)
    job = _found(name)
    if job is None:
        raise UnknownNameError.of("durable job", name, [each for each in names() if each != name])
    return job


def names() -> list[str]:
    """Of the durable jobs of the cluster at hand, sorted."""
    held = ray.util.list_named_actors(all_namespaces=True)
    found = [each["name"] for each in held if each["namespace"] == NAMESPACE]
    return sorted(each.removeprefix(PREFIX) for each in found if each.startswith(PREFIX))


def keeper_of(name: str) -> Any:
    """The actor of the durable job of that name; None where there is none."""
    try:
        return ray.get_actor(PREFIX + name, NAMESPACE)
    except ValueError:
        return None


@dataclass(frozen=True)
class Durable:
    """A durable job as it is asked about (an `Employer`): also its coordinator has an actor."""

    name: str
    keeper: Any

    def places(self) -> list[tuple[str, int, Any]]:
        """Operator, subtask and actor of each task that is in one; of one that does not answer, only its own."""
        own = [("coordinator", 0, self.keeper)]
        try:
            return own + ray.get(self.keeper.places.remote(), timeout=SOON)  # type: ignore[no-any-return]
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return own


def employers() -> list[Durable]:
    """The durable jobs of the cluster at hand."""
    return [Durable(name, keeper) for name in names() if (keeper := keeper_of(name)) is not None]


def submit(name: str, shipped: bytes, *, going_on: bool = False) -> Job:
    """Have a job submitted by an actor of its own; `going_on`: from its last checkpoint, however it began.

    Raises what the submission raises; BadValueError where one of that name runs; ClusterError where the cluster ends
    with this process.
    """
    if not going_on:  # what goes on was here before, whoever has started the cluster
        _check_outlives()
    _make_way(name)
    try:
        named = Detached.options(name=PREFIX + name, namespace=NAMESPACE, lifetime="detached")
        keeper = named.remote(shipped, going_on)
    except ValueError as error:  # another process was quicker
        raise _taken(name) from error
    try:
        refusal, report = ray.get([keeper.refusal.remote(), keeper.report.remote()])
    except ray.exceptions.RayError as error:
        ray.kill(keeper)
        raise ClusterError(
            f"the coordinator of the durable job {name!r} did not start: {str(error).splitlines()[0]}; submit it again"
        ) from error
    except BaseException:
        ray.kill(keeper)
        raise
    if refusal is not None:
        ray.kill(keeper)
        raise refusal
    return DurableJob(name, keeper, report)


def _listen(handle: weakref.ref[DurableJob]) -> None:
    """In a thread of its own, for as long as somebody has the handle."""
    over = False
    while not over and (job := handle()) is not None:
        over = job.listen()
        del job


def _reach(address: str | None) -> None:
    connect(ClusterOptions(address if address or ray.is_initialized() else "auto"))


def _here() -> tuple[str, str] | None:
    """The cluster that this process is connected to, and the connection."""
    with suppress(Exception):  # whatever a connection raises that is just being ended
        if ray.is_initialized():
            context = ray.get_runtime_context()
            return context.gcs_address, context.get_job_id()
    return None


def _found(name: str) -> DurableJob | None:
    keeper = keeper_of(name)
    if keeper is None:
        return None
    try:
        report = _answer(name, keeper.report.remote, ANSWER)
    except ray.exceptions.ActorDiedError:
        return None
    return None if report is None else DurableJob(name, keeper, report)


def _answer(name: str, call: Callable[[], Any], within: float) -> Any:
    """What an actor answers. `ray.get` would start a cluster where this process has just left its own.

    Raises ActorDiedError where it is no more, ClusterError where it does not answer within so many seconds.
    """
    end, where = time.monotonic() + within, _here()
    future = call().future()
    while time.monotonic() < end and _here() == where:
        if not wait([future], LOOK).done:
            continue
        error = future.exception()
        if isinstance(error, ray.exceptions.RayTaskError):
            raise error.cause
        if not isinstance(error, ray.exceptions.ActorUnavailableError):
            return future.result()
        time.sleep(LOOK)  # it may be back, or known to be dead, in a moment
        future = call().future()
    raise ClusterError(
        f"the coordinator of the durable job {name!r} did not answer within {within:g} s; ask again: its node may be "
        f"overloaded, or lost"
    )


def _check_outlives() -> None:
    node = worker._global_node  # noqa: SLF001
    if node is not None and node.is_head():
        raise ClusterError(
            "a durable job outlives this process, and the Ray cluster that this process started does not; start one "
            "with `ray start --head` and give its address, or leave durable=True out"
        )


def _make_way(name: str) -> None:
    """A job of that name that has ended, and of which something is still there, goes; one that runs stays."""
    keeper = keeper_of(name)
    if keeper is None:
        return
    with suppress(ray.exceptions.ActorDiedError):
        report = _answer(name, keeper.report.remote, ANSWER)
        if report is not None and report.metrics.status in UNDER_WAY:
            raise _taken(name)
        _answer(name, lambda: keeper.parted.remote(CLOSING), ANSWER)
        ray.kill(keeper)
    end = time.monotonic() + ANSWER
    while keeper_of(name) is not None and time.monotonic() < end:
        time.sleep(LOOK)


def _taken(name: str) -> BadValueError:
    return BadValueError(
        f"a durable job {name!r} is running already; attach to it with Job.attach({name!r}), cancel() it there, or "
        f"give this one another name"
    )
