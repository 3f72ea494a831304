"""What coordinator and tasks say to each other, and how each sees the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sage_nb.runtime.operators.running import Saved
from sage_nb.stream.batch import Barrier


@dataclass(frozen=True)
class Begin:
    """Work, from this state on."""

    attempt: int
    saved: Mapping[str, Saved]
    checkpoint: int = 0  # whose state it is; 0 for the beginning


@dataclass(frozen=True)
class Quit:
    """Close, and be no more."""


@dataclass(frozen=True)
class Trigger:
    """To sources: begin a checkpoint, with this barrier."""

    barrier: Barrier


@dataclass(frozen=True)
class Announce:
    """To loops' heads: a checkpoint has begun, let its barrier through."""


@dataclass(frozen=True)
class Committed:
    """To all: that checkpoint will not be taken back."""

    checkpoint: int


@dataclass(frozen=True)
class Close:
    """To all, at the end: close what you opened."""


@dataclass(frozen=True)
class Part:
    """What a task has to say to the checkpoint of a barrier."""

    barrier: Barrier
    snapshots: Mapping[str, Mapping[str, Any]]
    aligned_s: float


class Subtask(Protocol):
    """A task as the coordinator sees it, wherever it runs."""

    uid: str
    subtask: int
    gone: threading.Event  # set once it is no more

    def fence(self, attempt: int) -> None:
        """Only that attempt counts from now on."""
        ...

    def begin(self, begin: Begin) -> None:
        """Work from a state on."""
        ...

    def tell(self, attempt: int, command: Any) -> None:
        """A command that overtakes its input."""
        ...

    def quit(self) -> None:
        """Close and be no more."""
        ...


class Link(Protocol):
    """How a task reaches its coordinator."""

    def part(self, attempt: int, task: Subtask, part: Part) -> None:
        """Its part of a checkpoint, to be kept and then acknowledged."""
        ...

    def ended(self, attempt: int, task: Subtask) -> None:
        """It has sent its last record."""
        ...

    def closed(self, attempt: int, task: Subtask) -> None:
        """It has closed what it opened."""
        ...

    def committed(self, attempt: int, task: Subtask) -> None:
        """It has done what a commit asks of it."""
        ...

    def failed(self, attempt: int, task: Subtask, error: Exception) -> None:
        """It failed, and waits to begin again."""
        ...
