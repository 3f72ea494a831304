"""Alerts: a small grammar, checked when written; called once when a rule begins to hold."""

from __future__ import annotations

import threading

import pytest

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.runtime.alerts import Alert, Watch
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.metrics import Alarm, JobMetrics
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Endless, until


def job(restarts):
    return JobMetrics(
        name="j", status="running", at=1000.0, seconds=1.0, restarts=restarts, committed=0,
        operators=(), tasks=(), checkpoints=(), warnings=(),
    )  # fmt: skip


def failing(value):
    if value % 2:
        raise ValueError(value)
    return value


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("queue_fill > 0.9 for 10s", ("queue_fill", "", ">", 0.9, 10.0)),
        ('dead of "parse">=100', ("dead", "parse", ">=", 100.0, 0.0)),
        ("lag_s of 'my map' != -1.5e3 for 0.5 s", ("lag_s", "my map", "!=", -1500.0, 0.5)),
        ("  restarts == 3  ", ("restarts", "", "==", 3.0, 0.0)),
    ],
)
def test_a_rule_is_read(rule, parts):
    alert = Alert(rule, print)
    assert (alert.metric, alert.operator, alert.compare, alert.number, alert.seconds) == parts


@pytest.mark.parametrize(
    "rule", ["", "queue_fill", "queue_fill > ", "queue_fill >> 1", "queue_fill > 1 for ever", "1 > queue_fill", 7,
             "queue_fill > 1 or 1", "queue_fill > __import__('os')", 'dead of "a > 1'],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_an_example(rule):
    with pytest.raises(BadValueError, match="cannot be read; write a metric, a comparison and a number"):
        Alert(rule, print)


def test_a_mistyped_metric_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown metric 'queue_fil'; did you mean 'queue_fill'"):
        Alert("queue_fil > 1", print)


def test_a_metric_of_the_job_has_no_operator():
    with pytest.raises(BadValueError, match="restarts is the whole job's, not that of 'map'"):
        Alert('restarts of "map" > 1', print)


def test_an_alert_needs_a_function():
    with pytest.raises(BadValueError, match="needs a function to call, got 'mail'"):
        Alert("restarts > 1", "mail")


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        ([Alert('dead of "mapp" > 1', print)], "unknown operator in an alert 'mapp'; did you mean 'map'"),
        (["restarts > 1"], "takes Alert"),
    ],
)
def test_an_operator_that_is_not_there_is_refused_when_submitted(alerts, message, tmp_path):
    env = LocalEnvironment(checkpoint=str(tmp_path))
    env.from_collection([1]).map(str).sink(CollectSink([]))
    with pytest.raises((UnknownNameError, BadValueError), match=message):
        env.submit(alerts=alerts)
    assert env.submit().wait(60) == "finished"  # the folder is free


def test_the_action_is_called_once_until_the_rule_has_ceased_to_hold():
    alarms, called = [], threading.Semaphore(0)

    def act(alarm):
        alarms.append(alarm)
        called.release()

    watch = Watch(Alert("restarts > 1", act), [])
    for restarts in (0, 2, 3, 4, 1, 5, 6):
        watch.look(job(restarts))
    assert called.acquire(timeout=60)
    assert called.acquire(timeout=60)
    assert sorted(alarm.value for alarm in alarms) == [2, 5]
    assert alarms[0] == Alarm("restarts > 1", "", alarms[0].value, 1000.0)
    assert [(alarm.value, alarm.until) for alarm in watch.fired] == [(2, 1000.0), (5, None)]


def test_a_rule_has_to_hold_for_its_seconds():
    called = threading.Event()
    watch = Watch(Alert("restarts > 1 for 600s", lambda alarm: called.set()), [])
    watch.look(job(2))
    earlier(watch, 1000)
    watch.look(job(0))
    watch.look(job(2))
    assert watch._called == set()  # it holds since now
    earlier(watch, 500)
    watch.look(job(2))
    assert watch._called == set()
    earlier(watch, 100)
    watch.look(job(2))
    assert called.wait(60)


def earlier(watch, seconds):
    """As if what holds had begun to hold so many seconds before."""
    watch._since = {uid: (began - seconds, at) for uid, (began, at) in watch._since.items()}


def test_a_job_that_is_over_quickly_is_looked_at_too():
    alarms, called = [], threading.Event()
    env = LocalEnvironment()
    env.from_collection(range(10)).map(failing, name="picky").sink(CollectSink([]))

    def act(alarm):
        alarms.append(alarm)
        called.set()

    env.submit(alerts=[Alert("dead >= 5", act)]).wait(60)
    assert called.wait(60)
    assert [(alarm.operator, alarm.value) for alarm in alarms] == [("picky", 5)]


def test_an_action_may_stop_the_job():
    env = LocalEnvironment()
    env.from_source(Endless()).map(failing).sink(CollectSink([]))
    held = []
    held.append(env.submit(alerts=[Alert("dead_letters > 10", lambda alarm: held[0].cancel())]))
    assert held[0].wait(60) == "cancelled"


def test_an_action_that_raises_shows_and_does_no_harm(caplog):
    env = LocalEnvironment()
    env.from_collection(range(10)).map(failing).sink(CollectSink(rows := []))
    job = env.submit(alerts=[Alert("dead > 0", lambda alarm: 1 / 0)])
    assert job.wait(60) == "finished"
    until(lambda: job.warnings)
    assert job.warnings == [
        "the action of the alert 'dead > 0' failed: ZeroDivisionError: division by zero; the job runs on"
    ]
    assert "the action of the alert" in caplog.text
    assert "1 warning" in repr(job)
    assert rows == [0, 2, 4, 6, 8]


def test_levels_are_watched_on_every_subtask_and_counts_summed():
    env = LocalEnvironment(parallelism=3)
    env.from_collection(range(30)).map(abs).sink(CollectSink([]))
    job = env.submit()
    job.wait(60)
    metrics = job.metrics()
    assert dict(Alert("received >= 0", print).values(metrics))["map"] == 30
    assert dict(Alert('idle_ms_per_s of "map" >= 0', print).values(metrics)).keys() == {"map"}
