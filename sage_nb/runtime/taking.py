"""A checkpoint on its way: who has yet to hand in a part, and what was handed in."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from sage_nb.runtime.checkpoint import FORMAT, Manifest, PartFile, Store
from sage_nb.runtime.messages import Subtask
from sage_nb.runtime.operators.guard import MisuseError
from sage_nb.runtime.plan import Plan


@dataclass(frozen=True)
class Taken:
    """A checkpoint that was committed, `at` in seconds since the epoch."""

    number: int
    at: float
    seconds: float
    bytes: int
    aligned_s: float


@dataclass
class Taking:
    """A checkpoint under way."""

    number: int
    store: Store | None
    begun: float
    waiting: set[Subtask]
    final: bool
    savepoint: tuple[Store, Future[int]] | None = None  # where a copy is to lie, and who waits for it
    files: list[PartFile] = field(default_factory=list)
    aligned_s: float = 0.0

    def check_shared(self, task: Subtask, file: PartFile) -> None:
        """What a task elsewhere wrote itself is to be seen from here.

        Raises MisuseError where it is not.
        """
        if self.store is not None and not self.store.has_part(self.number, file.name):
            raise MisuseError(
                f"task {task!r} wrote its part of checkpoint {self.number} to {self.store.url!r}, and it is not there "
                f"for the others; give checkpoint= a folder that all processes and nodes share"
            )

    def manifest(self, plan: Plan) -> Manifest:
        """What there is to commit."""
        graph, files = plan.graph, sorted(self.files, key=lambda file: file.name)
        return Manifest(
            FORMAT, graph.name, self.number, graph.max_parallelism, graph.shape(), plan.parallelism(), files
        )

    def taken(self) -> Taken:
        """It was committed now."""
        size = sum(file.bytes for file in self.files)
        return Taken(self.number, time.time(), time.monotonic() - self.begun, size, self.aligned_s)
