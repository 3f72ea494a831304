"""A job of one task, in the thread that wants it done: what its coordinator would say is said at once."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sage_nb.runtime.messages import Begin, Close, Committed, Part, Subtask, Trigger
from sage_nb.runtime.task import Task
from sage_nb.stream.batch import Barrier

LOG = logging.getLogger("sage_nb.runtime")
ATTEMPT = CHECKPOINT = 1  # the only ones


class Alone:
    """The coordinator (the Link) of a task that has no others beside it, and keeps nothing."""

    def __init__(self) -> None:
        self._home = False  # whether its records are
        self._error: BaseException | None = None

    def work_through(self, task: Task) -> None:
        """From the task's first record to its closing.

        Raises what made it fail. The stop button ends it.
        """
        task.fence(ATTEMPT)
        task.begin(Begin(ATTEMPT, {}))
        with _outside_the_event_loop():
            task.run()
        if self._error is not None:
            raise self._error

    def ended(self, attempt: int, task: Subtask) -> None:
        """The last checkpoint follows, for sinks to show what they have."""
        task.tell(attempt, Trigger(Barrier(CHECKPOINT)))

    def part(self, attempt: int, task: Subtask, part: Part) -> None:
        """There is nothing to wait for."""
        task.tell(attempt, Committed(part.barrier.checkpoint))
        task.tell(attempt, Close())

    def committed(self, attempt: int, task: Subtask) -> None:  # noqa: ARG002
        """What fails from now on is the closing."""
        self._home = True

    def closed(self, attempt: int, task: Subtask) -> None:  # noqa: ARG002
        """That is all."""
        task.quit()

    def failed(self, attempt: int, task: Subtask, error: Exception) -> None:  # noqa: ARG002
        """So does the job, unless its records are home; the stop button is no failure of a function."""
        stopped = sys.exc_info()[1]
        if isinstance(stopped, KeyboardInterrupt):
            self._error = stopped
        elif self._home:
            LOG.warning("the job is finished, but %s", error)
        else:
            self._error = error
        task.quit()


@contextmanager
def _outside_the_event_loop() -> Iterator[None]:
    """As in a thread of a job: a notebook's cells run in an event loop, in which no function could `asyncio.run`."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  asyncio's own, for those who extend it
    task = None if loop is None else asyncio.current_task()
    if loop is not None and task is not None:
        asyncio.tasks._leave_task(loop, task)  # noqa: SLF001
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001
        if loop is not None and task is not None:
            asyncio.tasks._enter_task(loop, task)  # noqa: SLF001
