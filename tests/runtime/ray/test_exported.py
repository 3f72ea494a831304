"""A job's metrics as Ray's own. What its gauges are given is noted here: no node of the tests serves metrics."""

from __future__ import annotations

import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.exported import Exported
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Endless, finished, until
from tests.runtime.test_prometheus import picky, samples


@pytest.fixture
def given(cluster, monkeypatch):
    """The last value of each gauge and its tags, by the name and labels that Prometheus knows them by."""
    last: dict = {}
    gauge_type = cluster.util.metrics.Gauge
    take = gauge_type.set

    def noted(gauge, value, tags):
        take(gauge, value, tags)  # refuses what Ray does not take
        last[(gauge.info["name"], *sorted(tags.items()))] = value

    monkeypatch.setattr(gauge_type, "set", noted)
    return last


def test_ray_has_the_names_the_labels_and_the_values_that_prometheus_has(given):
    env = RayEnvironment("exported")
    numbers = env.from_collection(range(100)).key_by(lambda n: 0)
    numbers.map(picky, name="picky", parallelism=2).sink(CollectSink([]), parallelism=1)
    job = finished(env)
    until(lambda: given.get(("sage_status", ("job", "exported"), ("status", "finished"))) == 1)
    shown = samples(job.prometheus())
    own = {key: value for key, value in given.items() if ("job", "exported") in key}  # one before may end only now
    assert set(own) == set(shown)
    fixed = ("sage_received_total", "sage_emitted_total", "sage_dead_letters_total", "sage_skew", "sage_status")
    assert {key: own[key] for key in own if key[0] in fixed} == {key: shown[key] for key in shown if key[0] in fixed}
    assert sum(own[key] for key in own if key[0] == fixed[0] and ("operator", "picky") in key) == 100
    assert own["sage_skew", ("job", "exported"), ("operator", "picky")] == 2.0


def test_a_job_is_shown_while_it_runs(given):
    env = RayEnvironment("running")
    env.from_source(Endless()).map(abs, name="work").sink(CollectSink([]))
    job = env.submit()
    try:
        until(lambda: given.get(("sage_status", ("job", "running"), ("status", "running"))) == 1)
    finally:
        job.cancel()
    until(lambda: given["sage_status", ("job", "running"), ("status", "cancelled")] == 1)


def test_the_numbers_are_looked_at_once_in_a_while():
    env = LocalEnvironment("looked at")
    env.from_collection([1]).map(abs).sink(CollectSink([]))
    metrics, looks = finished(env).metrics(), []
    exported = Exported(lambda: looks.append(1) or metrics)
    for _ in range(1000):
        exported.tick()
    assert len(looks) == 1
