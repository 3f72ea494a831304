"""Prometheus: the text that its own parser reads, over HTTP, while the job runs."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sage_nb.errors import BadValueError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Endless, finished, until

ODD = 'a "quoted"\\name\nin two lines'


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def picky(value):
    if value % 10 == 0:
        raise ValueError(value)
    return value


def test_counts_are_those_of_the_job():
    env = LocalEnvironment(ODD)
    env.from_collection(range(100)).map(picky, name="picky").sink(CollectSink([]))
    job = finished(env)
    found = samples(job.prometheus())
    place = (("job", ODD), ("operator", "picky"), ("subtask", "0"))
    assert found[("sage_received_total", *place)] == 100
    assert found[("sage_dead_letters_total", *place)] == 10
    assert found[("sage_restarts_total", ("job", ODD))] == 0
    assert found[("sage_status", ("job", ODD), ("status", "finished"))] == 1
    assert found[("sage_status", ("job", ODD), ("status", "running"))] == 0
    assert ("delivery", "exactly once") in next(key for key in found if key[0] == "sage_delivery")


def test_skew_is_that_of_the_job_for_operators_of_several_subtasks():
    env = LocalEnvironment()
    env.from_collection(range(9)).key_by(lambda n: 0).map(abs, parallelism=3).sink(CollectSink([]), parallelism=1)
    found = samples(finished(env).prometheus())
    assert {key: value for key, value in found.items() if key[0] == "sage_skew"} == {
        ("sage_skew", ("job", "job"), ("operator", "map")): 3.0
    }


def test_every_family_has_help_and_type_and_counters_end_in_total():
    env = LocalEnvironment()
    env.from_collection(range(10)).map(picky).sink(CollectSink([]))
    lines = finished(env).prometheus().splitlines()
    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE"))
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert names <= set(types)
    assert set(types) == helped
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in types.items())


def test_it_is_served_until_the_job_ends():
    env = LocalEnvironment()
    env.from_source(Endless()).map(abs).sink(CollectSink([]))
    job = env.submit()
    server = job.serve_metrics()
    place = (("job", "job"), ("operator", "map"), ("subtask", "0"))
    try:
        assert server.url.startswith("http://127.0.0.1:")
        until(lambda: samples(fetched(server.url))[("sage_received_total", *place)] > 100)
        first, second = (samples(fetched(server.url))[("sage_received_total", *place)] for _ in range(2))
        assert second >= first
    finally:
        job.cancel()
    until(lambda: "closed" in repr(server))
    until(lambda: refused(server.url))


def test_it_can_be_closed_before():
    env = LocalEnvironment()
    env.from_source(Endless()).sink(CollectSink([]))
    job = env.submit()
    server = job.serve_metrics()
    server.close()
    server.close()
    assert refused(server.url)
    assert job.status == "running"
    job.cancel()


def test_a_port_that_is_taken_is_said():
    env = LocalEnvironment()
    env.from_source(Endless()).sink(CollectSink([]))
    job = env.submit()
    server = job.serve_metrics()
    port = int(server.url.split(":")[2].split("/")[0])
    try:
        with pytest.raises(BadValueError, match=rf"cannot serve metrics at 127.0.0.1:{port} .*choose another port"):
            job.serve_metrics(port)
    finally:
        job.cancel()


def fetched(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.read().decode()


def refused(url):
    try:
        fetched(url)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return True
    return False
