"""The operators of a task: opened and closed once, set to a state, and each called on its own time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from sage_nb.runtime.messages import Begin
from sage_nb.runtime.operators.running import RECEIVED, Clock, Operator, Saved
from sage_nb.runtime.timesheet import Mark
from sage_nb.stream.time import FOREVER

LOG = logging.getLogger("sage_nb.runtime")


class Fused:
    """Operators with no queue between them."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        self.operators = operators
        self.clock: Clock = operators[0].place.clock
        self._open: list[Operator] = []

    def open(self) -> None:
        """Those that are not open yet."""
        for operator in self.operators:
            if operator not in self._open:
                operator.open()
                self._open.append(operator)

    def restore(self, begin: Begin) -> None:
        """Each as it was."""
        for operator in self.operators:
            operator.restore(begin.saved.get(operator.place.uid, Saved(checkpoint=begin.checkpoint)))
        for operator in self.operators:  # now that those it hands records to know their counts
            operator.restored = {**operator.sent(), RECEIVED: operator.count}

    def each(self, step: Callable[[Operator], object]) -> None:
        """What is no record's doing, with each in turn."""
        for operator in self.operators:
            self.clock.enter(operator.place.uid)
            try:
                step(operator)
            finally:
                self.clock.leave()

    def mark(self, attempt: int, now: float) -> Mark:
        """How far they are; `now` in monotonic seconds."""
        counts = tuple((each.counters.received, each.counters.emitted) for each in self.operators)
        return Mark(attempt, now, self.clock.sheet.read(now), counts)

    def close(self) -> None:
        """Those that are open, the last first."""
        while self._open:
            self._open.pop().shut()

    def abandon(self) -> None:
        """Close them, whatever comes of it; the error that brought us here is the one to tell."""
        while self._open:
            operator = self._open.pop()
            try:
                operator.shut()
            except Exception:
                LOG.warning("closing %r after a failure failed too", operator.place.name, exc_info=True)


def reach(operator: Operator, moment: float) -> None:
    """Event time has come so far, behind all records."""
    operator.flush()
    operator.advance(moment)


def woken(operator: Operator) -> None:
    """Do what was put off until now."""
    now, deadline = time.time(), operator.deadline
    if deadline is not None and deadline <= now:
        operator.wake(now)


def finish(operator: Operator) -> None:
    """All its records have come; once."""
    if not operator.ended:
        reach(operator, FOREVER)
        operator.finish()
        operator.ended = True
