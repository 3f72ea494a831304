"""What operators ask for is reserved for the whole job, given to its actors, and given back; or refused, with why."""

from __future__ import annotations

import os
import time

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.placement import PlacementError
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Boom, Endless, finished, until

LONG = 60.0


class Where(MapFunction):
    """Which process and which GPUs it has."""

    def map(self, value):
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SAGE_GPU_FRACTION")


def asking(parallelism, resources, source=None, function=Where, **settings):
    """A job of operators that ask for something, and the list that their answers go to."""
    env, rows = RayEnvironment("asking", **settings), []
    stream = env.from_collection(list(range(60))) if source is None else env.from_source(source)
    asked = {} if resources is None else {"resources": resources}
    stream.map(function, name="embed", parallelism=parallelism, on_error="fail", **asked).sink(CollectSink(rows))
    return env, rows


@pytest.fixture(autouse=True)
def _everything_is_given_back(cluster):
    """Before and after each test, all that the cluster has is free."""
    whole = {kind: cluster.cluster_resources()[kind] for kind in ("CPU", "GPU")}

    def free():
        now = cluster.available_resources()
        return all(now.get(kind, 0.0) == amount for kind, amount in whole.items())

    until(free, LONG)
    yield
    until(free, LONG)


@pytest.mark.parametrize(
    ("parallelism", "gpus", "devices", "share"),
    [
        (2, 1, ["0", "1"], None),
        (1, 2, ["0,1"], None),
        (4, 0.5, ["0", "0", "1", "1"], "0.5"),
        (2, 0.25, None, "0.25"),
        (2, 0, ["", ""], None),
        (2, None, ["", ""], None),
    ],
)
def test_each_actor_sees_the_gpus_it_asked_for_and_no_others(parallelism, gpus, devices, share):
    env, rows = asking(parallelism, None if gpus is None else {"num_gpus": gpus})
    finished(env)
    seen = dict(sorted({(pid, gpu) for pid, gpu, _ in rows}))
    assert len(seen) == parallelism
    assert {each for *_, each in rows} == {share}
    assert sorted(seen.values()) == devices if devices else set(seen.values()) <= {"0", "1"}


def test_twelve_instances_of_an_operator_are_placed_and_finish():
    env, rows = asking(12, {"num_cpus": 0.25})
    job = finished(env, timeout=180)
    assert len({pid for pid, *_ in rows}) == 12
    assert sum(each.uid == "embed" for each in job.metrics().operators) == 12
    assert len(rows) == 60


@pytest.mark.parametrize(
    ("parallelism", "resources", "words"),
    [
        (1, {"num_gpus": 3}, r"asks for 1 x 3 GPU \(embed\) and the cluster has 2 GPU in all; lower parallelism or"),
        (5, {"num_gpus": 0.5}, r"asks for 5 x 0\.5 GPU \(embed\) and the cluster has 2 GPU in all"),
        (1, {"num_cpus": 99}, r"asks for 1 x 99 CPU \(embed\) and the cluster has 4 CPU in all"),
        (2, {"tpu": 1}, r"asks for 2 x 1 tpu \(embed\) and the cluster has 0 tpu in all"),
    ],
)
def test_more_than_the_cluster_has_is_refused_at_once(parallelism, resources, words):
    env, _ = asking(parallelism, resources, placement_timeout=600.0)
    begun = time.monotonic()
    with pytest.raises(PlacementError, match=words):
        env.submit()
    assert time.monotonic() - begun < LONG


def test_a_share_of_several_gpus_is_refused():
    env, _ = asking(1, {"num_gpus": 1.5})
    with pytest.raises(BadValueError, match=r"operator 'embed' asks for 1\.5 GPUs; a share is less than 1, more than"):
        env.submit()


def held(cluster, count, gpus, left):
    """A job that goes on holding shares of GPUs, once it has them."""
    env, _ = asking(count, {"num_gpus": gpus}, Endless())
    job = env.submit()
    until(lambda: cluster.available_resources().get("GPU", 0.0) == pytest.approx(left), LONG)
    return job


def test_gpus_in_pieces_are_no_whole_one_and_that_is_said(cluster):
    large = held(cluster, 2, 0.6, left=0.8)  # one on each device, since both do not fit one
    small = held(cluster, 2, 0.3, left=0.2)  # and one beside each
    large.cancel()
    try:
        until(lambda: cluster.available_resources().get("GPU", 0.0) == pytest.approx(1.4), LONG)
        env, _ = asking(1, {"num_gpus": 1}, placement_timeout=1.0)
        words = r"within 1 s: it asks for 1 x 1 GPU \(embed\), 1\.4 of 2 GPU free \(free in pieces too small for one"
        with pytest.raises(PlacementError, match=words):
            env.submit()
    finally:
        small.cancel()


def failing(value):
    raise Boom(value)


def test_a_job_that_failed_or_was_never_begun_gives_back_what_it_had(cluster):
    env, _ = asking(2, {"num_gpus": 1}, function=failing)
    with pytest.raises(OperatorError, match="operator 'embed' failed on"):
        env.submit().wait(LONG)
    until(lambda: cluster.available_resources().get("GPU", 0.0) == 2.0, LONG)
    generator = (n for n in range(3))
    env, _ = asking(2, {"num_gpus": 1}, function=lambda n: (generator, n))
    with pytest.raises(BadValueError, match="'generator' is a generator"):
        env.submit()
