"""What every test may use."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any model library is imported: no test may reach a hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel processes
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

settings.register_profile("sage", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("sage")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`, one process runs all tests on Ray, since they share a cluster; it begins with them.

    The marks that xdist has for this do not reach its scheduler with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneForRay(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "ray" if "/ray/" in nodeid or "_on_ray.py" in nodeid else nodeid

    return OneForRay(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def cluster():
    """Ray, connected to one small cluster for all tests, with GPUs that it only says it has."""
    import ray

    from sage_nb.runtime.ray.cluster import ClusterOptions, connect

    connect(ClusterOptions(num_cpus=4, num_gpus=2))
    yield ray
    ray.shutdown()
