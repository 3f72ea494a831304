"""One small cluster for all tests on Ray, with GPUs that it only says it has."""

from __future__ import annotations

import pytest

from sage_nb.runtime.ray.cluster import ClusterOptions, connect


@pytest.fixture(scope="session")
def cluster():
    import ray

    connect(ClusterOptions(num_cpus=4, num_gpus=2))
    yield ray
    ray.shutdown()


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster):
    """Every test here wants it."""
