"""The actor: one task, its gate, and the calls by which it is reached."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from sage_nb import errors
from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import FolderStore, PartFile, part_bytes, part_name
from sage_nb.runtime.gate import FencedError, Gate
from sage_nb.runtime.messages import Begin, Part, Subtask
from sage_nb.runtime.metrics import Measured, measured
from sage_nb.runtime.monitor import SPAN
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.runtime.ray.outbox import OUTBOX, Event, Failed, Kept, Line, Said, Unkept
from sage_nb.runtime.ray.ports import Parcel, Pushing
from sage_nb.runtime.ray.shipping import unpacked
from sage_nb.runtime.timesheet import Mark
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.batch import Batch
from sage_nb.stream.storage import Folder

PACKAGE = str(Path(errors.__file__).parent)  # our own modules are no user's
POLL = 1.0  # seconds after which a call for events returns without any


class Homeward:
    """The link of a task to its coordinator: events, and parts of checkpoints written in a thread of their own."""

    def __init__(self, probe: Any) -> None:
        self._probe = probe
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sage-checkpoint")

    def part(self, attempt: int, task: Subtask, part: Part) -> None:
        """Packed now, written by another thread where the barrier says."""
        data = b"" if part.barrier.where is None else part_bytes(part.snapshots)
        bare = Part(part.barrier, {}, part.aligned_s)
        self._writer.submit(self._keep, attempt, task, bare, data)

    def ended(self, attempt: int, task: Subtask) -> None:  # noqa: ARG002  an outbox has one task
        """It has sent its last record."""
        OUTBOX.put(Said(attempt, "ended"))

    def closed(self, attempt: int, task: Subtask) -> None:  # noqa: ARG002
        """It has closed what it opened."""
        OUTBOX.put(Said(attempt, "closed"))

    def committed(self, attempt: int, task: Subtask) -> None:  # noqa: ARG002
        """It has done its part of a commit."""
        OUTBOX.put(Said(attempt, "committed"))

    def failed(self, attempt: int, task: Subtask, error: Exception) -> None:
        """It failed."""
        OUTBOX.put(Failed(attempt, portable(error, repr(task))))

    def close(self) -> None:
        """Nothing is written any more; what is being written is done first."""
        self._writer.shutdown(cancel_futures=True)

    def _keep(self, attempt: int, task: Subtask, part: Part, data: bytes) -> None:
        file = PartFile(part_name(task.uid, task.subtask), len(data), zlib.crc32(data))
        try:
            self._probe.at("before write", task.uid)
            if part.barrier.where:
                FolderStore(Folder(part.barrier.where)).write(part.barrier.checkpoint, file.name, data)
            self._probe.at("after write", task.uid)
            self._probe.at("before ack", task.uid)
            OUTBOX.put(Kept(attempt, part, file, None if part.barrier.where else data))
            self._probe.at("after ack", task.uid)
        except OSError as error:
            OUTBOX.put(Unkept(attempt, part.barrier.checkpoint, f"it could not be written: {error}"))
        except Exception as error:  # noqa: BLE001  the coordinator decides
            self.failed(attempt, task, error)


class Entrance:
    """Where what others push comes in. Numbers are checked, not trusted."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._attempt = 0  # that the numbers due belong to
        self._due: dict[int, int] = {}

    def push(self, parcel: Parcel) -> int:
        """Into the gate; the room left.

        Raises FencedError where the attempt is over.
        """
        attempt, channel, number = parcel.attempt, parcel.channel, parcel.number
        item = parcel.item
        for piece in item.pieces() if isinstance(item, Batch) else (item,):
            room = self.gate.offer(attempt, channel, piece)
        if attempt != self._attempt:
            self._attempt, self._due = attempt, {}
        due = self._due.get(channel, 0)
        if number != due:
            raise RuntimeError(f"channel {channel}: item {number} came, {due} was due")
        self._due[channel] = number + 1
        return room


