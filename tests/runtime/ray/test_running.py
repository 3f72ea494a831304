"""A job on actors is paused, cancelled, kept and taken up like one on threads; so is one whose driver was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import Endless, Paced, Running, clicks, finished, lines, until

ROOT = Path(__file__).parents[3]
COUNT, LONG = 4000, 60.0
WHOLE = sorted((f"k{key}", number) for key in range(5) for number in range(1, COUNT // 5 + 1))


def counting(tmp_path, parallelism=2, every=0.1, rest=0.03, **settings):
    """Numbers each key's records, over many seconds unless without a rest."""
    checkpoint = Checkpointing(str(tmp_path / "ckpt"), every=every)
    env = RayEnvironment("count", parallelism=parallelism, checkpoint=checkpoint, **settings)
    data = clicks(COUNT)
    source = env.from_source(Paced(data[::2], data[1::2], rest=rest), parallelism=2)
    source.key_by("key").process(Running()).sink(JsonlSink(str(tmp_path / "out")))
    return env


def counted(tmp_path):
    return sorted((record["key"], record["number"]) for record in lines(str(tmp_path / "out")))


def shown(tmp_path):
    """Whether records are committed."""
    return (tmp_path / "out").exists() and lines(str(tmp_path / "out"))


def test_a_paused_job_goes_on_from_where_it_was(tmp_path):
    job = counting(tmp_path).submit()
    until(lambda: shown(tmp_path), LONG)
    job.pause()
    assert job.status == "paused"
    before = counted(tmp_path)
    assert 0 < len(before) < COUNT
    finished(counting(tmp_path, rest=0))
    assert counted(tmp_path) == WHOLE


def test_a_cancelled_job_shows_what_was_committed_and_no_more(tmp_path):
    job = counting(tmp_path).submit()
    until(lambda: shown(tmp_path), LONG)
    job.cancel()
    assert job.status == "cancelled"
    finished(counting(tmp_path, rest=0))
    assert counted(tmp_path) == WHOLE


def test_a_job_is_cancelled_while_a_sink_at_home_holds_it_up(cluster):
    rows: list = []
    env = RayEnvironment("home")
    env.from_source(Endless()).sink(CollectSink(rows))
    job = env.submit()
    until(lambda: rows, LONG)
    job.cancel()
    assert job.wait(LONG) == "cancelled"
    assert rows == list(range(len(rows)))


def test_a_job_shrinks_and_grows_from_its_checkpoints_and_from_a_savepoint(tmp_path):
    job = counting(tmp_path, parallelism=1).submit()
    until(lambda: shown(tmp_path), LONG)
    path = job.savepoint(str(tmp_path / "kept"))
    job.pause()
    before = len(counted(tmp_path))
    job = counting(tmp_path, parallelism=2).submit()
    until(lambda: len(counted(tmp_path)) > before, LONG)
    job.pause()
    finished(counting(tmp_path, parallelism=1, rest=0))
    assert counted(tmp_path) == WHOLE
    finished(counting(tmp_path, parallelism=2, rest=0), savepoint=path, fresh=True)
    assert counted(tmp_path) == WHOLE


def test_a_savepoint_of_a_job_that_has_ended_is_refused(tmp_path):
    env = RayEnvironment("brief")
    env.from_collection([1]).sink(CollectSink([]))
    job = finished(env)
    with pytest.raises(SageError, match="no savepoint was taken: the job is finished"):
        job.savepoint(str(tmp_path / "late"))


DRIVER = """
import sys
from pathlib import Path
from tests.runtime.ray.test_running import counting

folder, address = Path(sys.argv[1]), sys.argv[2]
counting(folder, address=address).submit().wait(200)
"""


def driver(tmp_path, address):
    command = [sys.executable, "-c", DRIVER, str(tmp_path), address]
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=path)


def killed_once_it_shows_more(process, tmp_path):
    """Kill -9 when records are committed that were not before."""
    before = len(shown(tmp_path) or ())
    try:
        until(lambda: process.poll() is not None or len(shown(tmp_path) or ()) > before, LONG)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_a_job_whose_driver_was_killed_goes_on_in_a_new_process(cluster, tmp_path):
    killed_once_it_shows_more(driver(tmp_path, cluster.get_runtime_context().gcs_address), tmp_path)
    assert 0 < len(counted(tmp_path)) < COUNT
    finished(counting(tmp_path, rest=0))
    assert counted(tmp_path) == WHOLE
