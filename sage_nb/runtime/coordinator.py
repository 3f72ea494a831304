"""The coordinator: one thread that takes checkpoints, notices failures, begins anew, and ends the job."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import FolderStore, PartFile, Restored, Store, part_bytes, part_name
from sage_nb.runtime.messages import Announce, Begin, Close, Committed, Part, Subtask, Trigger
from sage_nb.runtime.operators.guard import hopeless
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import Restart
from sage_nb.runtime.savepoints import Savepoint, Savepoints, given_up
from sage_nb.runtime.taking import Taken, Taking
from sage_nb.runtime.warned import Warnings
from sage_nb.stream.batch import Barrier

LOG = logging.getLogger("sage_nb.runtime")
TICK = 0.2  # seconds between looks at the clock
GRACE, CLOSING = 1.0, 0.5  # seconds that a pause waits for its checkpoint, and an end for what is still to be closed
REMEMBERED = 100  # checkpoints whose figures are kept
LINES = 1000  # of output that are kept
Status = Literal["running", "restarting", "finished", "failed", "cancelled", "paused"]


@dataclass(frozen=True)
class Settings:
    """How a job is watched over."""

    every: float | None
    timeout: float
    restart: Restart
    restored: Restored | None = None


class Coordinator:
    """Runs a job's tasks to their end. Everything it is told goes through one queue, so it needs no locks."""

    def __init__(self, plan: Plan, store: Store | None, settings: Settings, probe: Probe) -> None:
        self.plan, self.store, self.settings, self.probe = plan, store, settings, probe
        self.status: Status = "running"
        self.error: Exception | None = None
        self.done = threading.Event()
        self.done_at = 0.0  # monotonic seconds
        self.restarts = 0
        self.committed_count = 0
        self.taken: deque[Taken] = deque(maxlen=REMEMBERED)
        self.lines: deque[str] = deque(maxlen=LINES)  # that tasks in other processes have printed
        self.warnings = Warnings(settings.restored.warnings if settings.restored else ())
        self.attempt = 0
        self.on_begin: list[Callable[[int], None]] = []  # before an attempt begins, with its number
        self.on_tick: list[Callable[[], None]] = []
        self.on_finish: list[Callable[[], None]] = []  # while who waits for the end still waits
        self.on_end: list[Callable[[], None]] = []
        self._tasks: Sequence[Subtask] = ()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        begun = [store.last_number() if store else 0, settings.restored.checkpoint if settings.restored else 0]
        self._numbers = itertools.count(1 + max(begun))
        self._failures: list[float] = []
        self._ended: set[Subtask] = set()
        self._closed: set[Subtask] = set()
        self._committing: set[Subtask] = set()  # tasks that have yet to hear of the checkpoint a pause waits for
        self._taking: Taking | None = None
        self._resume_at: float | None = None
        self._pausing = 0.0  # since when (monotonic seconds)
        self._ending: Status | None = None  # how it will end: its last checkpoint is committed
        self._next = time.monotonic() + (settings.every or 0.0)
        self._savepoints = Savepoints(plan, self.warnings)
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="sage-checkpoint")

    def start(self, tasks: Sequence[Subtask]) -> None:
        """Begin, in a thread of its own."""
        self._tasks = tasks
        self._begin()
        threading.Thread(target=self._run, name=f"sage-{self.plan.graph.name}-coordinator", daemon=True).start()

    # What tasks say (the Link of a task), from any thread.

    def part(self, attempt: int, task: Subtask, part: Part) -> None:
        """Keep a task's part of a checkpoint.

        It is packed before this returns, in the task's own thread: what it holds is alive, and the next record changes
        it. Only the writing is left to others.
        """
        taking = self._taking
        if taking is not None and taking.number == part.barrier.checkpoint:
            data = None if taking.store is None else part_bytes(part.snapshots)
            self._writers.submit(self._write, attempt, task, part, data)

    def kept(self, attempt: int, task: Subtask, part: Part, file: PartFile) -> None:
        """A task has written its part itself, where the barrier said; the part comes without its snapshots."""
        self._post(attempt, lambda: self._note_kept(task, part, file))

    def unkept(self, attempt: int, checkpoint: int, reason: str) -> None:
        """A task could not write its part itself."""
        self._post(attempt, lambda: self._give_up(checkpoint, reason))

    def ended(self, attempt: int, task: Subtask) -> None:
        """A task has sent its last record."""
        self._post(attempt, lambda: self._note_end(task))

    def closed(self, attempt: int, task: Subtask) -> None:
        """A task has closed what it opened."""
        self._post(attempt, lambda: self._note_closed(task))

    def committed(self, attempt: int, task: Subtask) -> None:
        """A task has done its part of a commit."""
        self._post(attempt, lambda: self._note_committed(task))

    def failed(self, attempt: int, task: Subtask, error: Exception) -> None:
        """A task failed."""
        self._post(attempt, lambda: self._note_failure(task, error))

    # What people say, from any thread.
    def cancel(self) -> None:
        """Stop at once; what was not committed is lost."""
        self._events.put(lambda: self._finish("cancelled"))

    def pause(self) -> None:
        """Stop at a checkpoint taken now."""
        self._events.put(self._pause)

    def savepoint(self, store: Store) -> Future[int]:
        """Take a checkpoint into a store of its own; gives its number."""
        promise = self._savepoints.ask(store)
        self._events.put(self._nothing)
        if self.done.is_set():
            self._savepoints.refuse(self.status)
        return promise

    def _post(self, attempt: int, event: Callable[[], None]) -> None:
        self._events.put(lambda: event() if attempt == self.attempt else None)

    def _run(self) -> None:
        while not self.done.is_set():
            try:
                event: Callable[[], None] = self._events.get(timeout=self._patience())
            except queue.Empty:
                event = self._nothing
            self._guarded(event)
            self._guarded(self._look)
            for look in self.on_tick:
                self._watched(look)
        for last in tuple(self.on_end):
            self._watched(last)

    def _patience(self) -> float:
        """Seconds until something may be due by the clock."""
        due = self._resume_at
        if due is None and self.settings.every and self._taking is None and self._ending is None:
            due = self._next
        return TICK if due is None else min(TICK, max(0.0, due - time.monotonic()))

    def _look(self) -> None:
        """What is due by the clock, or has waited for a checkpoint to end."""
        now = time.monotonic()
        if self._resume_at is not None and now >= self._resume_at:
            self._begin()
        if self._taking is not None:
            if now - self._taking.begun > self.settings.timeout:
                self._give_up(self._taking.number, f"it took longer than {self.settings.timeout:g} s")
        elif self.status == "running" and self._ending is None:
            self._take_next(now)
        if self._pausing and now - self._pausing > GRACE and self._ending != "finished":
            self.warnings.append(
                f"paused before all sinks had committed, which took longer than {GRACE:g} s; the rest shows later"
                if self._ending == "paused"
                else f"paused at the last checkpoint: no new one could be had within {GRACE:g} s"
            )
            self._finish("paused")

    def _take_next(self, now: float) -> None:
        if self._savepoints.wanted:
            savepoint = self._savepoints.wanted.popleft()
            self._take(self.store or savepoint[0], savepoint=savepoint)
        elif len(self._ended) == len(self._tasks):
            self._take(self.store, final=True)
        elif self._pausing or (self.settings.every and now >= self._next):
            self._next = now + (self.settings.every or 0.0)
            self._take(self.store)

    def _nothing(self) -> None:
        """No event."""

    def _guarded(self, event: Callable[[], None]) -> None:
        """A failure of the coordinator's own is a failure of the attempt."""
        if self.done.is_set():
            return
        try:
            event()
        except Exception as error:  # noqa: BLE001  it is handed on
            self._fail(error, "the coordinator")

    def _watched(self, look: Callable[[], None]) -> None:
        """Who only looks on does no harm."""
        try:
            look()
        except Exception:
            LOG.warning("a look at the job %r failed", self.plan.graph.name, exc_info=True)

    def _begin(self) -> None:
        self._resume_at = None
        restored = self._latest()
        saved = restored.saved() if restored else {}
        if self.attempt == 0:
            self._fence()
        for ready in self.on_begin:
            ready(self.attempt)
        self.status = "running"
        for task in self._tasks:
            task.begin(Begin(self.attempt, saved, restored.checkpoint if restored else 0))

    def _latest(self) -> Restored | None:
        if self.attempt == 0:
            return self.settings.restored
        latest = self.store.latest(self.plan.graph, lenient=True) if self.store else None
        if latest is None:
            return self.settings.restored
        for each in latest.warnings:
            self.warnings.once(each)
        return latest

    def _fence(self) -> None:
        self.attempt += 1
        self._savepoints.give()  # what they count on is committed when the next attempt begins
        self._ended.clear()
        self._closed.clear()
        self._ending = None
        for task in self._tasks:
            task.fence(self.attempt)

    def _fail(self, error: Exception, who: str) -> None:
        now = time.monotonic()
        self._failures.append(now)
        self._drop_taking(f"{who} failed")
        delay = None if self.store is None or hopeless(error) else self._delay()
        if delay is None:
            self.error = error
            self._finish("failed")
            return
        LOG.info("%s failed (%s); beginning again in %.2f s", who, error, delay)
        self.status = "restarting"
        self.restarts += 1
        self._fence()
        self._resume_at = now + delay

    def _delay(self) -> float | None:
        try:
            return self.settings.restart.delay(self._failures)
        except Exception:
            LOG.warning("the restart strategy %r failed; giving up", self.settings.restart, exc_info=True)
            return None

    def _take(self, store: Store | None, *, final: bool = False, savepoint: Savepoint | None = None) -> None:
        begun = time.monotonic()
        self._taking = Taking(next(self._numbers), store, begun, set(self._tasks), final, savepoint)
        for task in self._tasks:
            task.tell(self.attempt, Announce())
            task.tell(self.attempt, Trigger(Barrier(self._taking.number, store.url if store else None)))

    def _write(self, attempt: int, task: Subtask, part: Part, data: bytes | None) -> None:
        """In a writer's thread: the part on the disk, then word of it."""
        taking, name = self._taking, part_name(task.uid, task.subtask)
        try:
            file = PartFile(name, 0, 0)
            store = taking.store if taking is not None and taking.number == part.barrier.checkpoint else None
            if data is not None and store is not None:
                self.probe.at("before write", task.uid)
                store.write(part.barrier.checkpoint, name, data)
                self.probe.at("after write", task.uid)
                file = PartFile(name, len(data), zlib.crc32(data))
            self.probe.at("before ack", task.uid)
            self._post(attempt, lambda: self._note_part(task, part, file))
            self.probe.at("after ack", task.uid)
        except OSError as error:
            self.unkept(attempt, part.barrier.checkpoint, f"it could not be written: {error}")
        except Exception as error:  # noqa: BLE001  it is handed on
            self.failed(attempt, task, error)

    def _note_kept(self, task: Subtask, part: Part, file: PartFile) -> None:
        if self._taking is not None and self._taking.number == part.barrier.checkpoint:
            self._taking.check_shared(task, file)
        self._note_part(task, part, file)

    def _note_part(self, task: Subtask, part: Part, file: PartFile) -> None:
        taking = self._taking
        if taking is None or taking.number != part.barrier.checkpoint:
            return
        taking.waiting.discard(task)
        taking.files.append(file)
        taking.aligned_s = max(taking.aligned_s, part.aligned_s)
        if not taking.waiting:
            self._commit(taking)

    def _commit(self, taking: Taking) -> None:
        self.probe.at("before manifest", "coordinator")
        if taking.store is not None:
            try:
                taking.store.commit(taking.manifest(self.plan))
            except OSError as error:
                self._give_up(taking.number, f"it could not be committed: {error}")
                return
        self._taking = None
        self.committed_count += 1
        self.taken.append(taking.taken())
        self._savepoints.copy(taking)
        self.probe.at("after manifest", "coordinator")
        self._ending = "finished" if taking.final else "paused" if self._pausing else None
        self._committing = set(self._tasks)
        self._command(Committed(taking.number))
        if taking.final:
            self._command(Close())

    def _command(self, command: Committed | Close) -> None:
        for task in self._tasks:
            task.tell(self.attempt, command)

    def _drop_taking(self, reason: str) -> Taking | None:
        """Forget the checkpoint under way, if there is one, and say so."""
        taking, self._taking = self._taking, None
        if taking is not None:
            self.warnings.append(f"checkpoint {taking.number} was given up: {reason}")
            if taking.savepoint is not None:
                taking.savepoint[1].set_exception(given_up(reason))
        return taking

    def _give_up(self, number: int, reason: str) -> None:
        """Go on without that checkpoint; but there is no end without a last one."""
        if self._taking is None or self._taking.number != number:
            return
        taking = self._drop_taking(reason)
        if taking is not None and taking.final:
            self.error = SageError(
                f"the last checkpoint was given up: {reason}; make room or mend the folder, and submit again"
            )
            self._finish("failed")

    def _note_end(self, task: Subtask) -> None:
        self._ended.add(task)

    def _note_closed(self, task: Subtask) -> None:
        self._closed.add(task)
        if len(self._closed) == len(self._tasks):
            self._finish("finished")

    def _note_failure(self, task: Subtask, error: Exception) -> None:
        """Once the last checkpoint is committed and shown, what fails is the closing: the records are home."""
        if self._ending == "finished" and task not in self._committing:
            self.warnings.append(f"the job is finished, but {error}")
            self._note_closed(task)
        else:
            self._fail(error, f"{task!r}")

    def _note_committed(self, task: Subtask) -> None:
        self._committing.discard(task)
        if not self._committing:
            self._savepoints.give()
        if self._ending == "paused" and not self._committing:
            self._finish("paused")

    def _pause(self) -> None:
        if self.store is None or not isinstance(self.store, FolderStore):
            self._finish("cancelled")
            return
        self._pausing = time.monotonic()
        if self.status == "restarting":  # there is nothing since the last checkpoint to keep
            self._finish("paused")

    def _finish(self, status: Status) -> None:
        if self.done.is_set():
            return
        self.status = status
        if status != "finished":
            self._drop_taking(f"the job is {status}")
            self._fence()
        for task in self._tasks:
            task.quit()
        end = time.monotonic() + CLOSING
        for task in self._tasks:
            task.gone.wait(max(0.0, end - time.monotonic()))
        self._writers.shutdown(cancel_futures=True)  # nothing of ours is written once another may begin here
        if self.store is not None:
            self.store.release()
        self.done_at = time.monotonic()
        self._savepoints.give()
        for look in self.on_finish if status == "finished" else ():
            self._watched(look)
        self.done.set()
        self._savepoints.refuse(self.status)
