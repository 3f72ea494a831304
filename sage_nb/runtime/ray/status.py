"""What a cluster has and what runs on it, from Ray's list of nodes and our own list of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node  # what each node has free has no public name

from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.runtime.ray.cluster import ClusterOptions, connect, leave
from sage_nb.runtime.ray.durable import employers
from sage_nb.runtime.ray.pool import POOL
from sage_nb.runtime.ray.registry import REGISTRY, Employer

ANSWER = 2.0  # seconds within which actors say where they are
GIB = 2**30
NODES = ("node", "address", "alive", "CPUs free", "GPUs free", "memory free, GiB")
ACTORS = ("job", "operator", "subtask", "node", "pid")
DURABLE = ("durable job", *ACTORS[1:])


@dataclass(frozen=True)
class Amount:
    """Of one resource of a node: what there is, and what of it nobody has reserved."""

    total: float
    free: float

    def __str__(self) -> str:
        return f"{self.free:.4g} of {self.total:.4g}"


@dataclass(frozen=True)
class NodeStatus:
    """A machine of the cluster. Memory in bytes."""

    id: str
    address: str
    alive: bool
    cpus: Amount
    gpus: Amount
    memory: Amount

    @property
    def row(self) -> list[str]:
        """As shown."""
        memory = Amount(self.memory.total / GIB, self.memory.free / GIB)
        alive = "yes" if self.alive else "NO"
        return [self.id[:8], self.address, alive, str(self.cpus), str(self.gpus), str(memory)]


@dataclass(frozen=True)
class ActorStatus:
    """The actor of one subtask; one that does not answer has neither node nor pid."""

    job: str
    operator: str
    subtask: int
    node: str
    pid: int | None

    @property
    def row(self) -> list[str]:
        """As shown."""
        pid = "no answer" if self.pid is None else str(self.pid)
        return [self.job, self.operator, str(self.subtask), self.node[:8], pid]


@dataclass(frozen=True, repr=False)
class ClusterStatus:
    """A cluster at one moment; `idle` actors wait for the next job, `actors` are of the jobs of this process.

    `durable` are those of durable jobs, whoever submitted them.
    """

    address: str
    nodes: tuple[NodeStatus, ...]
    idle: int
    actors: tuple[ActorStatus, ...]
    durable: tuple[ActorStatus, ...] = ()

    def __str__(self) -> str:
        parts = [self._caption, text_table(NODES, [node.row for node in self.nodes])]
        parts += [text_table(header, rows) for header, rows in self._tables]
        return "\n\n".join([*parts, self._remark])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same facts as tables; names are escaped."""
        nodes = markup.table(NODES, [node.row for node in self.nodes], self._caption)
        actors = "".join(markup.table(header, rows) for header, rows in self._tables)
        return f"{nodes}{actors}<div class='sage-quiet mathjax_ignore'>{markup.escape(self._remark).text}</div>"

    @property
    def _tables(self) -> list[tuple[Sequence[str], list[list[str]]]]:
        found = ((ACTORS, self.actors), (DURABLE, self.durable))
        return [(header, [actor.row for actor in actors]) for header, actors in found if actors]

    @property
    def _caption(self) -> str:
        alive = sum(node.alive for node in self.nodes)
        return f"Ray cluster at {self.address}: {alive} of {len(self.nodes)} nodes alive"

    @property
    def _remark(self) -> str:
        jobs = len({actor.job for actor in self.actors})
        return f"jobs of this process: {jobs}, with {len(self.actors)} actors; {self.idle} idle ones wait for the next"


def cluster_status(address: str | None = None) -> ClusterStatus:
    """The cluster at an address; None is the one this process is connected to, or one that runs on this machine.

    A process that was connected to none still is not when it has looked: its next job shall have the cluster it asks
    for. Raises ClusterError where there is none.
    """
    here = ray.is_initialized()
    connect(ClusterOptions(address if address or here else "auto"))
    try:
        return _status()
    finally:
        if not here:
            leave()


def _status() -> ClusterStatus:
    free: Mapping[str, Mapping[str, float]] = available_resources_per_node()
    nodes = tuple(_node(each, free.get(each["NodeID"], {})) for each in ray.nodes())
    where = ray.get_runtime_context().gcs_address
    return ClusterStatus(where, nodes, POOL.idle, tuple(_actors(REGISTRY.jobs)), tuple(_actors(employers())))


def _node(told: Mapping[str, Any], free: Mapping[str, float]) -> NodeStatus:
    total = told["Resources"]
    amounts = [Amount(total.get(kind, 0.0), free.get(kind, 0.0)) for kind in ("CPU", "GPU", "memory")]
    return NodeStatus(told["NodeID"], told["NodeManagerAddress"], told["Alive"], *amounts)


def _actors(jobs: Sequence[Employer]) -> Iterator[ActorStatus]:
    places = [(job.name, *place) for job in jobs for place in job.places()]
    asked = [actor.place.remote() for *_, actor in places]
    answered = ray.wait(asked, num_returns=len(asked), timeout=ANSWER)[0] if asked else []
    for (job, operator, subtask, _), reference in zip(places, asked, strict=True):
        node, pid = _place(reference, answered)
        yield ActorStatus(job, operator, subtask, node, pid)


def _place(reference: Any, answered: Sequence[Any]) -> tuple[str, int | None]:
    """Node and process of an actor, as it says itself."""
    if reference not in answered:
        return "", None
    try:
        node, pid = ray.get(reference)
    except ray.exceptions.RayError:
        return "", None
    return node, pid
