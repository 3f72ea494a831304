"""On a cluster as in this process: what was paused goes on, dead letters are tried again, nodes are told."""

from __future__ import annotations

import pytest

from sage_nb.errors import SageError
from sage_nb.notebook.widgets.dashboard import Dashboard
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.job import Job
from sage_nb.runtime.ray.cluster import ClusterError
from sage_nb.runtime.ray.durable import keeper_of, names
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.sink import CollectSink, JsonlSink
from tests.runtime.jobs import Paced, lines, until
from tests.runtime.ray.drivers import Driver, Until

LONG = 120.0


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left(cluster):
    """What other tests see is a cluster without durable jobs."""
    yield
    for name in names():
        cluster.kill(keeper_of(name))
    until(lambda: not names(), LONG)


class NotYet:
    """Refuses every third number until a file is there."""

    def __init__(self, folder):
        self.path = folder / "up"

    def __call__(self, value):
        if value % 3 == 0 and not self.path.exists():
            raise ValueError(f"no answer for {value}")
        return value


def asking(name, folder):
    """A durable job whose last record waits for a file `go`."""
    env = RayEnvironment(name, durable=True, checkpoint=Checkpointing(str(folder / "ckpt"), every=0.2))
    flow = env.from_source(Paced([*range(30)], hold=Until(folder / "go")))
    flow.map(NotYet(folder), name="ask").sink(JsonlSink(str(folder / "out")))
    return env


def submitted(cluster, name, folder):
    """The handle of such a job, whose driver has been killed since."""
    with Driver(cluster.get_runtime_context().gcs_address) as process:
        code = "from pathlib import Path\nfrom tests.runtime.ray.test_again import asking\n"
        assert process.run(f"{code}asking({name!r}, Path({str(folder)!r})).submit()") is None
    return Job.attach(name)


def test_a_record_goes_through_its_actor_again_and_to_a_list_that_is_here(tmp_path):
    env, rows = RayEnvironment("asks"), []
    env.from_collection(range(1, 8)).map(NotYet(tmp_path), name="ask").sink(CollectSink(rows))
    job = env.submit()
    assert job.wait(LONG) == "finished"
    assert len(job.dead_letters) == 2
    (tmp_path / "up").touch()
    assert job.retry().passed == 2
    assert sorted(rows) == [1, 2, 3, 4, 5, 6, 7]
    assert job.dead_letters == []


def test_a_durable_job_goes_on_and_tries_again_where_its_code_is(cluster, tmp_path):
    job = submitted(cluster, "asks-on", tmp_path)
    board = Dashboard(job)
    try:
        until(lambda: job.dead_letters, LONG)
        board.refresh()
        assert sum(bool(row[-1]) for row in board.cluster["nodes"]) == 1, board.cluster
        (tmp_path / "up").touch()
        tried = len(job.dead_letters)
        assert job.retry().passed == tried
        job.pause()
        assert job.status == "paused"
        again = job.resume()
        assert again.status == "running"
        (tmp_path / "go").touch()
        assert again.wait(LONG) == "finished"
    finally:
        board.close()
    letters = again.dead_letters
    assert sorted([*lines(str(tmp_path / "out")), *(each.record for each in letters)]) == list(range(30))


def test_a_job_whose_coordinator_is_gone_says_that_its_code_is(cluster, tmp_path):
    job = submitted(cluster, "gone-by", tmp_path)
    cluster.kill(keeper_of("gone-by"))
    with pytest.raises(ClusterError, match="the coordinator of the durable job 'gone-by' is gone"):
        job.wait(LONG)
    with pytest.raises(SageError, match="the durable job 'gone-by' cannot go on: its coordinator is gone"):
        job.resume()
