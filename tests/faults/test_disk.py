"""A full disk and a folder that may only be read: said in a sentence, and nothing is lost once there is room."""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import CheckpointError, Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import KeyedProcessFunction
from sage_nb.stream.sink import JsonlSink
from sage_nb.stream.state import ValueState
from tests.runtime.jobs import Halting, clicks, finished, lines, until

SMALL = 256 * 1024  # bytes


class Disk:
    """A folder with little room: a file system of its own, or, where none may be mounted, with small files only."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._mounted = self._mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder))
        if not self._mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, self._limits[1]))

    def make_room(self):
        if self._mounted:
            assert self._mount("-o", "remount,size=64m", str(self.folder))
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)

    def protect(self):
        if not (self._mounted and self._mount("-o", "remount,ro", str(self.folder))):
            self.folder.rmdir()
            self.folder.write_text("in the way")

    def gone(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def _mount(self, *arguments):
        with suppress(FileNotFoundError):
            return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
        return False


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.gone()


class Hoarding(KeyedProcessFunction):
    """Keeps a hundred thousand letters for each key."""

    def open(self, context):
        self.held = context.state(ValueState("held", ""))

    def process(self, value, context):
        self.held.update("x" * 100_000)
        yield value


def hoarding(checkpoints, out, source):
    env = LocalEnvironment("job", checkpoint=Checkpointing(str(checkpoints), every=0.02), restart=FixedDelay(2, 0.0))
    env.from_source(source).key_by("key").process(Hoarding()).sink(JsonlSink(str(out)), uid="sink")
    return env


def test_without_room_for_checkpoints_the_job_runs_on_and_cannot_end(disk, tmp_path):
    source = Halting(clicks(60), at=30)
    job = hoarding(disk.folder / "ckpt", tmp_path / "out", source).submit()
    until(lambda: any("was given up: it could not be " in each for each in job.warnings))
    assert job.status == "running"
    source.go.set()
    with pytest.raises(SageError, match=r"the last checkpoint was given up: it could not be .*; make room or mend the"):
        job.wait(60)
    disk.make_room()
    finished(hoarding(disk.folder / "ckpt", tmp_path / "out", source))
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(60))


def test_a_job_that_runs_on_until_there_is_room_loses_nothing(disk, tmp_path):
    source = Halting(clicks(60), at=30)
    job = hoarding(disk.folder / "ckpt", tmp_path / "out", source).submit()
    until(lambda: job.warnings)
    disk.make_room()
    until(lambda: job.metrics().checkpoints)
    source.go.set()
    assert job.wait(60) == "finished"
    assert job.restarts == 0
    assert sorted(row["n"] for row in lines(tmp_path / "out")) == list(range(60))


def test_without_room_for_what_a_sink_writes_the_job_fails_and_goes_on_later(disk, tmp_path):
    out, checkpoint = disk.folder / "out", Checkpointing(str(tmp_path / "ckpt"), every=60.0)
    data = [{"n": n, "text": "x" * 10_000} for n in range(60)]

    def writing():
        env = LocalEnvironment("job", checkpoint=checkpoint, restart=FixedDelay(2, 0.0))
        env.from_collection(data).sink(JsonlSink(str(out)), uid="sink")
        return env

    job = writing().submit()
    with pytest.raises(SageError, match=r"sink 'JsonlSink' cannot write: .*(No space left|File too large)"):
        job.wait(60)
    assert job.restarts == 2
    assert lines(out) == []
    disk.make_room()
    finished(writing())
    assert sorted(row["n"] for row in lines(out)) == list(range(60))


def test_a_folder_that_may_only_be_read_is_refused_at_once(disk, tmp_path):
    disk.protect()
    with pytest.raises(
        CheckpointError, match=r"checkpoints cannot be written to .*; give a folder that can be written"
    ):
        hoarding(disk.folder / "ckpt", tmp_path / "out", Halting(clicks(9), at=9)).submit()
