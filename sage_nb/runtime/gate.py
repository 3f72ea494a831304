"""Where a task's input waits: one bounded channel for each sender, and the word of the coordinator before all."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from sage_nb.stream.batch import Batch, Item

CONTROL = -1  # the channel number of the coordinator's commands
PATIENCE = 16  # batches that come round a loop before one from outside gets its turn, while a checkpoint waits


class FencedError(Exception):
    """The attempt this belongs to is over."""


class Gate:
    """Channels of one task. Batches wait in their order; a full channel makes its sender wait, signs never do.

    Feedback channels are never full and go first: the inside of a loop is emptied before more comes in.
    """

    def __init__(self, channels: int, capacity: int, feedback: Collection[int] = (), *, fencing: bool = True) -> None:
        self.channels, self.capacity, self.feedback = channels, capacity, frozenset(feedback)
        self.attempt = 0
        self.fair = False
        self._fencing = fencing
        self._condition = threading.Condition()
        self._clear()

    def fence(self, attempt: int) -> None:
        """From now on only that attempt counts; everything that waits is thrown away."""
        with self._condition:
            self.attempt = attempt
            self._clear()
            self._condition.notify_all()

    def push(self, attempt: int, channel: int, item: Item) -> float:
        """Put an item at the end of its channel; returns the seconds waited for room.

        Raises FencedError where another attempt has begun.
        """
        with self._condition:
            waited = self._wait_for_room(attempt, channel) if type(item) is Batch else 0.0
            if self._stale(attempt):
                raise FencedError
            if channel in self._blocked:
                self._held.append((channel, item))
            elif channel in self.feedback:
                self._round.append((channel, item))
            else:
                self._queue.append((channel, item))
            self._counts[channel] += 1
            self._condition.notify_all()
            return waited

    def tell(self, attempt: int, command: Any) -> None:
        """A command of the coordinator: it overtakes everything."""
        with self._condition:
            if attempt == self.attempt:
                self._commands.append(command)
                self._condition.notify_all()

    def take(self, attempt: int, until: float | None) -> tuple[int, Any] | None:
        """The next item with its channel; None when `until` (monotonic seconds; 0: now) has come first.

        Raises FencedError where another attempt has begun.
        """
        with self._condition:
            while True:
                if attempt != self.attempt:
                    raise FencedError
                if self._commands:
                    return CONTROL, self._commands.popleft()
                if queue := self._next():
                    channel, item = queue.popleft()
                    self._counts[channel] -= 1
                    self._condition.notify_all()
                    return channel, item
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._condition.wait(left)

    def block(self, channel: int) -> None:
        """Hold back what comes on this channel, from its next item on."""
        with self._condition:
            self._blocked.add(channel)
            waiting = list(self._queue)
            self._queue.clear()
            for each in waiting:
                (self._held if each[0] == channel else self._queue).append(each)

    def unblock(self) -> None:
        """Let what was held back come first, channel by channel in its order."""
        with self._condition:
            self._queue.extendleft(reversed(self._held))
            self._held.clear()
            self._blocked.clear()

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not (self._queue or self._round or self._commands)

    @property
    def fill(self) -> float:
        """The fullest bounded channel's share of its capacity."""
        bounded = [count for at, count in enumerate(self._counts) if at not in self.feedback]
        return max(bounded, default=0) / self.capacity

    @property
    def waiting(self) -> int:
        """Records that wait."""
        with self._condition:
            queues = (*self._queue, *self._round, *self._held)
            return sum(len(item) for _, item in queues if type(item) is Batch)

    def _clear(self) -> None:
        self._counts = [0] * self.channels
        self._queue: deque[tuple[int, Any]] = deque()
        self._round: deque[tuple[int, Any]] = deque()
        self._held: deque[tuple[int, Any]] = deque()
        self._commands: deque[Any] = deque()
        self._blocked: set[int] = set()
        self._turn = 0
        self.fair = False

    def _stale(self, attempt: int) -> bool:
        return attempt < self.attempt and self._fencing

    def _wait_for_room(self, attempt: int, channel: int) -> float:
        if self._counts[channel] < self.capacity or channel in self.feedback:
            return 0.0
        begun = time.monotonic()
        while self._counts[channel] >= self.capacity and not self._stale(attempt):
            self._condition.wait()
        return time.monotonic() - begun

    def _next(self) -> deque[tuple[int, Any]] | None:
        if not self._round:
            return self._queue or None
        self._turn += 1
        overdue = self.fair and self._turn % PATIENCE == 0 and bool(self._queue)
        return self._queue if overdue else self._round
