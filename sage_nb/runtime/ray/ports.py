"""Channels between actors: pushes in order, a few under way at a time, more only as the reader has room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import ray

from sage_nb.runtime.gate import FencedError, Gate
from sage_nb.runtime.operators.guard import MisuseError, TaskLostError
from sage_nb.runtime.ray.cluster import Tie
from sage_nb.runtime.wiring import Address
from sage_nb.stream.batch import FULL, Batch, Item

WINDOW = 8  # pushes under way on a channel
LANDED = 4  # of them, whose answers are taken with one call: each call costs a quarter of what a push does
LOOK = 0.2  # seconds between looks whether the attempt is over, while a push is under way

Peers = Mapping[tuple[str, int], Any]  # actors by task


class Pushing:
    """The sending end of a channel to another actor. `gate` is the sender's own: it tells when an attempt is over."""

    def __init__(self, job: str, peers: Peers, gate: Gate, to: Address) -> None:
        self._job, self._peers, self._gate, self._to = job, peers, gate, to
        self._under_way: deque[Any] = deque()
        self._attempt = -1
        self._number = 0

    @property
    def full(self) -> int:
        """As full as may be: a push costs the same for one record and for many."""
        return FULL

    def send(self, attempt: int, item: Item) -> float:
        """Push it; waits while as many as may be are under way, or the reader has no room."""
        if attempt != self._attempt:
            self._attempt, self._number = attempt, 0
            self._under_way.clear()
        begun = time.monotonic()
        while type(item) is Batch and len(self._under_way) >= WINDOW:  # signs never wait
            self._land()
        waited = time.monotonic() - begun
        self._under_way.append(self._push(item))
        self._number += 1
        return waited

    @property
    def _actor(self) -> Any:
        return self._peers[self._to.uid, self._to.subtask]

    def _push(self, item: Item) -> Any:
        try:
            return self._actor.push.remote(self._job, self._attempt, self._to.channel, self._number, item)
        except Exception as error:
            words = str(error).splitlines()[0]
            raise MisuseError(
                f"a record for operator {self._to.uid!r} cannot be sent to another process: {words}; "
                f"make it of plain data, or run the job in a LocalEnvironment"
            ) from error

    def _land(self) -> None:
        """The oldest pushes are in; where the last of them found no room, wait for some."""
        oldest = [self._under_way.popleft() for _ in range(LANDED)]
        if self._answers(oldest)[-1] <= 0:
            self._answers([self._actor.room.remote(self._job, self._attempt, self._to.channel)])

    def _answers(self, references: list[Any]) -> list[int]:
        answers: list[Any] = []
        while not answers:
            answers = self._look(references)
        if None in answers:
            raise FencedError
        return answers

    def _look(self, references: list[Any]) -> list[Any]:
        """What was answered, or nothing yet."""
        try:
            return self._come(references)
        except ray.exceptions.GetTimeoutError:
            if self._gate.attempt != self._attempt:
                raise FencedError from None
            return []
        except ray.exceptions.RayActorError as lost:
            raise TaskLostError(f"task {self._to.uid}[{self._to.subtask}] cannot be reached any more") from lost

    def _come(self, references: list[Any]) -> list[Any]:
        answers: list[Any] = ray.get(references, timeout=LOOK)
        return answers


class HomePushing(Pushing):
    """From the process that submits the job, which may leave the cluster while it runs."""

    def __init__(self, job: str, peers: Peers, gate: Gate, to: Address) -> None:
        super().__init__(job, peers, gate, to)
        self._tie = Tie.now()

    def _push(self, item: Item) -> Any:
        return self._tie.call(super()._push, item)

    def _come(self, references: list[Any]) -> list[Any]:
        coming = [self._tie.call(each.future) for each in references]
        if futures.wait(coming, LOOK).not_done:
            self._tie.check()
            raise ray.exceptions.GetTimeoutError
        return [self._tie.call(each.result) for each in coming]
