"""A job's metrics in Prometheus' text format, and a server that gives them to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sage_nb.errors import BadValueError
from sage_nb.runtime.metrics import JobMetrics

COUNTERS = {
    "received": "Records received",
    "passed": "Records handled, folded into state or sent on",
    "filtered": "Records filtered out",
    "late": "Records that came too late for their window",
    "dead_letters": "Records sent to the dead letters",
    "degraded": "Records replaced by the fallback of on_error",
    "retried": "Tries after the first",
    "emitted": "Records sent on",
    "self_s": "Seconds in the operator's own code",
    "model_s": "Seconds in models the operator calls",
}
GAUGES = {
    "waiting": "Records kept for a fuller batch",
    "mean_batch": "Records of a batch, on average",
    "watermark": "How far event time has come, in seconds since the epoch",
    "lag_s": "Seconds that the watermark is behind the clock",
}
TASK_COUNTERS = {
    "busy_s": "Seconds at work",
    "backpressured_s": "Seconds of waiting for room downstream",
    "idle_s": "Seconds of waiting for input",
}
TASK_GAUGES = {
    "queue_fill": "Share of the fullest input channel that is taken, 0 to 1",
    "queued": "Records that wait in the input channels",
    "busy_ms_per_s": "Milliseconds at work in each second, lately",
    "backpressured_ms_per_s": "Milliseconds of waiting for room in each second, lately",
    "idle_ms_per_s": "Milliseconds of waiting for input in each second, lately",
}
SKEW = "Records received by the operator's busiest subtask, over the mean of its subtasks: 1 is even"
STATUSES = ("running", "restarting", "finished", "failed", "cancelled", "paused")
PLACE = ("job", "operator", "subtask")
Placed = tuple[tuple[str, ...], Any]


def families(metrics: JobMetrics) -> Iterator[Metric]:
    """All of it, as metric families; names end in their unit."""
    operators = [((metrics.name, each.uid, str(each.subtask)), each) for each in metrics.operators]
    tasks = [((metrics.name, each.uid, str(each.subtask)), each) for each in metrics.tasks]
    yield from _columns(COUNTERS, operators, counter=True)
    yield from _columns(GAUGES, operators, counter=False)
    yield from _columns(TASK_COUNTERS, tasks, counter=True)
    yield from _columns(TASK_GAUGES, tasks, counter=False)
    skews = [((metrics.name, uid), metrics.skew(uid)) for uid in metrics.spread]
    yield _family("sage_skew", SKEW, ("job", "operator"), skews, counter=False)
    yield from _own(metrics)
    yield from _job(metrics)


def exposition(metrics: JobMetrics) -> str:
    """The text that Prometheus reads."""
    return generate_latest(_registry(lambda: metrics)).decode()


class MetricsServer:
    """Answers `GET /metrics` from a thread of its own until it is closed."""

    def __init__(self, look: Callable[[], JobMetrics], port: int, host: str) -> None:
        try:
            server, _ = start_http_server(port, host, _registry(look))
        except (OSError, OverflowError) as error:
            raise BadValueError(
                f"cannot serve metrics at {host}:{port} ({error}); choose another port, or 0 for any that is free"
            ) from error
        self._server: WSGIServer | None = server
        self._lock = threading.Lock()
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"

    def __repr__(self) -> str:
        return f"<MetricsServer {self.url}{'' if self._server else ' (closed)'}>"

    def close(self) -> None:
        """Stop answering."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Looking(Collector):
    """Makes the families anew each time they are asked for."""

    def __init__(self, look: Callable[[], JobMetrics]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Those of now."""
        return families(self._look())


def _registry(look: Callable[[], JobMetrics]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Looking(look))
    return registry


def _columns(columns: Mapping[str, str], rows: Sequence[Placed], *, counter: bool) -> Iterator[Metric]:
    for field, what in columns.items():
        name = f"sage_{field.removesuffix('_s')}_seconds" if field.endswith("_s") and "_per_" not in field else None
        values = [(place, value) for place, row in rows if (value := getattr(row, field)) is not None]
        yield _family(name or f"sage_{field}", what, PLACE, values, counter=counter)


def _own(metrics: JobMetrics) -> Iterator[Metric]:
    """What functions count themselves; the name is a label, since it may be any text."""
    found = [
        ((metrics.name, each.uid, str(each.subtask), name), value)
        for each in metrics.operators
        for name, value in each.own.items()
    ]
    yield _family("sage_own", "What functions count and gauge themselves", (*PLACE, "name"), found, counter=False)


def _job(metrics: JobMetrics) -> Iterator[Metric]:
    job, last = (metrics.name,), metrics.checkpoints[-1:]
    yield _family("sage_restarts", "Restarts", ("job",), [(job, metrics.restarts)], counter=True)
    yield _family("sage_checkpoints", "Checkpoints committed", ("job",), [(job, metrics.committed)], counter=True)
    yield _family("sage_warnings", "Things mended on the way", ("job",), [(job, metrics.warned)], counter=False)
    for name, what, field in (
        ("seconds", "How long the last checkpoint took", "seconds"),
        ("bytes", "Size of the last checkpoint", "bytes"),
        ("aligned_seconds", "How long the last checkpoint's barriers waited for each other", "aligned_s"),
        ("time_seconds", "When the last checkpoint was committed, since the epoch", "at"),
    ):
        values = [(job, getattr(each, field)) for each in last]
        yield _family(f"sage_last_checkpoint_{name}", what, ("job",), values, counter=False)
    statuses = [((*job, status), status == metrics.status) for status in STATUSES]
    yield _family("sage_status", "1 for the status the job has", ("job", "status"), statuses, counter=False)
    sinks = [((metrics.name, each.uid, str(each.subtask), each.delivery), 1) for each in metrics.sinks]
    yield _family("sage_delivery", "What each sink promises", (*PLACE, "delivery"), sinks, counter=False)


def _family(
    name: str, what: str, labels: Sequence[str], values: Sequence[tuple[tuple[str, ...], float]], *, counter: bool
) -> Metric:
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, what, labels=labels)
    for place, value in values:
        family.add_metric(place, value)
    return family
