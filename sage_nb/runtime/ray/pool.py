"""Actors that jobs have left, for the next ones: a new process and its imports cost a second or more."""

from __future__ import annotations

from typing import Any

from sage_nb.runtime.ray.cluster import CUTTING, Tie

KEPT = 16  # actors that wait for work, at the most
ANSWER = 1.0  # seconds within which one that waits for work answers, if it lives


class Pool:
    """Idle actors of the cluster that this process is connected to; under the lock of all calls, and no other."""

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._coming: dict[Any, Any] = {}  # by the answer that says that it is there
        self._tie: Tie | None = None

    def take(self, node: str | None = None) -> Any:
        """One that lives, on that node if one is named, or None. Those that do not answer are forgotten."""
        with CUTTING:
            tie = self._settle()
            asked = {actor.place.remote(): actor for actor in self._idle}
            places = {asked[each]: at for each, (at, _) in tie.answers(asked, ANSWER).items()}
            self._idle = list(places)
            found = next((actor for actor, at in places.items() if node in (None, at)), None)
            if found is not None:
                self._idle.remove(found)
            return found

    def keep(self, actor: Any) -> bool:
        """Keep one, if there is room."""
        with CUTTING:
            self._settle()
            if len(self._idle) >= KEPT:
                return False
            self._idle.append(actor)
            return True

    def prepare(self, kind: Any) -> None:
        """Have one, or make one of that class, for when an actor dies; does not wait for it."""
        with CUTTING:
            self._settle()
            if not self._idle and not self._coming:
                actor = kind.options(num_cpus=0).remote()
                self._coming[actor.place.remote()] = actor

    @property
    def idle(self) -> int:
        """How many wait for work."""
        with CUTTING:
            self._settle()
            return len(self._idle)

    def _settle(self) -> Tie:
        """Those that have come are idle; those of a cluster that this process has left went with it."""
        if (tie := Tie.now()) != self._tie:
            self._tie, self._idle, self._coming = tie, [], {}
        self._idle += [self._coming.pop(answer) for answer in tie.answers(self._coming, 0)]
        return tie


POOL = Pool()
