"""The detached actor of a durable job: its coordinator lives there, and its tasks' actors belong to it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle

from sage_nb.runtime.letters import Retried
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.operators.guard import MisuseError
from sage_nb.runtime.own_job import OwnJob
from sage_nb.runtime.ray.crew import RemoteTask
from sage_nb.runtime.ray.host import portable
from sage_nb.runtime.ray.pool import POOL
from sage_nb.runtime.ray.registry import REGISTRY
from sage_nb.stream.policy import DeadLetter

TOLD = 15.0  # seconds that it stays once somebody was told the outcome, so that others who watch hear it too
UNTOLD = 86_400.0  # and where nobody was: a day
CLOSING = 10.0  # seconds that the tasks of a job that has ended have to part


@dataclass(frozen=True)
class Report:
    """How a durable job stands; `folder` holds its checkpoints."""

    metrics: JobMetrics
    error: Exception | None
    lines: tuple[str, ...]
    unbalanced: tuple[str, ...]
    folder: str


class Keeper:
    """Submits the job that it is sent, in its own process, and answers for it to whoever asks."""

    def __init__(self, shipped: bytes, going_on: bool) -> None:  # noqa: FBT001  Ray passes it on
        self._shipped = shipped
        self._job: OwnJob | None = None
        self._refusal: Exception | None = None
        self._parted, self._told = threading.Event(), threading.Event()
        try:
            self._submit(shipped, going_on=going_on)
        except Exception as error:  # noqa: BLE001  it is raised by who sent the job
            self._refusal = portable(error, "the job")
            self._told.set()
        threading.Thread(target=self._depart, name="sage-departure", daemon=True).start()

    def refusal(self) -> Exception | None:
        """Why the job could not be submitted; None where it was."""
        return self._refusal

    def report(self) -> Report | None:
        """How the job stands now; None where there is none."""
        job = self._job
        if job is None:
            return None
        error = None if job.error is None else portable(job.error, "the coordinator")
        return Report(job.metrics(), error, tuple(job.lines), tuple(job.unbalanced()), self._folder)

    def outcome(self, wait: float) -> Report | None:
        """How it has ended; None where it has not within `wait` seconds."""
        return self.report() if self._job is not None and self._job.ended.wait(wait) else None

    def cancel(self) -> None:
        """The job's."""
        self._known.cancel()

    def pause(self) -> None:
        """The job's."""
        self._known.pause()

    def savepoint(self, path: str, timeout: float) -> str:
        """The job's."""
        return self._known.savepoint(path, timeout)

    def retry(self, letters: list[DeadLetter] | None) -> Retried:
        """The job's."""
        return self._known.retry(letters)

    def sent(self) -> bytes:
        """What it was sent, for another such actor."""
        return self._shipped

    def told(self) -> None:
        """Somebody knows how the job has ended."""
        self._told.set()

    def parted(self, wait: float) -> bool:
        """Whether nothing of the job is at work any more, or not within `wait` seconds."""
        return self._parted.wait(wait)

    def places(self) -> list[tuple[str, int, Any]]:
        """Operator, subtask and actor of each task at work."""
        return [place for job in REGISTRY.jobs for place in job.places()]

    def place(self) -> tuple[str, int]:
        """The node, and the process on it."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    @property
    def _known(self) -> OwnJob:
        if self._job is None:
            raise MisuseError("there is no job here: it was refused")
        return self._job

    def _submit(self, shipped: bytes, *, going_on: bool) -> None:
        try:
            env, how = cloudpickle.loads(shipped)  # code between our own live processes
        except Exception as error:
            raise MisuseError(
                f"the job cannot be made in its coordinator's process: {type(error).__name__}: {error}; "
                f"what it needs must be there on every node"
            ) from error
        if going_on:
            how |= {"fresh": False, "savepoint": None}
        self._job, self._folder = env.submit(**how), env.checkpointing.folder

    def _depart(self) -> None:
        """When the job has ended and somebody knows how, or nobody has asked for long, this process ends."""
        if self._job is not None:
            self._job.ended.wait()
            for task in self._job.tasks:
                if isinstance(task, RemoteTask):
                    task.gone.wait(CLOSING)
            while (idle := POOL.take()) is not None:  # they would only wait here for a next job that never comes
                ray.kill(idle)
            self._parted.set()
            self._told.wait(UNTOLD)
        time.sleep(TOLD)
        ray.kill(ray.get_runtime_context().current_actor)


GROUPS = {
    "outcome": "outcome",
    "savepoint": "savepoint",
    "retry": "retry",
    **dict.fromkeys(("cancel", "pause"), "stop"),
    **dict.fromkeys(("refusal", "report", "sent", "told", "parted", "places", "place"), "look"),
}
for _name, _group in GROUPS.items():
    ray.method(concurrency_group=_group)(getattr(Keeper, _name))

Detached = ray.remote(
    num_cpus=0,
    max_restarts=0,
    max_task_retries=0,
    concurrency_groups={"outcome": 16, "savepoint": 2, "retry": 1, "stop": 2, "look": 4},
)(Keeper)
