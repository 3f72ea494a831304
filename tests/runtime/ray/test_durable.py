"""A durable job outlives who submitted it, is found again by name, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.runtime.checkpoint import FolderStore
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.runtime.ray.cluster import ClusterError
from sage_nb.runtime.ray.durable import keeper_of, names
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.status import cluster_status
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.storage import Folder
from tests.runtime.jobs import until
from tests.runtime.ray.drivers import Driver, lost_and_doubled
from tests.runtime.test_job import press_stop

LONG = 120.0
SUBMIT = "from tests.runtime.ray.drivers import numbering\njob = numbering({folder!r}, {name!r}, durable=True).submit()"
PLAIN = """
import ray
from tests.runtime.ray.drivers import numbering
job = numbering({folder!r}, {name!r}).submit()
said = [ray.get(task.actor.pid.remote()) for task in job.tasks]
"""


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left(cluster):
    """What other tests see is a cluster without durable jobs."""
    yield
    for name in names():
        cluster.kill(keeper_of(name))
    until(lambda: not names(), LONG)


@contextmanager
def driver(cluster):
    """A process connected to the tests' cluster."""
    with Driver(cluster.get_runtime_context().gcs_address) as process:
        yield process


def submitted(cluster, folder, name):
    """The handle of a job whose driver has been killed since."""
    with driver(cluster) as process:
        assert process.run(SUBMIT.format(folder=str(folder), name=name)) is None
    return sage.Job.attach(name)


def committed(job, count):
    """Wait for so many checkpoints."""
    until(lambda: job.metrics().committed >= count, LONG)


def pids(cluster, name):
    """The processes of a durable job: its coordinator's first, then its tasks'."""
    keeper = keeper_of(name)
    actors = [actor for *_, actor in cluster.get(keeper.places.remote())]
    return [pid for _, pid in cluster.get([each.place.remote() for each in (keeper, *actors)])]


