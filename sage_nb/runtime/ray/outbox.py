"""What an actor has to say to the process that runs its job: events in order, and records for sinks at home."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle

from sage_nb.runtime.checkpoint import PartFile
from sage_nb.runtime.messages import Part
from sage_nb.runtime.operators.guard import MisuseError
from sage_nb.stream.function import Context
from sage_nb.stream.sink import SinkFunction, TwoPhaseSink


@dataclass(frozen=True)
class Kept:
    """A part of a checkpoint: written where its barrier said, or (`data`) to be kept at home."""

    attempt: int
    part: Part
    file: PartFile
    data: bytes | None = None


@dataclass(frozen=True)
class Unkept:
    """A part of a checkpoint that could not be written."""

    attempt: int
    checkpoint: int
    reason: str


@dataclass(frozen=True)
class Said:
    """One of the words of a task: ended, committed, closed."""

    attempt: int
    word: str


@dataclass(frozen=True)
class Failed:
    """A task failed."""

    attempt: int
    error: Exception


@dataclass(frozen=True)
class Delivery:
    """Records for a sink at home: what to call there, and with what."""

    number: int
    sink: str
    method: str
    payload: bytes


@dataclass(frozen=True)
class Line:
    """Something that was printed or logged."""

    text: str


Event = Kept | Unkept | Said | Failed | Delivery | Line


class Outbox:
    """Events of one actor, taken by a call that waits for the next; deliveries are acknowledged by number."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._numbered = 0
        self._acknowledged = 0
        self._era = 0  # a task's of one job

    def put(self, event: Event) -> None:
        """One more."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def deliver(self, sink: str, method: str, payload: tuple[Any, ...]) -> int:
        """A delivery to a sink at home; its number, for `arrived`.

        Raises MisuseError where it cannot be sent.
        """
        try:
            packed = cloudpickle.dumps(payload)
        except Exception as error:
            raise MisuseError(
                f"a record cannot be sent to the sink's own process: {type(error).__name__}: {error}; "
                f"make it of plain data, or run the job in a LocalEnvironment"
            ) from error
        with self._changed:
            self._numbered += 1
            self._events.append(Delivery(self._numbered, sink, method, packed))
            self._changed.notify_all()
            return self._numbered

    def arrived(self, number: int) -> None:
        """Wait until that delivery, and all before it, have been acknowledged."""
        with self._changed:
            self._changed.wait_for(lambda: self._acknowledged >= number)

    def clear(self) -> None:
        """For a task of another job."""
        with self._changed:
            self._events.clear()
            self._numbered = self._acknowledged = 0
            self._era += 1
            self._changed.notify_all()

    def take(self, acknowledged: int, wait: float) -> list[Event]:
        """All events, as soon as there is one; none where nothing comes within `wait` seconds."""
        with self._changed:
            self._acknowledged = max(self._acknowledged, acknowledged)
            self._changed.notify_all()
            era = self._era
            self._changed.wait_for(lambda: self._events or self._era != era, wait)
            if self._era != era:  # what there is now is for the next job's ears
                return []
            taken = list(self._events)
            self._events.clear()
            return taken


OUTBOX = Outbox()  # an actor process has one task, hence one


class HomeTwoPhase(TwoPhaseSink[Any]):
    """Stands for a two-phase sink at home, which holds what is prepared here: a checkpoint has only its name."""

    def __init__(self, key: str) -> None:
        self._key = key

    def open(self, context: Context, /) -> None:
        """Nothing waits yet."""
        self._subtask = context.subtask
        self._waiting: list[Any] = []

    def write_batch(self, values: Sequence[Any], /) -> None:
        """Kept aside."""
        self._waiting.extend(values)

    def prepare(self, checkpoint: int, /) -> Any:  # noqa: ARG002
        """What waits, under a name of its own, once it is at home."""
        if not self._waiting:
            return None
        name, waiting, self._waiting = uuid.uuid4().hex, self._waiting, []
        self._told("hold", name, self._subtask, waiting)
        return name

    def commit(self, handle: Any, /) -> None:
        """At home, which has it when this returns."""
        self._told("commit", handle)

    def discard(self, checkpoint: int, /) -> None:  # noqa: ARG002
        """What waits, or was prepared and not committed, came after the checkpoint."""
        self._waiting = []
        self._told("drop", self._subtask)

    def _told(self, method: str, *payload: Any) -> None:
        OUTBOX.arrived(OUTBOX.deliver(self._key, method, payload))


class HomeSink(SinkFunction[Any]):
    """Stands for another sink at home: what is written here is written there, and is there at a checkpoint."""

    def __init__(self, key: str, delivery: Any) -> None:
        self._key, self.delivery = key, delivery
        self._last = 0

    def write_batch(self, values: Sequence[Any], /) -> None:
        """Sent home."""
        self._last = OUTBOX.deliver(self._key, "write_batch", (list(values),))

    def flush(self) -> None:
        """All of it is there."""
        OUTBOX.arrived(self._last)
