"""Checkpoints that are damaged, foreign or too new: passed over and said, or refused in a sentence."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.checkpoint import CheckpointError, Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import KeyedProcessFunction
from sage_nb.stream.sink import JsonlSink
from sage_nb.stream.state import ValueState
from tests.runtime.jobs import CrashAt, Halting, Paced, Running, Tally, clicks, finished, lines, until


def environment(folder, name="job", **settings):
    checkpoint = Checkpointing(str(folder / "ckpt"), every=0.01, retain=3)
    return LocalEnvironment(name, **{"checkpoint": checkpoint, "restart": FixedDelay(3, 0.0), **settings})


def counting(folder, source, name="job", uid="count", **settings):
    env = environment(folder, name, **settings)
    env.from_source(source).key_by("key").process(Running(), uid=uid).sink(JsonlSink(str(folder / "out")), uid="sink")
    return env


@pytest.fixture
def halted(tmp_path):
    """A folder with three checkpoints of a job that stopped at its 60th record; the source lets the rest go."""
    source = Halting(clicks(100), at=20)
    job = counting(tmp_path, source).submit()
    for at in (20, 40, 60):
        source.at = at
        until(lambda at=at: job.metrics().total("sink", "received") == at)
        taken = job.metrics().committed  # of the checkpoints themselves only the last hundred are kept
        until(lambda taken=taken: job.metrics().committed > taken + 1)
    job.pause()
    assert job.status == "paused"
    source.go.set()
    return tmp_path, source


def checkpoints(folder):
    return sorted((folder / "ckpt").glob("chk-*"))


def flip(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


DAMAGES = {
    "a truncated state file": (lambda chk: cut(chk / "count-0"), "its file 'count-0' is not as it was written"),
    "a changed byte": (
        lambda chk: flip(chk / "count-0"),
        "its file 'count-0' is not as it was written",
    ),
    "a missing state file": (lambda chk: (chk / "source-0").unlink(), "No such file or directory"),
    "a truncated MANIFEST": (lambda chk: cut(chk / "MANIFEST"), "is damaged"),
    "an empty MANIFEST": (lambda chk: (chk / "MANIFEST").write_bytes(b""), "is damaged"),
    "a MANIFEST of another kind": (lambda chk: (chk / "MANIFEST").write_text('{"format": "x"}'), "is damaged"),
    "a missing MANIFEST": (lambda chk: (chk / "MANIFEST").unlink(), "No such file or directory"),
    "a missing folder": (shutil.rmtree, "No such file or directory"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(halted, damage):
    folder, source = halted
    harm, said = DAMAGES[damage]
    *_, before, last = checkpoints(folder)
    harm(last)
    job = finished(counting(folder, source))
    [warning] = job.warnings
    assert said in warning
    assert f"checkpoint {int(last.name[4:])} in" in warning
    assert warning.endswith(f"; went back to checkpoint {int(before.name[4:])}")
    numbers = sorted((row["key"], row["number"]) for row in lines(folder / "out"))
    assert numbers == sorted((f"k{at % 5}", at // 5 + 1) for at in range(100))


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_no_checkpoint_is_whole_the_job_is_refused_not_begun_anew(halted, damage):
    folder, source = halted
    for each in checkpoints(folder):
        DAMAGES[damage][0](each)
    with pytest.raises(CheckpointError, match=r"damaged .*no older one is whole; restore its files or use fresh=True"):
        counting(folder, source).submit()
    job = finished(counting(folder, source), fresh=True)
    assert job.warnings == []
    assert len(lines(folder / "out")) == 100


def test_a_checkpoint_begun_and_never_committed_is_not_missed(halted):
    folder, source = halted
    begun = folder / "ckpt" / f"chk-{int(checkpoints(folder)[-1].name[4:]) + 1:06d}"
    begun.mkdir()
    (begun / "count-0").write_bytes(b"half")
    job = finished(counting(folder, source))
    assert job.warnings == []
    assert len(lines(folder / "out")) == 100


def test_a_newer_format_is_refused(halted):
    folder, source = halted
    (checkpoints(folder)[-1] / "MANIFEST").write_text('{"format": 99, "what": "ever"}')
    with pytest.raises(CheckpointError, match=r"checkpoint \d+ in .* was written by a newer sage_nb; upgrade sage-nb"):
        counting(folder, source).submit()


REFUSED = {
    "another job": ({"name": "other"}, r"are of the job 'job', not of 'other'; give each job a folder of its own"),
    "other key groups": ({"max_parallelism": 64}, r"have 128 key groups, the environment has 64; max_parallelism can"),
    "another uid": (
        {"uid": "sum"},
        r"are of another graph: 'count', 'sum' differ; keep the uids, use fresh=True",
    ),
}


@pytest.mark.parametrize("given", REFUSED)
def test_a_checkpoint_of_something_else_is_refused(halted, given):
    folder, source = halted
    changed, sentence = REFUSED[given]
    with pytest.raises(CheckpointError, match=sentence):
        counting(folder, source, **changed).submit()
    assert finished(counting(folder, source)).warnings == []  # and the folder is free again


def test_state_that_no_operator_takes_may_be_dropped_when_asked(halted):
    folder, source = halted
    job = finished(counting(folder, source, uid="sum"), allow_non_restored=True)
    rows = lines(folder / "out")
    assert sorted(row["n"] for row in rows) == list(range(100))
    assert max(row["number"] for row in rows if row["n"] >= 60) == 8  # counted anew from the 60th
    assert job.restarts == 0


def test_another_kind_of_operator_under_a_known_uid_is_refused_even_then(halted):
    folder, source = halted
    env = environment(folder)
    env.from_source(source).key_by("key").map(lambda r: r, uid="count").sink(JsonlSink(str(folder / "out")), uid="sink")
    for lenient in (False, True):
        with pytest.raises(CheckpointError, match=r"operator 'count' was a process .* and is a map .*another uid"):
            env.submit(allow_non_restored=lenient)


class Holding(KeyedProcessFunction):
    """Keeps what is no plain data."""

    def open(self, context):
        self.held = context.state(ValueState("held", None))

    def process(self, value, context):
        self.held.update(threading.Event)
        yield value


def test_state_that_is_no_plain_data_fails_the_job_in_a_sentence(tmp_path):
    env = environment(tmp_path)
    env.from_source(Paced(clicks(9))).key_by("key").process(Holding(), uid="holding").sink(JsonlSink(f"{tmp_path}/out"))
    with pytest.raises(BadValueError, match=r"operator 'holding' cannot be checkpointed: a .* is no plain data"):
        env.submit().wait(60)


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    env = LocalEnvironment("job", checkpoint=str(tmp_path / "file"))
    env.from_collection([1]).sink(JsonlSink(str(tmp_path / "out")))
    with pytest.raises(CheckpointError, match=r"checkpoints cannot be written to .*; give a folder that"):
        env.submit()


def test_a_folder_whose_job_still_runs_is_refused(tmp_path):
    source = Halting(clicks(50), at=10)
    env = counting(tmp_path, source)
    job = env.submit()
    with pytest.raises(CheckpointError, match=r"a job with the checkpoints in .* is still running; wait for it"):
        env.submit()
    source.go.set()
    assert job.wait(60) == "finished"
    assert len(lines(tmp_path / "out")) == 50


def test_a_checkpoint_that_takes_too_long_is_given_up_and_a_later_one_counts(tmp_path):
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=0.02, timeout=0.2)
    env = LocalEnvironment("job", checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    source = Halting(clicks(100), at=60)
    stuck = threading.Event()
    stream = env.from_source(source).key_by("key").map(lambda r: stuck.wait(60) and r)
    stream.sink(JsonlSink(str(tmp_path / "out")), uid="sink")
    job = env.submit()
    until(lambda: any("took longer than 0.2 s" in each for each in job.warnings))
    stuck.set()
    source.go.set()
    assert job.wait(60) == "finished"
    assert job.restarts == 0
    assert len(lines(tmp_path / "out")) == 100


def test_only_so_many_checkpoints_are_kept(halted):
    folder, _ = halted
    assert len(checkpoints(folder)) == 3
    assert Path(folder / "ckpt" / "LATEST").read_text() == str(int(checkpoints(folder)[-1].name[4:]))


class Refusing(CrashAt):
    """The disk refuses the source's first part; the job fails after the first checkpoint that is committed."""

    def __init__(self):
        super().__init__(point="after manifest")
        self.parts = Tally()
        self.refused, self.second = threading.Event(), threading.Event()

    def at(self, point, where):
        super().at(point, where)
        if point == "before write" and where == "source":
            if self.parts.next() == 1:
                self.refused.set()
                raise OSError("no room")
            self.second.set()