def lives(pid):
    """Whether there is such a process, and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


async def awaited(job):
    """Its status in the end."""
    return await job


async def cancelled(job):
    """Whether who awaits it could be cancelled."""
    waiting = asyncio.ensure_future(awaited(job))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


def go(folder):
    """The last records may come."""
    (folder / "go").touch()


def test_a_job_runs_to_its_end_without_its_driver_and_loses_and_doubles_nothing(cluster, tmp_path):
    with driver(cluster) as first:
        assert first.run(SUBMIT.format(folder=str(tmp_path), name="outlives")) is None
        job = sage.Job.attach("outlives")
        committed(job, 2)
    assert "outlives" in [each.name for each in sage.jobs()]
    processes = pids(cluster, "outlives")
    shown = [(each.operator, each.pid) for each in cluster_status().durable if each.job == "outlives"]
    assert [shown[0][0], *(pid for _, pid in shown)] == ["coordinator", *processes]
    assert "durable job" in str(cluster_status())
    assert len(set(processes)) == len(processes) >= 1 + 2 + 2
    os.kill(processes[-1], signal.SIGKILL)  # it makes actors anew without its driver, too
    until(lambda: job.restarts == 1, LONG)
    before = job.metrics().committed
    committed(job, before + 1)
    assert job.status == "running"
    go(tmp_path)
    assert job.wait(LONG) == "finished"
    assert lost_and_doubled(tmp_path) == (0, 0, [])
    assert job.unbalanced() == []
    assert sage.Job.attach("outlives").status == "finished"
    until(lambda: "outlives" not in names(), LONG)
    until(lambda: not any(map(lives, processes)), LONG)
    assert (job.wait(), job.restarts, job.dead_letters) == ("finished", 1, [])


def test_a_job_that_is_not_durable_ends_with_its_driver(cluster, tmp_path):
    with driver(cluster) as first:
        processes = first.run(PLAIN.format(folder=str(tmp_path), name="mortal"))
        assert all(map(lives, processes))
        with pytest.raises(UnknownNameError, match="unknown durable job 'mortal'"):
            sage.Job.attach("mortal")
    until(lambda: not any(map(lives, processes)), LONG)
    go(tmp_path)
    assert lost_and_doubled(tmp_path)[0] > 0


def test_a_job_whose_coordinator_is_killed_leaves_no_actors_and_goes_on_when_it_is_submitted_again(cluster, tmp_path):
    job = submitted(cluster, tmp_path, "beheaded")
    committed(job, 2)
    processes = pids(cluster, "beheaded")
    os.kill(processes[0], signal.SIGKILL)
    with pytest.raises(ClusterError, match="coordinator of the durable job 'beheaded' is gone.*submit it again"):
        job.wait(LONG)
    assert job.status == "failed"
    until(lambda: not any(map(lives, processes)), LONG)
    assert "beheaded" not in names()
    again = submitted(cluster, tmp_path, "beheaded")
    go(tmp_path)
    assert again.wait(LONG) == "finished"
    assert sum(each.restored["received"] for each in again.metrics().operators if each.kind == "source") > 0
    assert lost_and_doubled(tmp_path) == (0, 0, [])


def test_a_job_is_saved_paused_and_submitted_again_by_others(cluster, tmp_path):
    job = submitted(cluster, tmp_path, "handled")
    committed(job, 1)
    path = str(tmp_path / "saved")
    assert job.savepoint(path) == path
    assert FolderStore(Folder(path)).holds()
    with pytest.raises(BadValueError, match="there is a savepoint in .* already"):
        job.savepoint(path)
    press_stop(job)
    assert job.wait(LONG) == "running"  # the stop button ends the waiting, not the job

    assert asyncio.run(cancelled(job))
    assert job.status == "running"
    job.pause()
    assert job.status == "paused"
    assert "'handled' is paused at checkpoint" in repr(job)
    with pytest.raises(SageError, match="no savepoint was taken: the job is paused"):
        job.savepoint(str(tmp_path / "late"))
    again = submitted(cluster, tmp_path, "handled")  # what is left of the first makes way
    go(tmp_path)
    assert again.wait(LONG) == "finished"
    assert lost_and_doubled(tmp_path) == (0, 0, [])


def test_a_job_is_cancelled_from_elsewhere_and_every_handle_hears_of_it(cluster, tmp_path):
    with driver(cluster) as first:
        here = f"import os\nos.chdir({str(tmp_path)!r})\n"  # its paths mean the same to actors, which began elsewhere
        assert first.run(here + SUBMIT.format(folder=".", name="unwanted")) is None
    job = sage.Job.attach("unwanted")
    until(lambda: list((tmp_path / "out").glob("*.jsonl")), LONG)
    assert FolderStore(Folder(tmp_path / "ckpt")).holds()
    other, server = sage.Job.attach("unwanted"), job.serve_metrics()
    processes = pids(cluster, "unwanted")
    job.cancel()
    assert (job.status, asyncio.run(awaited(job)), other.wait(LONG)) == ("cancelled", "cancelled", "cancelled")
    assert "closed" in repr(server)
    assert "'unwanted' is cancelled; submit it again to go on from its last checkpoint" in repr(other)
    until(lambda: not any(map(lives, processes[1:])), LONG)


def test_how_a_job_failed_is_told_to_whoever_attaches_later(cluster, tmp_path):
    with driver(cluster) as first:
        code = f"from tests.runtime.ray.drivers import failing\nfailing({str(tmp_path)!r}, 'doomed').submit()"
        assert first.run(code) is None
    job = sage.Job.attach("doomed")
    (letter,) = until(lambda: job.dead_letters, LONG)
    assert (letter.operator, letter.record["n"]) == ("picky", 3)
    coordinator, *others = pids(cluster, "doomed")
    go(tmp_path)
    until(job.ended.is_set, LONG)
    until(lambda: not any(map(lives, others)), LONG)
    assert lives(coordinator), "it stays until somebody was told"
    for each in (job, sage.Job.attach("doomed")):
        with pytest.raises(OperatorError, match="operator 'touchy' failed on .*: ValueError: the last one"):
            each.wait(LONG)
        assert each.status == "failed"
    (again,) = job.dead_letters
    assert again == letter


def durable(folder, **settings):
    """An environment for jobs that are refused."""
    return RayEnvironment("refused", durable=True, checkpoint=folder, **settings)


def test_a_durable_job_needs_a_folder_for_its_checkpoints():
    with pytest.raises(
        BadValueError, match="the durable job 'refused' needs checkpoint=…, a folder that all nodes see"
    ):
        durable(None)


LOCK = threading.Lock()
STAYS = "what only this process has, which a durable job outlives"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda env: env.from_collection([1]).sink(CollectSink([]), name="list"),
            f"the sink 'list' writes to {STAYS}; write to a JsonlSink or a collection, or leave durable=True out",
        ),
        (
            lambda env: env.from_collection(iter([1]), name="once").for_each(abs),
            f"the source 'once' reads {STAYS}; give it a list, files, or a function that returns the iterator",
        ),
        (
            lambda env: env.from_collection([1]).map(lambda n: (LOCK, n), name="locked").for_each(abs),
            "operator 'locked' cannot be sent to another process: 'LOCK' is a lock, which lives in this process only",
        ),
    ],
)
def test_what_cannot_leave_its_process_is_no_part_of_a_durable_job(tmp_path, build, words):
    env = durable(tmp_path)
    build(env)
    with pytest.raises(BadValueError, match=re.escape(words)):
        env.submit()
    assert "refused" not in names()


def test_documents_are_not_added_durably_since_they_are_read_here(tmp_path):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    with pytest.raises(BadValueError, match=f"the source 'read' reads {STAYS}"):
        collection.add([sage.Document("d", "an ant")], env=durable(tmp_path / "ckpt"), progress=False)


def test_a_cluster_that_ends_with_this_process_is_no_place_for_a_durable_job(tmp_path):
    env = durable(tmp_path)
    env.from_collection([1]).for_each(abs)
    with pytest.raises(ClusterError, match="outlives this process, and the .* `ray start --head` and give its address"):
        env.submit()


def test_a_name_is_for_one_durable_job_at_a_time(cluster, tmp_path):
    job = submitted(cluster, tmp_path, "taken")
    with driver(cluster) as second:
        other = tmp_path / "other"
        said = second.run(SUBMIT.format(folder=str(other), name="taken"))
        assert said == (
            "BadValueError: a durable job 'taken' is running already; attach to it with Job.attach('taken'), "
            "cancel() it there, or give this one another name"
        )
        said = second.run(SUBMIT.format(folder=str(tmp_path), name="intruder"))
        assert said.startswith("CheckpointError: a job with the checkpoints in")
        known = second.run("import sage_nb as sage\nsaid = [each.name for each in sage.jobs()]")
        assert "taken" in known
        assert "intruder" not in known
        assert job.status == "running"
        job.cancel()


ASKING = """
import sys
import sage_nb as sage
for ask in (sage.jobs, lambda address: sage.Job.attach("any", address)):
    try:
        ask(sys.argv[1])
    except sage.SageError as error:
        print(error)
"""


def test_without_a_cluster_there_are_no_durable_jobs():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        command = [sys.executable, "-c", ASKING, address]
        said = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=True)
    assert [line.startswith(f"there is no Ray cluster at '{address}': ") for line in said.stdout.splitlines()] == [
        True
    ] * 2
