"""Streams on Ray actors: the graphs that run on threads run here unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from sage_nb.errors import BadValueError
from sage_nb.runtime.alerts import Alert
from sage_nb.runtime.coordinator import Coordinator
from sage_nb.runtime.environment import Crew, Environment
from sage_nb.runtime.job import Job
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.ray.cluster import ClusterOptions, connect
from sage_nb.runtime.ray.crew import Actors
from sage_nb.runtime.ray.dataset import DatasetSource, dataset_of
from sage_nb.runtime.ray.durable import submit
from sage_nb.runtime.ray.exported import Exported
from sage_nb.runtime.ray.placement import Placement
from sage_nb.runtime.ray.room import room
from sage_nb.runtime.ray.shipping import Ship, check_leaves, shipped, stays
from sage_nb.runtime.ray.status import ClusterStatus, cluster_status
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.graph import Node
from sage_nb.stream.policy import Resources
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.storage import Folder
from sage_nb.stream.time import WatermarkStrategy


class RayEnvironment(Environment):
    """Streams on Ray actors, one for each subtask, on the GPUs, CPUs and nodes that operators ask for.

    `address` is a cluster's ("auto", "host:port"), None the one this process is connected to, or one of its own, said
    to have `num_cpus` and `num_gpus`. What operators ask for in `resources=` is reserved for the whole job at once,
    within `placement_timeout` seconds or not at all. The other settings are those of a LocalEnvironment; a checkpoint
    folder must be one that all nodes see.

    `durable` jobs outlive this process: their coordinator is an actor of its own, in a cluster that was not started
    here, and any process may `sage.Job.attach(name)` to them (`sage.jobs()` lists them). They need a checkpoint folder,
    and sources and sinks that do not hang on this process.

    >>> RayEnvironment("clicks", num_cpus=4, parallelism=2).name
    'clicks'
    """

    def __init__(
        self,
        name: str = "job",
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        placement_timeout: float = 30.0,
        durable: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        if placement_timeout <= 0:
            raise BadValueError(f"placement_timeout must be more than 0 seconds, got {placement_timeout!r}")
        self._cluster = ClusterOptions(address, num_cpus, num_gpus)
        self._placement_timeout = placement_timeout
        self.durable = durable
        if durable and self.checkpointing is None:
            raise BadValueError(
                f"the durable job {name!r} needs checkpoint=…, a folder that all nodes see: what is left when its "
                f"coordinator is lost; or leave durable=True out"
            )

    def submit(
        self,
        *,
        fresh: bool = False,
        savepoint: str | None = None,
        allow_non_restored: bool = False,
        alerts: Sequence[Alert] = (),
    ) -> Job:
        """Start the job and return at once.

        The arguments are those of any environment. A durable job is started in its coordinator's process, and the
        actions of `alerts` run there.

        Raises BadValueError where a durable one cannot leave this process, or one of its name runs.

        >>> env = RayEnvironment("clicks", durable=True, checkpoint="/shared/clicks")
        >>> env.from_collection(iter([1, 2])).for_each(print)
        >>> env.submit()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        sage_nb.errors.BadValueError: the source 'source' reads what only this process has, ...
        """
        how: dict[str, Any] = {
            "fresh": fresh,
            "savepoint": savepoint,
            "allow_non_restored": allow_non_restored,
            "alerts": tuple(alerts),
        }
        if not self.durable:
            return super().submit(**how)
        graph = self.graph()
        check_leaves(graph)
        how["savepoint"] = savepoint and Folder(savepoint).absolute
        connect(self._cluster)
        return submit(self.name, shipped(graph, (self._travelling(), how)))

    def from_ray_dataset(
        self, dataset: Any, *, watermark: WatermarkStrategy | None = None, **how: Unpack[How]
    ) -> Stream:
        """The rows of a `ray.data.Dataset`, as dicts, in its order; it is computed now.

        Raises MissingExtraError where Ray Data is not installed.

        >>> import ray.data  # doctest: +SKIP
        >>> env, found = RayEnvironment("rows"), []  # doctest: +SKIP
        >>> env.from_ray_dataset(ray.data.from_items([{"n": 1}, {"n": 2}])).sink(CollectSink(found))  # doctest: +SKIP
        >>> env.submit().wait(), found  # doctest: +SKIP
        ('finished', [{'n': 1}, {'n': 2}])
        """
        connect(self._cluster)
        return self.from_source(DatasetSource(dataset), watermark=watermark, **how)

    def to_ray_dataset(self, stream: Stream) -> Any:
        """Run what leads to a stream, and nothing else; its records, which are mappings, as a `ray.data.Dataset`.

        Checkpoints are kept in memory. Raises what made the run fail, and BadValueError for records of no common shape.

        >>> env = RayEnvironment("rows")  # doctest: +SKIP
        >>> rows = env.from_collection([1, 2]).map(lambda n: {"n": n})  # doctest: +SKIP
        >>> env.to_ray_dataset(rows).sum("n")  # doctest: +SKIP
        3
        """
        rows: list[Any] = []
        alone = self.anew()
        alone.durable = False
        replace(stream, sinks=alone.ends).sink(CollectSink(rows), name="to_ray_dataset", parallelism=1)
        alone.submit().wait()
        return dataset_of(rows)

    def connect(self) -> None:
        """Reach its cluster, or start one.

        Raises ClusterError where there is none at the address, or where the one at hand is not as asked.

        >>> RayEnvironment("rows").connect()  # doctest: +SKIP
        """
        connect(self._cluster)

    def cluster(self) -> ClusterStatus:
        """The one at hand, with its nodes and their GPUs.

        >>> RayEnvironment("rows").cluster().nodes[0].alive  # doctest: +SKIP
        True
        """
        return cluster_status()

    def _travelling(self) -> RayEnvironment:
        """As it is in the coordinator's process: connected already, and where relative paths would mean others."""
        other = copy(self)
        other.durable, other._cluster = False, ClusterOptions()  # noqa: SLF001  our own copy
        if self.checkpointing is not None:
            folder = Folder(self.checkpointing.folder).absolute
            other.checkpointing = replace(self.checkpointing, folder=folder)
        return other

    def _show(self, job: Job, coordinator: Coordinator) -> None:
        exported = Exported(job.metrics)
        coordinator.on_tick.append(exported.tick)
        coordinator.on_end.append(exported.update)

    def _room(self, draft: Plan) -> Mapping[Resources, int]:
        connect(self._cluster)
        return room(draft)

    def _alone(self, node: Node) -> bool:
        return stays(node)

    def _crew(self, plan: Plan, coordinator: Coordinator) -> Crew:
        connect(self._cluster)
        ship = Ship(plan, self.probe, self._resources)
        wiring = Wiring(plan, coordinator, self.probe, self._resources)
        return Actors(wiring, coordinator, ship, Placement.reserved(plan, self._placement_timeout))