def test_a_barrier_of_a_checkpoint_that_was_given_up_loses_nothing_in_a_loop(tmp_path):
    """It comes round while the next one's is under way: the head must go on writing down what comes home."""
    source, go = Halting(clicks(30), at=10), threading.Event()
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=0.3)
    env = LocalEnvironment("job", checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    env.probe = probe = Refusing()

    def body(stream):
        return stream.map(lambda r: go.wait(60) and {**r, "rounds": r.get("rounds", 0) + 1})

    stream = env.from_source(source).iterate(body, until=lambda r: r["rounds"] == 50)
    stream.sink(JsonlSink(str(tmp_path / "out")))
    job = env.submit()
    assert probe.refused.wait(60)
    source.at = 20
    until(lambda: job.metrics().total("source", "received") == 20)
    assert probe.second.wait(60)
    go.set()
    until(lambda: job.restarts == 1)
    source.go.set()
    assert job.wait(60) == "finished"
    assert "was given up: it could not be written: no room" in job.warnings[0]
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(30))


def test_what_reads_dead_letters_may_change_between_runs(tmp_path):
    """The place they are kept in is no operator of the user's: it comes and goes, and what it holds stays."""

    def run(first, second, *, read=False):
        env = environment(tmp_path)
        one = env.from_collection([{"n": n} for n in range(10)]).map(
            lambda r: 1 / (r["n"] - 1) and r, name="one", on_error=first
        )
        one.map(lambda r: 1 / (r["n"] - 2) and r, name="two", on_error=second).sink(JsonlSink(f"{tmp_path}/out"))
        if read:
            one.side("dead").sink(JsonlSink(f"{tmp_path}/letters"), uid="letters")
        return env

    for first, second in (("dead_letter", "dead_letter"), ("fail", "dead_letter"), ("fail", "fail"), (max, max)):
        assert len(finished(run(first, second)).dead_letters) == 2
    reading = run("dead_letter", "dead_letter", read=True)
    with pytest.raises(CheckpointError, match="of another graph: 'letters' differ; .* allow_non_restored=True"):
        reading.submit()
    assert len(finished(reading, allow_non_restored=True).dead_letters) == 2
