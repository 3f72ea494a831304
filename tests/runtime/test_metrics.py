"""Metrics: what a job did, in plain values, while it runs and after; tables that a person reads."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.source import IDLE, SourceFunction
from sage_nb.stream.time import bounded_out_of_orderness
from sage_nb.stream.window import Count, tumbling
from tests.runtime.jobs import Boom, Endless, Once, Paced, clicks, finished, until


def picky(value):
    if value % 10 == 0:
        raise ValueError(f"<b>{value}")
    return value


def one(metrics, uid):
    return next(each for each in metrics.operators if each.uid == uid)


def test_every_record_is_counted_where_it_went():
    env = LocalEnvironment()
    numbers = env.from_collection(range(100)).map(picky, retry=Retry(2, backoff=0.0))
    numbers.filter(lambda n: n % 3).sink(CollectSink(rows := []))
    metrics = finished(env).metrics()
    mapped, kept = one(metrics, "map"), one(metrics, "filter")
    assert (mapped.received, mapped.passed, mapped.dead, mapped.retried, mapped.emitted) == (100, 90, 10, 20, 90)
    assert (kept.received, kept.filtered, kept.emitted) == (90, 30, 60)
    assert one(metrics, "CollectSink").passed == len(rows) == 60
    assert metrics.dead_letters == 10
    assert metrics.total("map", "received") == 100


@pytest.mark.parametrize(
    ("partitioner", "skew"),
    [
        (lambda n, count: n % count, 1.0),  # 20 each
        (lambda n, count: 3, 4.0),  # all 80 in one of 4
        (lambda n, count: 0 if n % 2 else n // 2 % count, 2.5),  # 50, 10, 10, 10
    ],
)
def test_skew_is_what_the_busiest_subtask_received_over_the_mean(partitioner, skew):
    env = LocalEnvironment()
    dealt = env.from_collection(range(80)).partition_custom(partitioner)
    dealt.map(abs, name="dealt", parallelism=4).sink(CollectSink([]), parallelism=1)
    metrics = finished(env).metrics()
    assert metrics.skew("dealt") == skew
    assert metrics.spread == ("dealt",)
    rows = [line.split() for line in str(metrics).splitlines()[1:]]
    first = next(row for row in rows if row[0] == "dealt[0]")
    assert first[rows[0].index("skew")] == str(skew)


def test_a_hot_key_shows_as_skew_and_one_subtask_or_no_record_as_none():
    env = LocalEnvironment()
    hot = env.from_collection(range(100)).key_by(lambda n: "hot").map(abs, name="hot", parallelism=2)
    hot.filter(lambda n: False).map(abs, name="unused", parallelism=3).sink(CollectSink([]), parallelism=1)
    metrics = finished(env).metrics()
    assert [metrics.skew(uid) for uid in ("hot", "unused", "CollectSink")] == [2.0, 1.0, 1.0]
    assert "skew" not in str(finished(one_each()).metrics())


def one_each():
    """A job of single subtasks."""
    env = LocalEnvironment()
    env.from_collection([1]).map(abs).sink(CollectSink([]))
    return env


def test_late_records_show_where_no_one_reads_them():
    rows = clicks(20)
    rows.append({"key": "k0", "n": 20, "time": 1.0})
    env = LocalEnvironment()
    source = env.from_source(Paced(rows), watermark=bounded_out_of_orderness(1.0, lambda r: r["time"]))
    source.key_by("key").window(tumbling(5)).aggregate(Count()).sink(CollectSink([]))
    seen = one(finished(env).metrics(), "window")
    assert (seen.received, seen.late) == (21, 1)


class Quiet(SourceFunction):
    """Some records, and nothing more until it is opened."""

    def __init__(self, rows, gate):
        self.rows, self.gate = rows, gate

    def __deepcopy__(self, memo):
        return self

    def read(self, split, start):
        yield from self.rows[start:]
        while not self.gate.is_set():
            yield IDLE


def test_the_lag_is_that_of_the_watermark_behind_the_clock():
    env, gate, now = LocalEnvironment(), threading.Event(), time.time()
    source = env.from_source(Quiet([now - 100, now - 50], gate), watermark=bounded_out_of_orderness(0.0, float))
    source.map(float, parallelism=2).sink(CollectSink([]))
    job = env.submit()
    until(lambda: one(job.metrics(), "map").watermark == now - 50)
    before = time.time()
    lag = one(job.metrics(), "map").lag_s
    assert before - (now - 50) <= lag <= time.time() - (now - 50)
    gate.set()
    assert job.wait(60) == "finished"


def test_metrics_can_cross_a_process():
    env = LocalEnvironment()
    env.from_collection(range(10)).map(picky, on_error=lambda value, error: -1).sink(CollectSink([]))
    metrics = finished(env).metrics()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(metrics), type=JobMetrics) == metrics
    assert one(metrics, "map").degraded == 1


def whole(task):
    """Whether the shares of its last second are all of it."""
    return task.busy_ms_per_s + task.backpressured_ms_per_s + task.idle_ms_per_s == pytest.approx(1000, abs=1)


def test_a_slow_reader_shows_as_busy_and_its_writer_as_back_pressured():
    env = LocalEnvironment()
    gate = threading.Event()
    env.from_source(Endless()).map(lambda n: gate.wait(120), name="slow", parallelism=1).sink(CollectSink([]))
    env.from_collection(range(3)).map(abs, name="idle", parallelism=2).sink(CollectSink([]))
    source = env.from_collection(range(50_000), name="fast").key_by(lambda n: 0)
    source.map(lambda n: gate.wait(120), name="stuck").sink(CollectSink([]))
    job = env.submit()
    tasks = lambda: {task.uid: task for task in job.metrics().tasks if task.subtask == 0}  # noqa: E731
    try:
        until(lambda: tasks()["fast"].backpressured_ms_per_s > 500)
        until(lambda: tasks()["stuck"].busy_ms_per_s > 500)
        until(lambda: tasks()["idle"].idle_ms_per_s > 500)
        assert tasks()["stuck"].queue_fill >= 0.5
        assert tasks()["stuck"].queued > 1000
        before = tasks()["fast"].backpressured_s
        until(lambda: tasks()["fast"].backpressured_s > before + 0.2)
        own = lambda: one(job.metrics(), "fast").self_s  # noqa: E731
        until(lambda: own() == own())  # the wait is not its own time: it stands still
        until(lambda: all(whole(tasks()[uid]) for uid in ("fast", "stuck", "idle")))
    finally:
        gate.set()
        job.cancel()


def test_rates_are_of_the_last_second_and_not_of_the_whole_job():
    gate = threading.Event()

    def numbers():
        yield from range(1000)
        gate.wait(120)

    env = LocalEnvironment()
    env.from_collection(numbers).map(abs).sink(CollectSink([]))
    job = env.submit()
    until(lambda: one(job.metrics(), "map").received_per_s > 0)
    until(lambda: one(job.metrics(), "map").received_per_s == 0)
    assert one(job.metrics(), "map").received > 0
    gate.set()
    job.wait(60)


def test_checkpoints_and_restarts_show(tmp_path):
    env = LocalEnvironment(checkpoint=Checkpointing(str(tmp_path), every=0.01), restart=FixedDelay(3, 0.0))
    once, begun = Once(lambda record: record["n"] == 150), time.time()
    env.from_source(Paced(clicks(200))).map(once, on_error="fail").sink(CollectSink([]))
    metrics = finished(env).metrics()
    assert metrics.restarts == 1
    assert metrics.committed == len(metrics.checkpoints) > 0
    last = metrics.checkpoints[-1]
    assert last.bytes > 100
    assert last.seconds > 0
    assert last.aligned_s >= 0
    assert begun <= last.at <= time.time()
    assert one(metrics, "map").received == 200  # what was done twice counts once


def test_a_functions_own_numbers_show():
    from sage_nb.stream.function import MapFunction

    class Counting(MapFunction):
        def open(self, context):
            self.metrics = context.metrics

        def map(self, value):
            self.metrics.count("tokens", 3)
            self.metrics.gauge("height", value)
            return value

    env = LocalEnvironment()
    env.from_collection([5, 7]).map(Counting).sink(CollectSink([]))
    assert one(finished(env).metrics(), "map").own == {"tokens": 6, "height": 7.0}


def test_a_sinks_promise_is_shown():
    env = LocalEnvironment()
    env.from_collection([1]).sink(CollectSink([]))
    env.from_collection([1]).for_each(print)
    metrics = finished(env).metrics()
    assert [each.delivery for each in metrics.sinks] == ["exactly once", "at least once"]
    assert "at least once" in str(metrics)
    assert "at least once" in metrics._repr_html_()


def test_the_table_reads_well_in_text():
    env = LocalEnvironment("numbers")
    env.from_collection(range(1200)).map(picky).sink(CollectSink([]))
    head, columns, *rows = repr(finished(env).metrics()).splitlines()  # as a front end without HTML shows it
    assert head.startswith("numbers: finished · ")
    assert "1,080 records out" in head
    assert "120 dead letters" in head
    assert columns.split()[:3] == ["operator", "in", "out"]
    assert "late" not in columns  # nothing to say of it
    assert rows[1].split()[:4] == ["map", "1,200", "1,080", "120"]


def test_names_and_letters_are_escaped_in_html():
    env = LocalEnvironment("<script>job</script>")
    env.from_collection([0, 1]).map(picky, name="<img src=x onerror=alert(1)>").sink(CollectSink([]))
    job = finished(env)
    for html in (job.metrics()._repr_html_(), job._repr_html_(), job.profile()._repr_html_()):
        assert "<script" not in html
        assert "<img" not in html
    assert "ValueError: &lt;b&gt;0" in job._repr_html_()


def test_a_failing_look_does_no_harm():
    env = LocalEnvironment()
    env.from_collection(range(10)).map(abs).sink(CollectSink(rows := []))
    job = env.submit()
    job._coordinator.on_tick.append(lambda: 1 / 0)
    assert job.wait(60) == "finished"
    assert rows == list(range(10))


def test_warnings_show_on_the_job(tmp_path):
    env = LocalEnvironment(restart=FixedDelay(1, 0.0))

    def bad(value):
        raise Boom(value)

    env.from_collection([1]).map(bad, on_error="fail").sink(CollectSink([]))
    job = env.submit()
    until(lambda: job.status == "failed")
    assert "failed · " in repr(job)
    assert "1 restart" in repr(job)
    assert "operator &#x27;map&#x27; failed on 1" in job._repr_html_()
