"""Channels between actors: pushes in order, a few under way at a time, more only as the reader has room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import msgspec
import ray
from ray import cloudpickle

from sage_nb.runtime.gate import FencedError, Gate
from sage_nb.runtime.operators.guard import MisuseError, TaskLostError
from sage_nb.runtime.ray.cluster import Tie
from sage_nb.runtime.wiring import Address
from sage_nb.stream.batch import FULL, Batch, Item

CROWD = 4 * FULL  # records of a push, where its reader is the slower one: three hops took 2.4 times as many a second
WINDOW = 8  # items under way on a channel before a batch waits
ASKED = 4  # of them, the last of which answers for all: an answer costs about as much as the push itself
LOOK = 0.2  # seconds between looks whether the attempt is over, while an answer is under way

Peers = Mapping[tuple[str, int], Any]  # actors by task


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """An item on its way to a channel of a task, as one piece of bytes: Ray handles each argument of a call by itself.

    >>> parcel = Parcel("job", 1, 0, 7, cloudpickle.dumps(Batch([1, 2])))
    >>> Parcel.opened(parcel.sealed()) == parcel, parcel.item.values
    (True, [1, 2])
    """

    job: str
    attempt: int
    channel: int
    number: int  # on its channel, in this attempt
    body: bytes

    def sealed(self) -> bytes:
        """As it is sent."""
        return ENCODER.encode(self)

    @classmethod
    def opened(cls, data: bytes) -> Parcel:
        """As it was sent."""
        return DECODER.decode(data)

    @property
    def item(self) -> Item:
        """What is in it. Raises MisuseError where that cannot be had here, as it could where it came from."""
        try:
            item: Item = cloudpickle.loads(self.body)
        except Exception as error:
            raise MisuseError(
                f"a record cannot be opened in the process that it was sent to: {type(error).__name__}: {error}; "
                "make it of plain data, or run the job in a LocalEnvironment"
            ) from error
        return item


ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Parcel)


class Pushing:
    """The sending end of a channel to another actor. `gate` is the sender's own: it tells when an attempt is over.

    Most pushes have no answer. One that fails is told to the coordinator by the reader, which knows from the numbers
    where one is missing, too.
    """

    def __init__(self, job: str, peers: Peers, gate: Gate, to: Address) -> None:
        self._job, self._peers, self._gate, self._to = job, peers, gate, to
        self._asked: deque[Any] = deque()  # the answers under way
        self._attempt = -1
        self._number = self._landed = 0  # items sent, and of them those known to be in

    @property
    def full(self) -> int:
        """Some full batches: a push costs the same for one record and for many."""
        return CROWD

    def send(self, attempt: int, item: Item) -> float:
        """Push it; waits while as many as may be are under way, or the reader has no room."""
        if attempt != self._attempt:
            self._attempt, self._number, self._landed = attempt, 0, 0
            self._asked.clear()
        begun = time.monotonic()
        while type(item) is Batch and self._number - self._landed >= WINDOW:  # signs never wait
            self._land()
        waited = time.monotonic() - begun
        self._push(self._packed(item))
        self._number += 1
        return waited

    @property
    def _actor(self) -> Any:
        return self._peers[self._to.uid, self._to.subtask]

    def _packed(self, item: Item) -> bytes:
        try:
            body = cloudpickle.dumps(item)
        except Exception as error:
            raise MisuseError(
                f"a record for operator {self._to.uid!r} cannot be sent to another process: "
                f"{type(error).__name__}: {error}; make it of plain data, or run the job in a LocalEnvironment"
            ) from error
        return Parcel(self._job, self._attempt, self._to.channel, self._number, body).sealed()

    def _push(self, parcel: bytes) -> None:
        if self._number % ASKED == ASKED - 1:
            self._asked.append(self._actor.ask.remote(parcel))
        else:
            self._actor.push.remote(parcel)

    def _land(self) -> None:
        """The oldest pushes are in; where the last of them found no room, wait for some."""
        room = self._answer(self._asked.popleft())
        self._landed += ASKED
        if room <= 0:
            self._answer(self._actor.room.remote(self._job, self._attempt, self._to.channel))

    def _answer(self, asked: Any) -> int:
        answers: list[int | None] = []
        while not answers:
            answers = self._look(asked)
        if answers[0] is None:
            raise FencedError
        return answers[0]

    def _look(self, asked: Any) -> list[int | None]:
        """What was answered, or nothing yet."""
        try:
            return [self._come(asked)]
        except ray.exceptions.GetTimeoutError:
            if self._gate.attempt != self._attempt:
                raise FencedError from None
            return []
        except ray.exceptions.RayActorError as lost:
            raise TaskLostError(f"task {self._to.uid}[{self._to.subtask}] cannot be reached any more") from lost

    def _come(self, asked: Any) -> int | None:
        """The room that is left, or None where the attempt is over. Raises GetTimeoutError where it is not here yet."""
        room: int | None = ray.get(asked, timeout=LOOK)
        return room


class HomePushing(Pushing):
    """From the process that submits the job, which may leave the cluster while it runs."""

    def __init__(self, job: str, peers: Peers, gate: Gate, to: Address) -> None:
        super().__init__(job, peers, gate, to)
        self._tie = Tie.now()

    def _push(self, parcel: bytes) -> None:
        self._tie.call(super()._push, parcel)

    def _come(self, asked: Any) -> int | None:
        coming = self._tie.call(asked.future)
        if futures.wait([coming], LOOK).not_done:
            self._tie.check()
            raise ray.exceptions.GetTimeoutError
        room: int | None = self._tie.call(coming.result)
        return room
