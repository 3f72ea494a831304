"""What a task has heard of event time on each of its channels."""

from __future__ import annotations

from collections.abc import Collection

from sage_nb.stream.batch import End, Idle, Sign, Watermark
from sage_nb.stream.time import FOREVER

Heard = tuple[float | None, float]  # the least time of the channels that are not idle (None: all are), and the furthest


class Hearing:
    """Channels with their times; those that have ended no longer count."""

    def __init__(self, channels: Collection[int]) -> None:
        self._times = dict.fromkeys(channels, -FOREVER)
        self.idle: set[int] = set()

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return not self._times

    def note(self, channel: int, sign: Sign) -> None:
        """What a channel says of its time."""
        if isinstance(sign, Watermark):
            self.idle.discard(channel)
            self._times[channel] = sign.time
        elif isinstance(sign, Idle):
            self.idle.add(channel)
        elif isinstance(sign, End):
            self._times.pop(channel, None)

    @property
    def heard(self) -> Heard:
        """How far event time has come; of channels that are over, no more than at the beginning."""
        awake = min((time for at, time in self._times.items() if at not in self.idle), default=None)
        return awake, max(self._times.values(), default=-FOREVER)
