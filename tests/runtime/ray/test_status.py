"""What runs where: nodes with what they have free, and the actors of the jobs of this process."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sage_nb.cli.main import main
from sage_nb.runtime.ray.cluster import ClusterError
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.status import cluster_status
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Paced, clicks


def until(true, timeout=60.0):
    """Wait for it."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def job():
    """A job that runs until it is told not to, with two subtasks that hold half a GPU each, and all actors there."""
    env = RayEnvironment("<watched>", restart=FixedDelay(9, 60.0))
    source = env.from_source(Paced(clicks(100_000), rest=0.02), name="source", on_error="fail")
    source.map(lambda record: record, name="work", parallelism=2, resources={"num_gpus": 0.5}, on_error="fail").sink(
        CollectSink([]), on_error="fail"
    )
    job = env.submit()
    until(lambda: all(each.pid is not None for each in cluster_status().actors))
    yield job
    job.cancel()
    until(lambda: not cluster_status().actors)


def test_a_node_tells_what_it_has_and_what_is_free_of_it(cluster, job):
    until(lambda: cluster_status().nodes[0].gpus.free == 1.0)
    (node,) = cluster_status().nodes
    assert node.alive
    assert (node.cpus.total, node.cpus.free, node.gpus.total) == (4.0, 4.0, 2.0)
    assert 0 < node.memory.free <= node.memory.total
    assert node.address in cluster.get_runtime_context().gcs_address


def test_each_subtask_of_a_job_has_its_actor_its_node_and_its_process(job):
    status = cluster_status()
    assert [(each.job, each.operator, each.subtask) for each in status.actors] == [
        ("<watched>", "source", 0),
        ("<watched>", "work", 0),
        ("<watched>", "work", 1),
        ("<watched>", "CollectSink", 0),
    ]
    assert {each.node for each in status.actors} == {status.nodes[0].id}
    pids = {each.pid for each in status.actors}
    assert len(pids) == 4
    for pid in pids:
        os.kill(pid, 0)  # there is such a process


def test_an_actor_that_is_gone_is_said_to_give_no_answer(job):
    victim = next(each for each in cluster_status().actors if each.operator == "work")
    os.kill(victim.pid, signal.SIGKILL)
    until(lambda: any(each.pid is None for each in cluster_status().actors))
    assert "no answer" in str(cluster_status())


def test_the_tables_say_it_in_words(job):
    status = cluster_status()
    text = str(status)
    assert text.startswith(f"Ray cluster at {status.address}: 1 of 1 nodes alive\n\n")
    assert "jobs of this process: 1, with 4 actors" in text
    assert str(status.actors[0].pid) in text
    assert "<watched>" in text
    html = status._repr_html_()
    assert "&lt;watched&gt;" in html
    assert "<watched>" not in html


def test_actors_that_a_job_leaves_wait_for_the_next():
    env, rows = RayEnvironment("short"), []
    env.from_collection([1, 2]).map(abs, parallelism=2).sink(CollectSink(rows))
    assert env.submit().wait(60) == "finished"
    until(lambda: cluster_status().idle >= 3)
    assert cluster_status().actors == ()
    assert "wait for the next" in str(cluster_status())


def test_the_shell_shows_the_cluster_of_its_process(capsys):
    assert main(["cluster", "status"]) == 0
    assert "1 of 1 nodes alive" in capsys.readouterr().out


def test_another_cluster_than_the_one_connected_to_is_refused():
    with pytest.raises(ClusterError, match=r"connected to the Ray cluster at .*, not '127.0.0.1:1'"):
        cluster_status("127.0.0.1:1")
