"""A process that leaves the cluster under its jobs: they fail with a sentence, and no other cluster is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import itertools, json, sys, threading, time
import ray
from sage_nb.errors import SageError
from sage_nb.runtime.ray.cluster import ClusterOptions, connect
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Endless, until

def there(env):
    return env.from_source(Endless())

def here(env):
    return env.from_collection(itertools.count())

def of_ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sage-")]

def tried(source, leave):
    connect(ClusterOptions(sys.argv[1]))
    env, rows = RayEnvironment("left"), []
    source(env).map(abs).sink(CollectSink(rows))
    job = env.submit()
    until(lambda: rows)
    leave(job)
    try:
        said = job.wait(30)
    except SageError as error:
        said = f"{type(error).__name__}: {error}"
    until(lambda: not of_ours(), 30)
    time.sleep(0.5)  # a cluster that is started by mistake would be on its way
    print(json.dumps([said, ray.is_initialized()]), flush=True)
    ray.shutdown()

def again(job):
    ray.shutdown()
    connect(ClusterOptions(sys.argv[1]))

def done(job):
    job.cancel()
    ray.shutdown()

tried(there, lambda job: ray.shutdown())
tried(here, lambda job: ray.shutdown())
tried(there, again)
tried(there, done)
"""


@pytest.fixture(scope="module")
def found(cluster):
    """What is said, and whether the process is connected then."""
    address = cluster.get_runtime_context().gcs_address
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}  # Ray uses its token by itself for "auto" only
    command = [sys.executable, "-c", SCRIPT, address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    return address, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]


@pytest.mark.parametrize(("at", "connected"), [(0, False), (1, False), (2, True)])
def test_a_job_whose_cluster_is_left_fails_with_a_sentence(found, at, connected):
    """By ray.shutdown(), with its source over there or here; and for another connection."""
    address, said = found
    sentence = (
        f"ClusterError: this process has left the Ray cluster at {address} while a job ran there; "
        f"wait for the job or cancel() it before ray.shutdown(), and submit it again now"
    )
    assert said[at] == [sentence, connected]


def test_a_cluster_can_be_left_as_soon_as_the_job_is_cancelled(found):
    assert found[1][3] == ["cancelled", False]