class Host:
    """What an actor is: one task at a time. Its calls come in groups, which do not wait for one another."""

    def __init__(self) -> None:
        sys.stdout = sys.stderr = Tee()
        gc.freeze()  # what is imported stays: looked through again and again, it took a tenth of three hops' time
        self._hired = threading.Condition()
        self._job = ""
        self._entrance: Entrance | None = None  # once it is hired
        self._left: set[str] = set()  # jobs that it worked for, of which something may still come in
        self._modules = frozenset(sys.modules)
        self._peers: dict[tuple[str, int], Any] = {}

    def hire(self, job: str, shipped: bytes, uid: str, subtask: int, environment: Mapping[str, str]) -> None:
        """Become the task of a job (its id)."""
        self._job = job
        os.environ.update(environment)
        plan, probe, resources = unpacked(shipped)
        self._peers = {}
        self._link = Homeward(probe)
        wiring = Wiring(plan, self._link, probe, resources)
        chain = plan.named(uid)
        gate, peers = wiring.gate(chain, subtask), self._peers
        self._task = wiring.task(chain, subtask, gate, lambda to: Pushing(job, peers, gate, to))
        self._graph, self._marks = plan.graph, deque[Mark]()
        self._thread = threading.Thread(target=self._task.run, name=f"sage-{self._task!r}", daemon=True)
        self._thread.start()
        with self._hired:
            self._entrance = Entrance(gate)
            self._hired.notify_all()

    def push(self, data: bytes) -> None:
        """An item into the gate, without an answer."""
        self.ask(data)

    def ask(self, data: bytes) -> int | None:
        """An item into the gate; the room left, or None where its attempt, or its job, is over.

        What goes wrong is told to the coordinator from here: most items come without a question.
        """
        parcel = Parcel.opened(data)
        entrance = self._entrance_of(parcel.job)
        try:
            return None if entrance is None else entrance.push(parcel)
        except FencedError:
            return None
        except Exception as error:  # noqa: BLE001  the coordinator decides
            self._link.failed(parcel.attempt, self._task, error)
            return None

    def room(self, job: str, attempt: int, channel: int) -> int | None:
        """Waits until there is room in a channel."""
        entrance = self._entrance_of(job)
        return None if entrance is None else entrance.gate.room(attempt, channel)

    def _entrance_of(self, job: str) -> Entrance | None:
        """Waits until it is hired for that job; None where it has left it."""
        with self._hired:
            self._hired.wait_for(lambda: (job == self._job and self._entrance is not None) or job in self._left)
            return self._entrance if job == self._job else None

    def fence(self, attempt: int) -> None:
        """Only that attempt counts from now on."""
        self._task.fence(attempt)

    def begin(self, peers: Mapping[tuple[str, int], Any], begin: Begin) -> None:
        """Work from a state on, with these peers."""
        self._peers.update(peers)
        self._task.begin(begin)

    def tell(self, attempt: int, command: Any) -> None:
        """A command that overtakes the input."""
        self._task.tell(attempt, command)

    def quit(self, wait: float) -> bool:
        """End the task; whether the actor may be hired again: not where the task hangs, or was never made."""
        if self._entrance is None:
            return False
        self._task.quit()
        self._thread.join(wait)
        self._link.close()
        with self._hired:
            self._left.add(self._job)
            self._job, self._entrance = "", None
            self._hired.notify_all()
        OUTBOX.clear()
        self._forget()
        return not self._thread.is_alive()

    def _forget(self) -> None:
        """Modules of a user's own files: the next job shall have them as they are then."""
        installed = (sys.prefix, sys.base_prefix, PACKAGE)
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not file.startswith(installed):
                del sys.modules[name]

    def events(self, job: str, acknowledged: int) -> tuple[list[Event], Measured] | None:
        """What has happened since the last call, and the task's numbers behind it; None for another job's ears."""
        if self._entrance_of(job) is None:
            return None
        events = OUTBOX.take(acknowledged, POLL)
        now = time.monotonic()
        self._marks.append(self._task.mark(now))
        while len(self._marks) > 2 and now - self._marks[1].at > SPAN:
            self._marks.popleft()
        return events, measured(self._graph, self._task, self._marks[0], now)

    def pid(self) -> int:
        """The process, for whoever wants to know that it lives, or to end it."""
        return os.getpid()

    def place(self) -> tuple[str, int]:
        """The node, and the process on it."""
        return ray.get_runtime_context().get_node_id(), os.getpid()


class Tee:
    """A standard output whose lines go home."""

    encoding = "utf8"

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        """Whole lines are sent."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            OUTBOX.put(Line(line))
        return len(text)

    def flush(self) -> None:
        """A line that is not at its end waits for it."""

    def isatty(self) -> bool:
        """It is not."""
        return False


def portable(error: Exception, who: str) -> Exception:
    """An error that can cross processes: ours as it is, another as its words."""
    if isinstance(error, SageError) and type(error).__module__.startswith("sage_nb."):
        return error
    return OperatorError(f"{who}: {type(error).__name__}: {error}")


GROUPS = {
    "push": "data",
    "ask": "data",
    "room": "room",
    "events": "events",
    "quit": "quit",
    **dict.fromkeys(("pid", "place"), "health"),
    **dict.fromkeys(("hire", "fence", "begin", "tell"), "control"),
}
for _name, _group in GROUPS.items():
    ray.method(concurrency_group=_group, num_returns=0 if _name == "push" else 1)(getattr(Host, _name))

Actor: Any = ray.remote(
    max_restarts=0,
    max_task_retries=0,
    concurrency_groups={"data": 1, "control": 1, "room": 16, "events": 1, "quit": 1, "health": 1},
)(Host)
