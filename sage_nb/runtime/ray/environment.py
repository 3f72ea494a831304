"""Streams on Ray actors: the graphs that run on threads run here unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from sage_nb.errors import BadValueError
from sage_nb.runtime.coordinator import Coordinator
from sage_nb.runtime.environment import Crew, Environment
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.ray.cluster import ClusterOptions, connect
from sage_nb.runtime.ray.crew import Actors
from sage_nb.runtime.ray.dataset import DatasetSource, dataset_of
from sage_nb.runtime.ray.placement import Placement
from sage_nb.runtime.ray.room import room
from sage_nb.runtime.ray.shipping import Ship, stays
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.graph import Node
from sage_nb.stream.policy import Resources
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.time import WatermarkStrategy


class RayEnvironment(Environment):
    """Streams on Ray actors, one for each subtask, on the GPUs, CPUs and nodes that operators ask for.

    `address` is a cluster's ("auto", "host:port"), None the one this process is connected to, or one of its own, said
    to have `num_cpus` and `num_gpus`. What operators ask for in `resources=` is reserved for the whole job at once,
    within `placement_timeout` seconds or not at all. The other settings are those of a LocalEnvironment; a checkpoint
    folder must be one that all nodes see.

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
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        if placement_timeout <= 0:
            raise BadValueError(f"placement_timeout must be more than 0 seconds, got {placement_timeout!r}")
        self._cluster = ClusterOptions(address, num_cpus, num_gpus)
        self._placement_timeout = placement_timeout

    def from_ray_dataset(
        self, dataset: Any, *, watermark: WatermarkStrategy | None = None, **how: Unpack[How]
    ) -> Stream:
        """The rows of a `ray.data.Dataset`, as dicts, in its order; it is computed now.

        Raises MissingExtraError where Ray Data is not installed.
        """
        connect(self._cluster)
        return self.from_source(DatasetSource(dataset), watermark=watermark, **how)

    def to_ray_dataset(self, stream: Stream) -> Any:
        """Run what leads to a stream, and nothing else; its records, which are mappings, as a `ray.data.Dataset`.

        Checkpoints are kept in memory. Raises what made the run fail, and BadValueError for records of no common shape.
        """
        rows: list[Any] = []
        alone = self.anew()
        alone.checkpointing = None
        replace(stream, sinks=alone.ends).sink(CollectSink(rows), name="to_ray_dataset", parallelism=1)
        alone.submit().wait()
        return dataset_of(rows)

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
