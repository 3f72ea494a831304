"""The job's handle: waiting, awaiting, stopping, the stop button; it never holds up what does not wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time
import traceback

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import FixedDelay, NoRestart
from sage_nb.stream.function import MapFunction, ProcessFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import Boom, Endless, Paced, clicks, until


def endless(folder=None, rows=None):
    env = LocalEnvironment("numbers", checkpoint=None if folder is None else str(folder))
    env.from_source(Endless()).sink(CollectSink([] if rows is None else rows))
    return env


def failing(folder=None):
    env = LocalEnvironment("bad")

    def bad(value):
        raise Boom(value)

    env.from_collection([1]).map(bad, on_error="fail").sink(CollectSink([]))
    return env.submit()


def press_stop(job, due=lambda: True):
    """A real SIGINT, as the stop button sends it, once this thread waits for the job; gives when it was sent."""
    pressed, waiting = [], threading.main_thread().ident

    def waits():
        names = [frame.name for frame in traceback.extract_stack(sys._current_frames()[waiting])]
        return names[-3:-1] == ["wait", "wait"] and due()  # the job's, and the one in it

    def press():
        until(waits)
        pressed.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    return pressed


def test_await_gives_the_status_and_leaves_the_loop_to_others():
    env = LocalEnvironment()
    env.from_source(Paced(clicks(200))).sink(CollectSink(rows := []))

    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        status = await env.submit()
        ticking.cancel()
        return status, ticks

    status, ticks = asyncio.run(both())
    assert status == "finished"
    assert len(rows) == 200
    assert ticks > 5


def test_several_jobs_can_be_awaited_at_once():
    envs = [LocalEnvironment(f"job {at}") for at in range(3)]
    for env in envs:
        env.from_source(Paced(clicks(50))).sink(CollectSink([]))

    async def all_of_them():
        return await asyncio.gather(*(env.submit() for env in envs))

    assert asyncio.run(all_of_them()) == ["finished"] * 3


def test_a_failure_is_raised_by_wait_and_by_await():
    job = failing()
    with pytest.raises(OperatorError, match="operator 'map' failed on 1: Boom: 1"):
        job.wait(60)

    async def awaited():
        await job

    with pytest.raises(OperatorError, match="operator 'map' failed on 1: Boom: 1"):
        asyncio.run(awaited())
    assert "'bad' failed: operator 'map' failed on 1" in repr(job)


def test_who_waits_no_longer_leaves_the_job_running():
    job = endless().submit()
    with pytest.raises(TimeoutError, match=r"'numbers' is not done after 0\.1 s; it runs on"):
        job.wait(0.1)
    assert job.status == "running"
    job.cancel()
    assert job.wait() == "cancelled"


def test_a_cancelled_await_pauses_the_job(tmp_path):
    job = endless(tmp_path).submit()

    async def impatient():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.ensure_future(job), 0.2)

    asyncio.run(impatient())
    assert job.wait(60) == "paused"


def test_the_stop_button_pauses_and_the_job_goes_on_from_there(tmp_path, caplog):
    env = LocalEnvironment("numbers", checkpoint=str(tmp_path / "ckpt"))
    env.from_source(Paced(clicks(3000), rest=0.001)).map(lambda r: r["n"]).sink(JsonlSink(str(tmp_path / "out")))
    job = env.submit()
    press_stop(job, lambda: job.metrics().sinks[0].passed > 100)
    assert job.wait() == "paused"
    assert "'numbers' is paused at checkpoint" in caplog.text
    assert "submit it again to go on from there" in repr(job)
    assert env.submit().wait(60) == "finished"
    lines = [line for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(map(int, lines)) == list(range(3000))


def test_a_generator_that_never_ends_is_paused_within_two_seconds(tmp_path):
    job = endless(tmp_path).submit()
    pressed = press_stop(job, lambda: job.metrics().sinks[0].passed > 0)
    assert job.wait() == "paused"
    assert time.monotonic() - pressed[0] < 2 + 28  # 2 s, and what a machine at its limit takes


def test_a_generator_that_never_comes_back_is_paused_too(tmp_path):
    held = threading.Event()

    def stuck():
        yield 1
        held.wait(120)

    env = LocalEnvironment("stuck", checkpoint=str(tmp_path))
    env.from_collection(stuck).sink(CollectSink([]))
    job = env.submit()
    pressed = press_stop(job)
    assert job.wait() == "paused"
    assert time.monotonic() - pressed[0] < 2 + 28
    assert "is paused where it was when it was submitted" in repr(job)
    assert any("no new one could be had" in each for each in job.warnings)
    held.set()


def test_without_a_folder_the_stop_button_cancels_and_says_what_would_help(caplog):
    job = endless().submit()
    press_stop(job)
    assert job.wait() == "cancelled"
    assert "is cancelled; a job with checkpoint=… in its environment can be paused" in caplog.text


def test_where_a_folder_would_not_help_no_one_is_sent_for_one(tmp_path):
    own = LocalEnvironment("own")
    own.from_collection(itertools.count()).sink(CollectSink([]))  # as Collection.add() runs its jobs
    for job, said in ((own.submit(), "'own' is cancelled"), (endless(tmp_path).submit(), "submit it again to go on")):
        job.cancel()
        assert said in repr(job)
        assert "checkpoint=…" not in repr(job)


class Unclosed(MapFunction):
    def map(self, value):
        return value

    def close(self):
        raise OSError("gone")


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("restart", [NoRestart(), FixedDelay(100, 0.0)])
def test_a_job_that_cannot_be_closed_is_finished_and_says_so(tmp_path, checkpoint, restart):
    env = LocalEnvironment("shut", checkpoint=str(tmp_path) if checkpoint else None, restart=restart)
    env.from_collection([1, 2]).map(Unclosed(), name="poor").sink(CollectSink(rows := []))
    job = env.submit()
    assert job.wait(20) == "finished"
    assert rows == [1, 2]
    assert job.restarts == 0
    assert job.warnings == [
        "the job is finished, but operator 'poor' failed when it was closed: OSError: gone",
    ]


class Patient(CollectSink):
    """Its commits wait until they may."""

    def __init__(self, rows, may):
        super().__init__(rows)
        self.may = may

    def __deepcopy__(self, memo):
        return self

    def commit(self, handle):
        self.may.wait(60)
        super().commit(handle)


def test_a_pause_whose_commits_are_slow_says_that_its_checkpoint_is_there(tmp_path):
    env, may = LocalEnvironment("slow", checkpoint=Checkpointing(str(tmp_path), every=3600)), threading.Event()
    env.from_source(Endless()).sink(Patient([], may))
    job = env.submit()
    until(lambda: job.metrics().sinks[0].passed > 0)
    job.pause()
    may.set()
    assert "is paused at checkpoint 1" in repr(job)
    assert [each for each in job.warnings if "no new one could be had" in each] == []
    assert any("paused before all sinks had committed" in each for each in job.warnings)


class Counting:
    """Gives records without end, and counts them."""

    def __init__(self):
        self.given = 0

    def __call__(self, *_):
        while True:
            self.given += 1
            yield self.given


class Pouring(ProcessFunction):
    def __init__(self, counting):
        self.counting = counting

    def __deepcopy__(self, memo):
        return self

    def process(self, value, context):
        return self.counting(value)


def refuse(value):
    raise Boom(value)


ENDLESS = {
    "flat_map": lambda s, pour: s.flat_map(pour),
    "co_flat_map": lambda s, pour: s.connect(s).co_flat_map(pour, pour),
    "process": lambda s, pour: s.process(Pouring(pour)),
    "its fallback": lambda s, pour: s.flat_map(refuse, on_error=pour),
    "tried again": lambda s, pour: s.flat_map(pour, retry=Retry(3, backoff=0.0)),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_generator_without_end_ends_with_its_job(kind):
    env, pour = LocalEnvironment("pour"), Counting()
    ENDLESS[kind](env.from_collection([1]), pour).sink(CollectSink([]))
    before = set(threading.enumerate())
    job = env.submit()
    tasks = set(threading.enumerate()) - before
    until(lambda: pour.given > 0)
    job.cancel()
    until(lambda: not any(each.is_alive() for each in tasks))
    assert job.dead_letters == []


def test_a_job_that_no_one_waits_for_holds_up_nothing():
    code = """
