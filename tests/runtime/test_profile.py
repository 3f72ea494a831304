"""The profile: time in operators, in models, in the runtime and in waits adds up to what passed."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET

import msgspec
import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.flame import Bar, drawn
from sage_nb.runtime.profile import Profile
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.time import monotonous
from sage_nb.stream.window import tumbling
from tests.runtime.jobs import clicks, finished, until


class Reranking(MapFunction):
    """5 ms of its own and 20 ms of a model for each record."""

    def open(self, context):
        self.metrics = context.metrics

    def map(self, value):
        time.sleep(0.005)
        with self.metrics.model_time():
            time.sleep(0.02)
        return value


@pytest.fixture(scope="module")
def watched():
    """A profile, and how long its job took as seen from outside."""
    begun = time.monotonic()
    env = LocalEnvironment("search")
    source = env.from_collection(range(12))
    source.map(abs, name="light").map(Reranking, name="rerank").map(str, parallelism=2).sink(CollectSink([]))
    return finished(env).profile(), time.monotonic() - begun


@pytest.fixture
def profile(watched):
    return watched[0]


def operator(profile, uid):
    return next(each for chain in profile.chains for each in chain.operators if each.uid == uid)


def test_a_models_time_is_apart_from_the_operators_own(profile):
    rerank = operator(profile, "rerank")
    assert rerank.records == 12
    assert rerank.model_s >= 12 * 0.02
    assert rerank.self_s >= 12 * 0.005
    assert operator(profile, "light").self_s < rerank.self_s
    assert operator(profile, "light").model_s == 0


def test_a_tasks_times_add_up_to_what_passed(watched):
    profile, took = watched
    for chain in profile.chains:
        least = 12 * 0.025  # what the slowest takes
        assert chain.subtasks * least <= chain.seconds <= chain.subtasks * took


def test_a_window_that_fires_is_charged_to_the_window():
    env = LocalEnvironment()
    windows = env.from_collection(clicks(4), watermark=monotonous()).key_by("key").window(tumbling(2))
    windows.apply(lambda key, span, rows: [time.sleep(0.05)]).sink(CollectSink([]))
    assert operator(finished(env).profile(), "window").self_s >= 4 * 0.05


def test_an_operator_at_work_shows_before_it_is_done():
    env, at_work, go_on = LocalEnvironment(), threading.Event(), threading.Event()
    long = env.from_collection([1]).map(lambda n: at_work.set() or go_on.wait(120), parallelism=2, name="long")
    long.sink(CollectSink([]))
    job = env.submit()
    try:
        assert at_work.wait(60)
        until(lambda: operator(job.profile(), "long").self_s > 0.05)
        assert job.status == "running"
    finally:
        go_on.set()
    assert job.wait(60) == "finished"


def test_it_can_be_sent_and_read(profile):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(profile), type=Profile) == profile
    head, columns, *rows = repr(profile).splitlines()  # as a front end without HTML shows it
    assert head.startswith("search: where ")
    assert "model s" in columns
    assert [row.split()[0] for row in rows[:2]] == ["source", "└"]


def test_the_picture_is_one_well_formed_svg_without_script():
    bar = Bar("job", "<script>x</script>&'\"\x00", 2.0, (Bar("self", "<b>", 1.5, (Bar("model", "m", 1.0),)),), "n")
    svg = drawn(bar)
    tree = ET.fromstring(svg)
    widths = [float(each.get("width")) for each in tree.iter("rect")][:3]
    assert widths == [959.0, 719.0, 479.0]  # the whole, three quarters, half, less a gap of 1
    assert "script" not in {each.tag for each in tree.iter()}
    assert "<script" not in svg
    assert "\x00" not in svg


def test_nothing_done_is_an_empty_picture():
    assert ET.fromstring(drawn(Bar("job", "j", 0.0))).tag == "svg"


def test_a_long_name_is_cut_where_its_bar_ends():
    svg = drawn(Bar("job", "j", 10.0, (Bar("task", "x" * 500, 1.0), Bar("task", "y", 9.0))))
    shown = [each.text for each in ET.fromstring(svg).iter("text")]
    assert "x" * 12 + "…" in shown
