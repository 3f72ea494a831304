"""What follows a failure; pausing, cancelling, savepoints; and that an ended job leaves nothing behind."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import ExponentialDelay, FailureRate, FixedDelay, NoRestart
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import Boom, CrashAt, Halting, Once, Paced, Running, clicks, finished, lines, until


class Failing:
    """Fails whenever it meets that number, the first `times` times."""

    def __init__(self, times):
        self.left = times

    def __call__(self, record):
        if record["n"] == 5 and self.left:
            self.left -= 1
            raise Boom("again")
        return record


def failing(times, restart, rows, checkpoint=None):
    env = LocalEnvironment("job", restart=restart, checkpoint=checkpoint)
    env.from_source(Paced(clicks(10))).map(Failing(times), name="touchy", on_error="fail").sink(CollectSink(rows))
    return env


RIGHT = clicks(10)


@pytest.mark.parametrize(
    ("restart", "survives"),
    [
        (NoRestart(), 0),
        (FixedDelay(3, 0.0), 3),
        (FailureRate(2, interval=60.0, seconds=0.0), 2),
        (ExponentialDelay(0.001, longest=0.002), 12),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_a_strategy_begins_again_as_often_as_it_says_with_a_folder_or_without(tmp_path, restart, survives, kept):
    checkpoint = Checkpointing(str(tmp_path), every=60.0) if kept else None
    rows: list = []
    assert finished(failing(survives, restart, rows, checkpoint)).restarts == survives
    assert rows == RIGHT


@pytest.mark.parametrize(
    ("restart", "failures"),
    [(NoRestart(), 1), (FixedDelay(3, 0.0), 4), (FailureRate(2, interval=60.0, seconds=0.0), 3)],
)
def test_a_strategy_gives_up_and_the_job_says_why(restart, failures):
    rows: list = []
    job = failing(failures, restart, rows).submit()
    with pytest.raises(OperatorError, match=r"operator 'touchy' failed on .*'n': 5.*: Boom: again"):
        job.wait(60)
    assert job.status == "failed"
    assert job.restarts == failures - 1
    assert rows == []


def test_an_old_failure_does_not_count_against_the_rate():
    assert FailureRate(1, interval=10.0, seconds=2.0).delay([0.0, 9.0, 20.0]) == 2.0
    assert FailureRate(1, interval=10.0).delay([0.0, 15.0, 20.0]) is None


def test_delays_grow_to_the_longest_and_start_over_after_a_calm_spell():
    steady = ExponentialDelay(1.0, longest=60.0, factor=1.5, jitter=0.0, calm=100.0)
    assert [steady.delay([0.0] * count) for count in (1, 2, 3, 20)] == [1.0, 1.5, 2.25, 60.0]
    assert steady.delay([0.0] * 5000) == 60.0
    assert steady.delay([0.0, 1.0, 2.0, 102.0]) == 1.0
    assert 60.0 <= ExponentialDelay(60.0).delay([0.0]) <= 66.0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FixedDelay(0),
        lambda: FailureRate(0),
        lambda: FailureRate(interval=0),
        lambda: ExponentialDelay(0),
        lambda: ExponentialDelay(5.0, longest=1.0),
        lambda: ExponentialDelay(factor=0.5),
        lambda: Checkpointing("x", every=0),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadValueError, match=r"needs .*, got "):
        wrong()


class Unwise:
    """A strategy that fails itself."""

    def delay(self, failures):
        raise ZeroDivisionError


def test_a_strategy_that_fails_itself_ends_the_job_with_the_first_error():
    with pytest.raises(OperatorError, match=r"Boom: again"):
        failing(1, Unwise(), []).submit().wait(60)


def kept(tmp_path, source, every=0.01, **settings):
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=every)
    env = LocalEnvironment("job", **{"checkpoint": checkpoint, "restart": FixedDelay(9, 0.0), **settings})
    env.from_source(source).key_by("key").process(Running()).sink(JsonlSink(str(tmp_path / "out")), uid="sink")
    return env


def received(job, count):
    return until(lambda: job.metrics().total("sink", "received") == count)


def test_pause_and_go_on_as_often_as_one_likes(tmp_path):
    source = Halting(clicks(100), at=0)
    for at in (20, 40, 60, 80):
        source.at = at
        job = kept(tmp_path, source, every=60.0).submit()
        received(job, at)
        job.pause()
        assert job.status == job.wait() == "paused"
        assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(at))
    source.go.set()
    finished(kept(tmp_path, source))
    assert sorted(row["number"] for row in lines(tmp_path / "out")) == sorted([*range(1, 21)] * 5)


def test_pausing_a_job_without_a_folder_cancels_it():
    env = LocalEnvironment()
    env.from_source(Halting(clicks(9), at=5)).sink(CollectSink([]))
    job = env.submit()
    job.pause()
    assert job.status == "cancelled"


def test_pausing_a_job_that_waits_to_begin_again_does_not_wait(tmp_path):
    source = Halting(clicks(100), at=50)
    env = kept(tmp_path, source, restart=FixedDelay(9, 3600.0))
    env.probe = CrashAt(point="after manifest", nth=2)
    job = env.submit()
    until(lambda: job.status == "restarting")
    job.pause()
    assert job.status == "paused"
    source.go.set()
    finished(kept(tmp_path, source))
    assert len(lines(tmp_path / "out")) == 100


def test_a_failure_while_pausing_does_not_keep_the_job_from_it(tmp_path):
    source = Halting(clicks(100), at=50)
    env = kept(tmp_path, source, every=60.0)
    env.probe = CrashAt(point="notify")
    job = env.submit()
    received(job, 50)
    job.pause()
    assert (job.status, job.restarts) == ("paused", 1)
    source.go.set()
    finished(kept(tmp_path, source))
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(100))


def test_a_savepoint_is_taken_while_the_job_runs_on(tmp_path):
    source = Halting(clicks(100), at=50)
    job = kept(tmp_path, source, every=60.0).submit()
    received(job, 50)
    path = job.savepoint(str(tmp_path / "saved"))
    with pytest.raises(BadValueError, match=r"there is a savepoint in .* already; give another path, or remove it fir"):
        job.savepoint(path)
    source.go.set()
    assert job.wait(60) == "finished"
    rows: list = []
    env = LocalEnvironment("job")
    env.from_source(source).key_by("key").process(Running()).sink(CollectSink(rows), uid="sink")
    with pytest.raises(BadValueError, match=r"there is no savepoint in .*nowhere.*; look at the path that savepoint"):
        env.submit(savepoint=str(tmp_path / "nowhere"))


def test_a_savepoint_is_kept_through_a_failure_right_after_it(tmp_path):
    source = Halting(clicks(100), at=50)
    env = kept(tmp_path, source, every=60.0)
    env.probe = CrashAt(point="after manifest")
    job = env.submit()
    received(job, 50)
    job.savepoint(str(tmp_path / "saved"))
    until(lambda: job.restarts == 1)
    source.go.set()
    assert job.wait(60) == "finished"
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(100))


def test_a_job_that_has_checkpoints_of_its_own_says_that_it_did_not_start_from_the_savepoint(tmp_path):
    source = Halting(clicks(100), at=50)
    job = kept(tmp_path, source).submit()
    received(job, 50)
    path = job.savepoint(str(tmp_path / "saved"))
    source.go.set()
    assert job.wait(60) == "finished"
    again = finished(kept(tmp_path, source), savepoint=path)
    assert "the job went on from its own checkpoint" in again.warnings[0]
    assert len(lines(tmp_path / "out")) == 100
    finished(kept(tmp_path, source), savepoint=path, fresh=True)
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(100))


@pytest.mark.parametrize("end", ["pause", "cancel"])
def test_no_savepoint_of_a_job_that_has_ended(tmp_path, end):
    job = kept(tmp_path, Halting(clicks(9), at=5)).submit()
    getattr(job, end)()
    with pytest.raises(SageError, match=rf"no savepoint was taken: the job is {job.status}; take one while it runs"):
        job.savepoint(str(tmp_path / "saved"))


def test_a_savepoint_during_which_the_job_fails_is_given_up_and_the_job_goes_on(tmp_path):
    source = Halting(clicks(100), at=50)
    env = kept(tmp_path, source, every=60.0)
    env.probe = CrashAt(point="before manifest")
    job = env.submit()
    received(job, 50)
    with pytest.raises(SageError, match=r"the savepoint was given up: the coordinator failed; ask again"):
        job.savepoint(str(tmp_path / "saved"))
    source.go.set()
    assert job.wait(60) == "finished"
    assert len(lines(tmp_path / "out")) == 100


def test_cancelling_during_the_last_checkpoint_is_cancelling(tmp_path):
    class Stuck(Probe):
        def __init__(self):
            super().__init__()
            self.there, self.go = threading.Event(), threading.Event()

        def at(self, point, where):
            if point == "before ack":
                self.there.set()
                assert self.go.wait(60)

    env = kept(tmp_path, Paced(clicks(20)), every=60.0)
    env.probe = stuck = Stuck()
    job = env.submit()
    assert stuck.there.wait(60)
    threading.Timer(0.1, stuck.go.set).start()
    job.cancel()
    assert job.status == job.wait() == "cancelled"
    assert lines(tmp_path / "out") == []


def test_two_failures_at_once_are_one_restart(tmp_path):
    meet = threading.Barrier(2)
    due = [True, True]

    def together(at):
        def fail(record):
            if due[at]:
                due[at] = False
                meet.wait(60)
                raise Boom(f"task {at}")
            return record

        return fail

    checkpoint = Checkpointing(str(tmp_path), every=60.0)
    env = LocalEnvironment("job", checkpoint=checkpoint, restart=FixedDelay(9, 0.05))
    rows: list = []
    one = env.from_source(Paced(clicks(20))).map(together(0), on_error="fail")
    two = env.from_source(Paced(clicks(20))).map(together(1), on_error="fail")
    one.union(two).sink(CollectSink(rows))
    assert finished(env).restarts == 1
    assert sorted(row["n"] for row in rows) == sorted([*range(20)] * 2)


def test_who_looks_on_and_fails_does_no_harm(caplog):
    env = LocalEnvironment()
    source = Halting(clicks(9), at=5)
    rows: list = []
    env.from_source(source).sink(CollectSink(rows))
    job = env.submit()
    job._coordinator.on_tick.append(lambda: 1 / 0)
    until(lambda: "a look at the job 'job' failed" in caplog.text)
    source.go.set()
    assert job.wait(60) == "finished"


def ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sage-")]


def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_fifty_jobs_in_a_row_leave_no_thread_and_no_open_file(tmp_path):
    held, jobs = None, []
    for at in range(50):
        source = Halting(clicks(30), at=20 if at % 3 == 1 else 30)
        env = kept(tmp_path / str(at), source, parallelism=2)
        env.from_source(Paced(clicks(9))).map(lambda r: r, timeout=5.0).sink(CollectSink([]))
        env.probe = CrashAt(point="notify", nth=1 if at % 3 == 0 else -1)
        jobs.append(env.submit())
        if at % 3 == 1:
            jobs[-1].cancel()
        else:
            source.go.set()
            assert jobs[-1].wait(60) == "finished"
        until(lambda: not ours())
        held = held or descriptors()
    assert descriptors() <= held
    assert {job.status for job in jobs} == {"finished", "cancelled"}


def test_a_failed_job_leaves_no_thread():
    env = LocalEnvironment(parallelism=3)
    env.from_source(Paced(clicks(99))).map(Once(lambda r: r["n"] == 50), on_error="fail").sink(CollectSink([]))
    with pytest.raises(OperatorError, match="Boom"):
        env.submit().wait(60)
    until(lambda: not ours())


def test_a_savepoint_that_was_given_up_may_be_asked_for_again_at_the_same_place(tmp_path):
    source = Halting(clicks(100), at=50)
    env = kept(tmp_path, source, every=60.0)
    env.probe = CrashAt(point="before manifest")
    job = env.submit()
    received(job, 50)
    with pytest.raises(SageError, match=r"the savepoint was given up: the coordinator failed; ask again"):
        job.savepoint(str(tmp_path / "saved"))
    until(lambda: job.status == "running")
    assert job.savepoint(str(tmp_path / "saved")) == str(tmp_path / "saved")
    assert len([path for path in (tmp_path / "saved").iterdir() if path.is_dir()]) == 1  # no leftovers of the first
    source.go.set()
    assert job.wait(20) == "finished"


@pytest.mark.parametrize("between", ["nothing", "again", "fresh"])
def test_a_savepoint_outlives_its_job_and_those_after_it(tmp_path, between):
    source = Halting(clicks(100), at=50)
    job = kept(tmp_path, source, every=60.0).submit()
    received(job, 50)
    path = job.savepoint(str(tmp_path / "saved"))
    job.cancel()
    source.go.set()
    if between != "nothing":
        finished(kept(tmp_path, source, every=60.0), fresh=between == "fresh")
    finished(kept(tmp_path, source), savepoint=path, fresh=True)
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(100))


def test_a_savepoint_of_a_job_without_a_folder_is_a_beginning_too(tmp_path):
    def env(rows, **settings):
        made = LocalEnvironment("job", **settings)
        made.from_source(source).key_by("key").process(Running()).sink(JsonlSink(rows), uid="sink")
        return made

    for restart in (None, FixedDelay(3, 0.0)):
        source = Halting(clicks(100), at=50)
        out = str(tmp_path / f"out-{restart}")
        job = env(out, restart=restart).submit()
        received(job, 50)
        path = job.savepoint(str(tmp_path / f"saved-{restart}"))
        job.cancel()
        source.go.set()
        finished(env(out), savepoint=path)
        assert sorted(row["n"] for row in lines(out)) == list(range(100))


def test_a_savepoint_that_cannot_be_written_does_the_job_no_harm(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    source = Halting(clicks(100), at=50)
    job = kept(tmp_path, source).submit()
    received(job, 50)
    with pytest.raises(SageError, match=r"the savepoint was given up: it could not be written: .*; ask again"):
        job.savepoint(str(tmp_path / "file"))
    source.go.set()
    assert job.wait(20) == "finished"
    assert len(lines(tmp_path / "out")) == 100
