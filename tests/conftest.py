"""What every test may use."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any model library is imported: no test may reach a hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel processes
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A node that is only slow to answer is not dead: Ray ends the process of a driver whose node it holds for dead.
os.environ.setdefault("RAY_health_check_failure_threshold", "30")

import pytest
from hypothesis import settings

settings.register_profile("sage", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("sage")


@pytest.fixture(scope="session")
def cluster():
    """Ray, connected to one small cluster for all tests, with GPUs that it only says it has."""
    import ray

    from sage_nb.runtime.ray.cluster import ClusterOptions, connect, leave

    connect(ClusterOptions(num_cpus=4, num_gpus=2))
    yield ray
    leave()
