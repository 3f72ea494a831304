"""Alert rules: a metric, a comparison, a number, and for how long; checked when written, watched while the job runs."""

from __future__ import annotations

import logging
import operator
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.runtime.metrics import Alarm, JobMetrics
from sage_nb.runtime.warned import Warnings
from sage_nb.stream.graph import Graph

LOG = logging.getLogger("sage_nb.runtime")
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
COUNTS = (
    *("received", "emitted", "passed", "filtered", "late", "dead", "degraded", "orphaned", "retried", "dead_letters"),
    *("waiting", "received_per_s", "emitted_per_s", "self_s", "model_s"),
)  # of an operator: the sum over its subtasks
FIRED = 20  # alarms of an alert that are kept
LEVELS = ("mean_batch", "lag_s")  # of each of its subtasks
TASK = ("queue_fill", "queued", "busy_ms_per_s", "backpressured_ms_per_s", "idle_ms_per_s")  # of its task
JOB: Mapping[str, Callable[[JobMetrics], float | None]] = {
    "restarts": lambda metrics: metrics.restarts,
    "warnings": lambda metrics: metrics.warned,
    "checkpoint_s": lambda metrics: metrics.checkpoints[-1].seconds if metrics.checkpoints else None,
    "checkpoint_bytes": lambda metrics: metrics.checkpoints[-1].bytes if metrics.checkpoints else None,
    "checkpoint_aligned_s": lambda metrics: metrics.checkpoints[-1].aligned_s if metrics.checkpoints else None,
    "checkpoint_age_s": lambda metrics: metrics.at - metrics.checkpoints[-1].at if metrics.checkpoints else None,
}
NAMES = frozenset({*COUNTS, *LEVELS, *TASK, *JOB})
RULE = re.compile(
    r"""\s*(?P<metric>\w+)
        (?:\s+of\s+(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'))?
        \s*(?P<compare>>=|<=|==|!=|>|<)
        \s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
        (?:\s+for\s+(?P<seconds>\d+\.?\d*)\s*s)?\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Alert:
    """Calls `action(alarm)` when a rule begins to hold, and again only after it has ceased to.

    A rule is `metric [of "operator"] comparison number [for seconds s]`; without an operator it is watched on each.
    Metrics are those of `job.metrics()`: records over all subtasks of an operator, levels on any of them. The action
    runs in a thread of its own; what it raises shows in `job.warnings`. Submit with `env.submit(alerts=[…])`.

    >>> Alert("queue_fill > 0.9 for 10s", print).seconds
    10.0
    >>> Alert('dead of "parse" >= 100', print).operator
    'parse'
    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env = LocalEnvironment("words")
    >>> env.from_collection(["a", "b"]).map(str.upper, name="upper").for_each(len)
    >>> job = env.submit()
    >>> _ = job.wait()
    >>> busy = Alert('received of "upper" >= 2', print)
    >>> dict(busy.values(job.metrics())), busy.holds(2), busy.holds(1)
    ({'upper': 2}, True, False)
    """

    rule: str
    action: Callable[[Alarm], object]
    metric: str = field(init=False)
    operator: str = field(init=False)
    compare: str = field(init=False)
    number: float = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        found = RULE.fullmatch(self.rule) if isinstance(self.rule, str) else None
        if found is None:
            raise BadValueError(
                f"the alert rule {self.rule!r:.80} cannot be read; write a metric, a comparison and a number, such as "
                f'queue_fill > 0.9 for 10s, or dead of "parse" >= 100'
            )
        if not callable(self.action):
            raise BadValueError(f"the alert {self.rule!r} needs a function to call, got {self.action!r:.60}")
        if found["metric"] not in NAMES:
            raise UnknownNameError.of("metric", found["metric"], NAMES)
        given = found["double"] or found["single"] or ""
        if given and found["metric"] in JOB:
            raise BadValueError(f"{found['metric']} is the whole job's, not that of {given!r}; leave out of {given!r}")
        values = (found["metric"], given, found["compare"], float(found["number"]), float(found["seconds"] or 0))
        for name, value in zip(("metric", "operator", "compare", "number", "seconds"), values, strict=True):
            object.__setattr__(self, name, value)

    def values(self, metrics: JobMetrics) -> Iterator[tuple[str, float]]:
        """What it watches: each operator with its value; the worst of the subtasks, where they are not summed."""
        if self.metric in JOB:
            value = JOB[self.metric](metrics)
            yield from [] if value is None else [("", value)]
            return
        found: dict[str, list[float]] = {}
        for uid, value in self._parts(metrics):
            if value is not None:
                found.setdefault(uid, []).append(value)
        for uid, values in found.items():
            if self.metric in COUNTS:
                yield uid, sum(values)
            else:
                yield uid, next((each for each in values if self.holds(each)), values[0])

    def holds(self, value: float) -> bool:
        """Whether a value meets the comparison."""
        return COMPARE[self.compare](value, self.number)

    def _parts(self, metrics: JobMetrics) -> Iterator[tuple[str, float | None]]:
        if self.metric in TASK:
            for task in metrics.tasks:
                if self.operator in ("", *task.operators):
                    yield self.operator or task.uid, getattr(task, self.metric)
        else:
            for each in metrics.operators:
                if self.operator in ("", each.uid):
                    yield each.uid, getattr(each, self.metric)


class Watch:
    """An alert on a job: what holds since when, and what was called for."""

    def __init__(self, alert: Alert, warnings: Warnings) -> None:
        self.alert, self._warnings = alert, warnings
        self._since: dict[str, tuple[float, float]] = {}  # monotonic, epoch
        self._called: set[str] = set()
        self.fired: tuple[Alarm, ...] = ()  # the last ones, oldest first; read by other threads, so never changed

    def look(self, metrics: JobMetrics) -> None:
        """Note what holds, and call the action where it has held for long enough."""
        now = time.monotonic()
        for uid, value in self.alert.values(metrics):
            if not self.alert.holds(value):
                self._since.pop(uid, None)
                self._over(uid, metrics.at)
                continue
            began, at = self._since.setdefault(uid, (now, metrics.at))
            if uid not in self._called and now - began >= self.alert.seconds:
                self._called.add(uid)
                alarm = Alarm(self.alert.rule, uid, value, at)
                self.fired = (*self.fired, alarm)[-FIRED:]
                threading.Thread(target=self._act, args=(alarm,), name="sage-alert", daemon=True).start()

    def _over(self, uid: str, at: float) -> None:
        """It holds no longer, if it did for so long that it was called for."""
        if uid in self._called:
            self._called.discard(uid)
            ends = {id(each) for each in self.fired if each.operator == uid and each.until is None}
            self.fired = tuple(replace(each, until=at) if id(each) in ends else each for each in self.fired)

    def _act(self, alarm: Alarm) -> None:
        try:
            self.alert.action(alarm)
        except Exception as error:
            LOG.exception("the action of the alert %r failed", alarm.rule)
            told = f"the action of the alert {alarm.rule!r} failed: {type(error).__name__}: {error}; the job runs on"
            self._warnings.once(told)


def check_alerts(alerts: Sequence[Alert], graph: Graph) -> None:
    """Raise UnknownNameError where one watches an operator that the job has not, BadValueError for what is none."""
    uids = [uid for uid, _ in graph.nodes]
    for alert in alerts:
        if not isinstance(alert, Alert):
            raise BadValueError(f"alerts=[…] takes Alert(rule, action) values, got {alert!r:.60}")
        if alert.operator and alert.operator not in uids:
            raise UnknownNameError.of("operator in an alert", alert.operator, uids)
