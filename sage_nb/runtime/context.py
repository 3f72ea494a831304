"""What a function that runs in this process may ask for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.stream.state import State

if TYPE_CHECKING:
    from sage_nb.runtime.keyed import KeyedStore

Resource = TypeVar("Resource")
Held = TypeVar("Held")

MODEL_CALLS = "model_calls"  # the counter of texts and pairs that models were given

SHARED: dict[type, Any] = {}


def share(resource: object) -> None:
    """From now on every function that runs in this process finds `resource` under its type.

    >>> share(b"a handbook")
    >>> LocalContext().get(bytes)
    b'a handbook'
    """
    SHARED[type(resource)] = resource


@dataclass
class OwnMetrics:
    """A function's own counters and gauges, and the time that its model took.

    >>> metrics = OwnMetrics()
    >>> with metrics.model_time():
    ...     time.sleep(0.01)
    >>> metrics.model_s >= 0.01
    True
    """

    counters: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    model_s: float = 0.0

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + by

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self.gauges[name] = float(value)

    @contextmanager
    def model_time(self, items: int = 0, /) -> Iterator[None]:
        """What runs inside is the model's time, which a profile shows apart; it is given so many texts or pairs."""
        self.count(MODEL_CALLS, items)
        begun = time.monotonic()
        try:
            yield
        finally:
            self.model_s += time.monotonic() - begun


@dataclass(frozen=True)
class LocalContext:
    """The context of a function in this process: things shared by type, its place, its keyed state.

    >>> LocalContext({int: 7}).get(int)
    7
    """

    resources: Mapping[type, Any] = field(default_factory=dict)
    name: str = "function"
    subtask: int = 0
    parallelism: int = 1
    metrics: OwnMetrics = field(default_factory=OwnMetrics)
    store: KeyedStore | None = None
    uid: str = "function"
    job: str = "job"

    @property
    def logger(self) -> logging.Logger:
        """`sage_nb.job.` and the operator's name."""
        return logging.getLogger(f"sage_nb.job.{self.name}")

    def get(self, kind: type[Resource], /) -> Resource:
        """The resource of that type: the environment's own, else the one that this process shares."""
        found = self.find(kind)
        if found is None:
            known = {**SHARED, **self.resources}
            raise UnknownNameError.of("resource", kind.__name__, [each.__name__ for each in known])
        return found

    def find(self, kind: type[Resource], /) -> Resource | None:
        """The same, or None.

        >>> LocalContext().find(int)
        """
        return self.resources[kind] if kind in self.resources else SHARED.get(kind)

    def state(self, declared: State[Held], /) -> Held:
        """The keyed state declared so.

        Raises BadValueError for what declares none, and on a stream without keys.
        """
        if not all(hasattr(declared, name) for name in ("name", "ttl", "handle")):
            raise BadValueError(f"state() takes a declaration such as ValueState('seen', 0), got {declared!r:.60}")
        if self.store is None:
            raise BadValueError(
                f"{self.name!r} declares the state {declared.name!r} on a stream without keys; put .key_by(…) before it"
            )
        return self.store.declare(declared)
