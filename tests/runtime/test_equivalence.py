"""Random pipelines give what the plain interpreter gives, at every parallelism, with crashes and without.

A failure prints its example, which `@example(…)` repeats. `SAGE_EXAMPLES=20` tries 20 times as many, new ones.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.graph import MAIN
from sage_nb.stream.sink import CollectSink
from tests.runtime import pipelines, reference
from tests.runtime.jobs import Once, Paced, finished, multiset
from tests.runtime.reference import Reference, TimedWindows, spans

TIMES = int(os.environ.get("SAGE_EXAMPLES", "1"))


def tries(count):
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def never(_):
    return False


def environment(runner, parallelism, folder=None):
    if folder is None:
        return runner("random", parallelism=parallelism)
    checkpoint = Checkpointing(folder, every=0.005)
    return runner("random", parallelism=parallelism, checkpoint=checkpoint, restart=FixedDelay(9, 0.0))


def in_time(env, made, rest=0.0, bad=never):
    """Builds a pipeline of `pipelines.in_time` with its sink's list."""
    sources, steps, watermark = made
    streams = [
        env.from_source(
            Paced(*splits, rest=rest, every=2),
            watermark=pipelines.strategy(*watermark),
            parallelism=1 + len(splits) // 2,
        )
        for splits in sources
    ]
    stream = streams[0].union(*streams[1:]) if len(streams) > 1 else streams[0]
    rows: list = []
    stream = pipelines.add(stream.map(Once(bad), on_error="fail"), 0)
    pipelines.build(stream, steps).sink(CollectSink(rows), uid="sink")
    return {"sink": rows}


def one_path(env, made, rest=0.0, bad=never):
    """Builds a pipeline of `pipelines.one_path` with its sinks' lists; all before the keyed operator is one task."""
    data, steps, (name, *arguments), watermark = made
    stream = env.from_source(Paced(data, rest=rest, every=2), watermark=pipelines.strategy(*watermark))
    stream = stream.map(Once(bad), on_error="fail", parallelism=1)
    for step, *given_ in steps:
        stream = getattr(pipelines, step)(stream, *given_, parallelism=1)
    rows, late = [], []
    if name == "alarm":
        made = stream.key_by("key").process(pipelines.Alarm)
    else:
        made = pipelines.window(stream, *arguments)
        first = made if arguments[2] != "reduce" else type(made)(made.sinks, made.node.inputs[0].node)
        first.late.process(pipelines.Stamped).sink(CollectSink(late), uid="late")
        made = made.map(pipelines.of_window)
    made.process(pipelines.Stamped).sink(CollectSink(rows), uid="sink")
    return {"sink": rows, "late": late}


def by_key(records):
    """Each key's records, in their order."""
    found = defaultdict(list)
    for record in records:
        found[repr(record["key"])].append(repr(record))
    return found


def compared(build, made, parallelism, same, *, runner=LocalEnvironment, **run):
    """Run a pipeline, interpret it, compare; gives the job."""
    described = LocalEnvironment("described", parallelism=parallelism)
    build(described, made)
    reference = Reference(described.graph(), parallelism)
    expected = reference.sinks()
    env = environment(runner, parallelism, run.pop("folder", None))
    rows = build(env, made, **run)
    job = finished(env)
    for uid, wanted in expected.items():
        assert same(rows[uid]) == same(wanted), uid
    names = {uid: node.name for uid, node in env.graph().nodes}
    letters = [(names[letter.operator], letter.record) for letter in job.dead_letters]
    assert multiset(map(json.dumps, letters)) == multiset(map(json.dumps, reference.dead))
    return job


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@tries(200)
@given(pipelines.in_time())
def test_records_in_time_give_what_the_interpreter_gives(parallelism, made):
    compared(in_time, made, parallelism, multiset)


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@tries(200)
@given(pipelines.one_path())
def test_late_records_and_order_are_as_the_interpreter_has_them(parallelism, made):
    compared(one_path, made, parallelism, by_key)


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@tries(20)
@given(pipelines.in_time(most=25), st.integers(0, 20))
def test_a_crash_does_not_show_in_the_records(parallelism, made, nth):
    crash = countdown(nth)
    with tempfile.TemporaryDirectory() as folder:
        job = compared(in_time, made, parallelism, multiset, folder=folder, rest=0.002, bad=crash)
    assert job.restarts == crash.met


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@tries(20)
@given(pipelines.one_path(), st.integers(0, 20))
def test_a_crash_does_not_show_in_late_records_and_order(parallelism, made, nth):
    crash = countdown(nth)
    with tempfile.TemporaryDirectory() as folder:
        job = compared(one_path, made, parallelism, by_key, folder=folder, rest=0.002, bad=crash)
    assert job.restarts == crash.met


class countdown:  # noqa: N801  a predicate
    """True at the `nth` call of all, counted from 0; `met`: whether that came."""

    def __init__(self, nth):
        self.left, self.met = nth, 0

    def __call__(self, _):
        self.left -= 1
        self.met += self.left == -1
        return self.left == -1


# The comparison must notice: each of these interpreters has one rule wrong.


def shifted(windows, time):
    """Windows that hold their end, and not their start."""
    return [(-end, -start) for start, end in reversed(spans(windows, -time))]


def never_gone(self, span):
    """A late record is kept."""
    return False


def forgetful(self, window):
    """A window is given once, whatever comes late."""
    if not self.open[window][2]:
        give(self, window)


def without_partners(self, node, spec):
    """Every join is an inner one."""
    return joined(self, node, replace(spec, how="inner"))


def doubled(self, node, spec):
    """What comes out of a loop with a limit of rounds comes twice."""
    rows = looped(self, node, spec)[MAIN]
    return {MAIN: rows if spec.loop.max_rounds is None else [*rows, *rows]}


give, joined, looped = TimedWindows.give, Reference.windowjoin, Reference.tail
WRONG = {
    "ends inside": (reference, "spans", shifted, one_path, pipelines.one_path(), by_key),
    "late records kept": (TimedWindows, "gone", never_gone, one_path, pipelines.one_path(), by_key),
    "given once": (TimedWindows, "give", forgetful, one_path, pipelines.one_path(), by_key),
    "inner joins": (Reference, "windowjoin", without_partners, in_time, pipelines.in_time(), multiset),
    "loops give twice": (Reference, "tail", doubled, in_time, pipelines.in_time(), multiset),
}


@pytest.mark.parametrize("rule", WRONG)
def test_an_interpreter_with_a_wrong_rule_is_noticed(rule, monkeypatch):
    owner, name, wrong, build, strategy, same = WRONG[rule]
    monkeypatch.setattr(owner, name, wrong)

    @settings(tries(300), phases=[Phase.generate], derandomize=True, print_blob=False)
    @given(strategy)
    def search(made):
        compared(build, made, 1, same)

    with pytest.raises(AssertionError, match="sink|late"):
        search()
