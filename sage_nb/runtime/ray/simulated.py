"""Several nodes on one machine, as Ray's own tests have them, and a bare cluster: for measuring and testing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

from sage_nb.runtime.ray.cluster import ClusterOptions, connect, patiently

STORE_BYTES = 80_000_000  # of shared memory for each node
# A node that is gone refuses three looks within a second, by default within a quarter of a minute. One that is there
# has a minute to answer each: all of them share a machine, which may be busy, and Ray ends a driver whose node it holds
# for dead.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 3,
}


class SimulatedCluster:
    """A head without CPUs, and nodes of one declared CPU each, some with GPUs; all share what this machine really has.

    A RayEnvironment reaches it by its `address`.
    """

    def __init__(self) -> None:
        head: dict[str, Any] = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        head["_system_config"] = HEALTH
        self._cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Of its head."""
        return str(self._cluster.address)

    def grow(self, nodes: int, gpus: int = 0) -> None:
        """Add nodes, each with so many declared GPUs, until there are so many."""
        given = {"num_cpus": 1, "num_gpus": gpus, "object_store_memory": STORE_BYTES}
        while len(self._nodes) < nodes:
            node = patiently(lambda: self._cluster.add_node(**given))
            self._nodes[node.node_id] = node

    def kill(self, node: str) -> None:
        """End all processes of a node, by its id, with -9."""
        self._cluster.remove_node(self._nodes.pop(node), allow_graceful=False)

    def close(self) -> None:
        """End all of it."""
        ray.shutdown()
        self._cluster.shutdown()


class Idle:
    """An actor that does nothing."""

    def there(self) -> bool:
        """It is."""
        return True


def idle_actors(cpus: int, count: int) -> None:
    """Start a cluster and actors that do nothing: what Ray itself takes for it is the least that a job can take."""
    connect(ClusterOptions(num_cpus=cpus))
    actors = [ray.remote(Idle).options(num_cpus=0).remote() for _ in range(count)]
    ray.get([actor.there.remote() for actor in actors])


@contextmanager
def simulated_cluster() -> Iterator[SimulatedCluster]:
    """A cluster of no nodes yet, which this process is connected to until the end of the block."""
    cluster = SimulatedCluster()
    try:
        connect(ClusterOptions(cluster.address))
        yield cluster
    finally:
        cluster.close()