import sys, time
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.sink import CollectSink
env = LocalEnvironment()
env.from_collection(lambda: iter(int, 1)).map(lambda n: time.sleep(0.01)).sink(CollectSink([]))
begun = time.monotonic()
job = env.submit()
job.serve_metrics()
assert time.monotonic() - begun < 30
print(job.status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("running", 0), done.stderr


def test_a_pause_that_was_asked_for_keeps_what_came_so_far(tmp_path):
    rows: list = []
    job = endless(tmp_path, rows).submit()
    until(lambda: job.metrics().sinks[0].passed > 100)
    job.pause()
    assert job.status == "paused"
    assert rows == list(range(len(rows)))
    assert len(rows) > 100


def test_cancelling_at_the_last_checkpoint_is_no_failure():
    class Slow(Probe):
        def __init__(self):
            super().__init__()
            self.here, self.go = threading.Event(), threading.Event()

        def at(self, point, where):
            if point == "before ack":
                self.here.set()
                self.go.wait(60)

    env = LocalEnvironment()
    env.probe = probe = Slow()
    env.from_collection([1]).sink(CollectSink([]))
    job = env.submit()
    assert probe.here.wait(60)
    threading.Timer(0.1, probe.go.set).start()
    job.cancel()
    assert job.wait() == "cancelled"


def test_a_savepoint_that_takes_too_long_is_said(tmp_path):
    held = threading.Event()
    env = LocalEnvironment()
    env.from_collection(range(5)).map(lambda n: held.wait(60)).sink(CollectSink([]))
    job = env.submit()
    with pytest.raises(SageError, match=r"no savepoint was taken in 0\.1 s"):
        job.savepoint(str(tmp_path), timeout=0.1)
    held.set()
    assert job.wait(60) == "finished"
    with pytest.raises(SageError, match="no savepoint was taken: the job is finished"):
        job.savepoint(str(tmp_path / "late"))
