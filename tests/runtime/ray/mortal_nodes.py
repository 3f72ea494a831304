"""Jobs on simulated nodes of which one is killed. A script, since its process must be connected to no other cluster."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.host import Actor
from sage_nb.runtime.ray.simulated import simulated_cluster
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import JsonlSink
from tests.runtime.jobs import Paced, Running, Tally, clicks, lines, until

COUNT, KEYS = 1200, 7
CPU = {"num_cpus": 1}
PATIENCE = 5.0  # seconds within which a new node is to be found


class Counting(Running):
    """Numbers the records of each key; counts how often it is opened, as a model is loaded."""

    def __init__(self, opened):
        self.opened = opened

    def open(self, context):
        self.opened.next()
        super().open(context)


def job_on_nodes(folder, source, opened, **settings):
    """Two subtasks that want a CPU each, so that each is on a node of its own; begun, with two checkpoints."""
    checkpoint = Checkpointing(f"{folder}/checkpoints", every=0.2)
    env = RayEnvironment("mortal", checkpoint=checkpoint, restart=FixedDelay(100, 0.0), **settings)
    keyed = env.from_source(source).key_by("key").process(Counting(opened), name="count", parallelism=2, resources=CPU)
    keyed.sink(JsonlSink(f"{folder}/out"), parallelism=1)
    job = env.submit()
    until(lambda: job.metrics().committed >= 2)
    return job


def kill_first(cluster, job):
    """kill -9 of the node that has the first subtask; when."""
    import ray

    task = next(task for task in job.tasks if task.uid == "count")
    node, _ = ray.get(task.actor.place.remote())
    cluster.kill(node)
    return time.monotonic()


def moved(cluster, folder):
    """There is room on another node."""
    opened = Tally()
    job = job_on_nodes(folder, Paced(clicks(COUNT, keys=KEYS), rest=0.01), opened)
    killed = kill_first(cluster, job)
    status = job.wait(120)
    seconds = time.monotonic() - killed
    records = lines(f"{folder}/out")
    return {
        "status": status,
        "seconds": seconds,
        "restarts": job.restarts,
        "unbalanced": job.unbalanced(),
        "opened": opened.next() - 1,
        "records": [(record["n"], record["key"], record["number"]) for record in records],
    }


def crowded(cluster, folder):
    """There is none."""
    source = Paced(clicks(100_000, keys=KEYS), rest=0.01)
    job = job_on_nodes(folder, source, Tally(), placement_timeout=PATIENCE)
    killed = kill_first(cluster, job)
    try:
        said = job.wait(120)
    except SageError as error:
        said = f"{type(error).__name__}: {error}"
    return {"said": said, "seconds": time.monotonic() - killed}


def main(folder):
    import ray

    with simulated_cluster() as cluster:
        cluster.grow(3)
        begun = time.monotonic()
        ray.get(Actor.options(num_cpus=1).remote().pid.remote())
        found = {"process_s": time.monotonic() - begun}
        found["moved"] = moved(cluster, f"{folder}/moved")
        found["crowded"] = crowded(cluster, f"{folder}/crowded")
    Path(folder, "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
