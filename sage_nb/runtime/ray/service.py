"""Named actors that each answer for a part of something. One whose process dies is made anew, by Ray itself.

What an actor holds is read from elsewhere (a disk), so that a new one is as good as the old: nothing need be saved, and
a call may be made again.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import ray

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.ray.registry import REGISTRY

NAMESPACE = "sage_nb"
OPENING = 120.0  # seconds that actors have to come up at first, at the least
PAUSE = 0.05  # seconds between calls to one that is being made anew
GRACE = 1.0  # seconds that one which has been silent for too long still has to answer each call

OnLost = Literal["wait", "degrade"]
ON_LOST = ("wait", "degrade")


class ServiceError(SageError):
    """Actors that cannot be called."""


class LostError(ServiceError):
    """An actor that is gone, or hangs, and not yet made anew."""


class Server:
    """What an actor is: what `make` makes, and calls of its methods, one at a time."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._made = make, None
        with suppress(OSError, SageError):  # the first call tries again, and hears of it
            self._made = make()

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method gives."""
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, method)(*arguments)

    def place(self) -> tuple[str, int]:
        """The node, and the process on it."""
        return ray.get_runtime_context().get_node_id(), os.getpid()


ray.method(concurrency_group="health")(Server.place)

Actor: Any = ray.remote(max_restarts=-1, max_task_retries=0, concurrency_groups={"health": 1})(Server)


@dataclass(frozen=True)
class Service:
    """`count` actors, called `part` 1 to `count` of `name`. A value: whoever has it, wherever, can call them.

    While one is lost, callers "wait" up to `timeout` seconds for the new one, or "degrade": the others answer at once.
    """

    name: str
    part: str
    count: int
    on_lost: OnLost = "wait"
    timeout: float = 60.0
    key: str = ""  # what Ray knows them by

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise BadValueError(f"the number of {self.part}s must be a whole number of 1 or more, got {self.count!r}")
        if self.on_lost not in ON_LOST:
            raise BadValueError(f"on_lost must be 'wait' or 'degrade', got {self.on_lost!r}")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, (int, float)) or not self.timeout > 0:
            raise BadValueError(f"timeout must be more than 0 seconds, got {self.timeout!r}")

    def started(self, makers: Sequence[Callable[[], Any]], first: str) -> Service:
        """The same with an actor for each maker, all asked the method called `first`; they end with this process.

        Raises what a maker raises, and ServiceError where an actor does not come up in time; then there is none.
        """
        begun = replace(self, key=uuid.uuid4().hex)
        how = {"namespace": NAMESPACE, "num_cpus": 0, "scheduling_strategy": "SPREAD"}
        actors = [Actor.options(name=begun.actor(n), **how).remote(make) for n, make in enumerate(makers)]
        HELD[begun.key] = held = Held(self.name, begun, actors)
        REGISTRY.enter(held)
        try:
            patient = replace(begun, on_lost="wait", timeout=max(OPENING, self.timeout))
            Line(patient).everyone(first)
        except BaseException:
            begun.close()
            raise
        return begun

    def actor(self, number: int) -> str:
        """The name that Ray knows one by."""
        return f"{self.key}-{number}"

    def handle(self, number: int) -> Any:
        """The actor, or the new one in its place; None where it has ended for good."""
        if ray.is_initialized():  # else Ray would start a cluster to look for it
            with suppress(ValueError):
                return ray.get_actor(self.actor(number), NAMESPACE)
        return None

    def called(self, number: int) -> str:
        """What a person knows one by.

        >>> Service("handbook", "shard", 4).called(0)
        "shard 1 of 4 of 'handbook'"
        """
        return f"{self.part} {number + 1} of {self.count} of {self.name!r}"

    def close(self) -> None:
        """End the actors; a second time does nothing."""
        held = HELD.pop(self.key, None)
        if held is not None:
            REGISTRY.leave(held)
        for number in range(self.count):
            if (actor := self.handle(number)) is not None:
                ray.kill(actor)


@dataclass(eq=False)
class Held:
    """The handles by which actors live: Ray ends those that no one holds."""

    name: str
    service: Service
    actors: Sequence[Any]

    def places(self) -> list[tuple[str, int, Any]]:
        """What each is called, and the actor; none once this process has left their cluster."""
        found = enumerate(map(self.service.handle, range(self.service.count)), start=1)
        return [(self.service.part, number, actor) for number, actor in found if actor is not None]


HELD: dict[str, Held] = {}


class Line:
    """A caller's line to a service, for one thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._actors: dict[int, Any] = {}
        self._silent: dict[int, float] = {}  # since when each of the lost has not answered
        self._probes: dict[int, Any] = {}  # where callers do not wait: answered when a lost one is back

    def everyone(self, method: str, *arguments: Any) -> dict[int, Any]:
        """As `ask`, the same of all."""
        return self.ask(method, dict.fromkeys(range(self.service.count), arguments))

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """The answers, by the number of the actor; where callers do not wait, those of the lost ones are missing.

        Raises what a method raises, and ServiceError for one that is not back in time, or where none answers.
        """
        present = [number for number in arguments if not self._away(number)]
        calls = {number: self._call(number, method, arguments[number]) for number in present}
        answers: dict[int, Any] = {}
        begun = time.monotonic()
        for number, call in calls.items():
            again = partial(self._call, number, method, arguments[number])
            with self._probing(number):
                answers[number] = self._answer(number, call, again, begun)
        if arguments and not answers:
            names = ", ".join(map(self.service.called, arguments))
            raise LostError(f"nobody is left to answer: {names} are being opened again; ask again in a moment")
        return answers

    def _answer(self, number: int, call: Any, again: Callable[[], Any], begun: float) -> Any:
        """What an actor answers, or the new one in its place."""
        end = max(self._silent.get(number, begun) + self.service.timeout, begun + GRACE)
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                found = ray.get(call, timeout=left)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                self._silent.setdefault(number, begun)
                if self.service.on_lost == "degrade" or time.monotonic() >= end:
                    raise LostError(self._sentence(number, error)) from error
                time.sleep(PAUSE)
                call = again()
            else:
                self._silent.pop(number, None)
                return found

    def _call(self, number: int, method: str, arguments: Sequence[Any]) -> Any:
        return self._actor(number).call.remote(method, *arguments)

    def _actor(self, number: int) -> Any:
        """Its handle, which is good for those that come after it too."""
        if number not in self._actors or number in self._silent:
            self._actors[number] = self.service.handle(number)
        if self._actors[number] is None:
            raise ServiceError(
                f"{self.service.called(number)} is closed, or the process that opened it has ended; open it again"
            )
        return self._actors[number]

    @contextmanager
    def _probing(self, number: int) -> Iterator[None]:
        """Where callers do not wait: one that is lost here is asked whether it is back."""
        try:
            yield
        except LostError:
            if self.service.on_lost == "wait":
                raise
            self._probes[number] = self._actor(number).place.remote()

    def _away(self, number: int) -> bool:
        """Whether one was lost, and is not back yet."""
        probe = self._probes.get(number)
        if probe is None or not ray.wait([probe], timeout=0)[0]:
            return probe is not None
        del self._probes[number]
        with self._probing(number):
            try:
                ray.get(probe)
            except ray.exceptions.RayError as error:
                raise LostError(self._sentence(number, error)) from error
        return number in self._probes

    def _sentence(self, number: int, error: Exception) -> str:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return (
            f"{self.service.called(number)} is lost, and no other is there after {self.service.timeout:g} s ({told}); "
            f"see that its node lives and reads the disk, or give a longer timeout"
        )
