"""Where a task's input waits: one bounded channel for each sender, and the word of the coordinator before all."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from sage_nb.stream.batch import FULL, Batch, Item

CONTROL = -1  # the channel number of the coordinator's commands
PATIENCE = 16  # batches that come round a loop before one from outside gets its turn, while a checkpoint waits


class FencedError(Exception):
    """The attempt this belongs to is over."""


class Gate:
    """Channels of one task. Batches wait in their order; a full channel makes its sender wait, signs never do.

    Feedback channels are never full and go first: the inside of a loop is emptied before more comes in.
    One lock guards all; whoever waits has a condition of its own, so that only the one concerned is woken: its reader
    when it has nothing to do, a sender when its channel has room again.
    """

    def __init__(self, channels: int, capacity: int, feedback: Collection[int] = (), *, fencing: bool = True) -> None:
        self.channels, self.capacity, self.feedback = channels, capacity, frozenset(feedback)
        self.attempt = 0
        self.fair = False
        self.full = FULL  # how many records its reader likes in a batch
        self._fencing = fencing
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._freed = [threading.Condition(self._lock) for _ in range(channels)]
        self._reading = False  # whether the reader waits
        self._sending: set[int] = set()  # channels whose sender waits
        self._clear()

    def fence(self, attempt: int) -> None:
        """From now on only that attempt counts; everything that waits is thrown away."""
        with self._lock:
            self.attempt = attempt
            self._clear()
            self._filled.notify_all()
            for freed in self._freed:
                freed.notify_all()

    def push(self, attempt: int, channel: int, item: Item) -> float:
        """Put an item at the end of its channel; returns the seconds waited for room.

        Raises FencedError where another attempt has begun.
        """
        with self._lock:
            full = type(item) is Batch and self._counts[channel] >= self.capacity and channel not in self.feedback
            waited = self._wait_for_room(attempt, channel) if full else 0.0
            if self._stale(attempt):
                raise FencedError
            self._put(channel, item)
            return waited

    def offer(self, attempt: int, channel: int, item: Item) -> int:
        """As `push`, without waiting: the room that is left, 0 or less where the sender should wait for it.

        An attempt that is still to begin here waits until it has: its sender heard of it first.
        """
        with self._lock:
            self._freed[channel].wait_for(lambda: attempt <= self.attempt)
            if self._stale(attempt):
                raise FencedError
            self._put(channel, item)
            return self.capacity - (0 if channel in self.feedback else self._counts[channel])

    def room(self, attempt: int, channel: int) -> int:
        """Waits until there is room in a channel, or another attempt has begun."""
        with self._lock:
            self._wait_for_room(attempt, channel)
            return self.capacity - self._counts[channel]

    def tell(self, attempt: int, command: Any) -> None:
        """A command of the coordinator: it overtakes everything."""
        with self._lock:
            if attempt == self.attempt:
                self._commands.append(command)
                self._filled.notify()

    def take(self, attempt: int, until: float | None) -> tuple[int, Any] | None:
        """The next item with its channel; None when `until` (monotonic seconds; 0: now) has come first.

        Raises FencedError where another attempt has begun.
        """
        with self._lock:
            while True:
                if attempt != self.attempt:
                    raise FencedError
                if self._commands:
                    return CONTROL, self._commands.popleft()
                if queue := self._next():
                    taken = queue.popleft()
                    if type(taken[1]) is Batch:
                        self._leave(taken[0])
                    return taken
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._reading = True
                self._filled.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
                self._reading = False

    def block(self, channel: int) -> None:
        """Hold back what comes on this channel, from its next item on."""
        with self._lock:
            self._blocked.add(channel)
            waiting = list(self._queue)
            self._queue.clear()
            for each in waiting:
                (self._held if each[0] == channel else self._queue).append(each)

    def unblock(self) -> None:
        """Let what was held back come first, channel by channel in its order."""
        with self._lock:
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
        with self._lock:
            queues = (*self._queue, *self._round, *self._held)
            return sum(len(item) for _, item in queues if type(item) is Batch)

    def _put(self, channel: int, item: Item) -> None:
        if channel in self._blocked:
            self._held.append((channel, item))
        elif channel in self.feedback:
            self._round.append((channel, item))
        else:
            self._queue.append((channel, item))
        self._counts[channel] += type(item) is Batch
        if self._reading:
            self._filled.notify()

    def _clear(self) -> None:
        self._counts = [0] * self.channels  # batches that wait, in each
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
        begun = time.monotonic()
        self._sending.add(channel)
        while self._counts[channel] >= self.capacity and not self._stale(attempt):
            self._freed[channel].wait()
        self._sending.discard(channel)
        return time.monotonic() - begun

    def _leave(self, channel: int) -> None:
        self._counts[channel] -= 1
        if channel in self._sending:
            self._freed[channel].notify_all()

    def _next(self) -> deque[tuple[int, Any]] | None:
        if not self._round:
            return self._queue or None
        self._turn += 1
        overdue = self.fair and self._turn % PATIENCE == 0 and bool(self._queue)
        return self._queue if overdue else self._round
