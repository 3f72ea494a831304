"""Operators that ask for GPUs, on a cluster that only says it has them: what their processes are told, and say."""

from __future__ import annotations

import os

import numpy as np
import pytest

from sage_nb.models.registry import Models
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.stream.function import MapFunction
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import finished

TEXTS = ["a barrier aligns its inputs", "windows slide over the stream"]


class Embed(MapFunction):
    """Texts to vectors, and how its process stands to GPUs; the model is loaded twice, to see what is said twice."""

    def open(self, context):
        Models().encoder()
        self.encoder = Models().encoder()

    def map(self, value):
        told = {name: os.environ.get(name) for name in ("SAGE_GPUS", "SAGE_GPU_FRACTION")}
        return value, self.encoder.encode([value])[0].tolist(), told


def embedded(resources):
    env, rows = RayEnvironment("embed"), []
    env.from_collection(TEXTS).map(Embed, name="embed", resources=resources, on_error="fail").sink(CollectSink(rows))
    return finished(env, timeout=120), rows


@pytest.mark.parametrize(("gpus", "share"), [(0.5, "0.5"), (2, None)])
def test_an_operator_that_asked_for_gpus_and_has_none_runs_on_the_cpu_and_says_so_once(gpus, share):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    job, rows = embedded({"num_gpus": gpus})
    said = (
        f"embed[0] num_gpus={gpus} was asked for and torch {torch.__version__} finds no GPU that it can use here, "
        f"so models run on the CPU; look at this node's driver, and that its torch is built for CUDA"
    )
    assert job.lines == [said]
    assert [told for *_, told in rows] == [{"SAGE_GPUS": str(gpus), "SAGE_GPU_FRACTION": share}] * 2
    here = Models().encoder().encode(TEXTS)
    np.testing.assert_allclose([vector for _, vector, _ in rows], here, atol=1e-2)


def test_an_operator_that_asked_for_none_says_nothing():
    job, rows = embedded({})
    assert job.lines == []
    assert [told for *_, told in rows] == [{"SAGE_GPUS": None, "SAGE_GPU_FRACTION": None}] * 2
