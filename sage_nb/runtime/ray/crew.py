"""The tasks of a job on Ray as its coordinator sees them: actors, what they say, and new ones for the dead."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import ray

from sage_nb.runtime.checkpoint import MemoryStore
from sage_nb.runtime.coordinator import Coordinator
from sage_nb.runtime.messages import Begin
from sage_nb.runtime.metrics import Measured, measured
from sage_nb.runtime.operators.guard import MisuseError, TaskLostError
from sage_nb.runtime.plan import Chain
from sage_nb.runtime.ray.outbox import Delivery, Event, Failed, Kept, Line, Said, Unkept
from sage_nb.runtime.ray.placement import Placement
from sage_nb.runtime.ray.ports import Pushing
from sage_nb.runtime.ray.registry import REGISTRY
from sage_nb.runtime.ray.shipping import Ship, stays
from sage_nb.runtime.task import Task
from sage_nb.runtime.timesheet import Mark
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.graph import Graph

LOG = logging.getLogger("sage_nb.runtime")
LOOK = 0.5  # seconds between looks at the calls for events
ALIVE = 10.0  # seconds within which a living actor answers
GRACE = 5.0  # seconds that tasks have to close what they opened, once the job has ended


@dataclass(eq=False)
class Post:
    """An actor that has, or had, a task."""

    actor: Any
    acknowledged: int = 0  # deliveries that came from it
    lost: Exception | None = None  # why it does not have it any more


class RemoteTask:
    """A task in an actor (a `Subtask`)."""

    def __init__(self, chain: Chain, crew: Actors, shadow: Task, graph: Graph) -> None:
        self.chain, self.uid, self.subtask = chain, chain.uid, shadow.subtask
        self.report: Measured = measured(graph, shadow, None, time.monotonic())
        self._shadow = shadow  # never runs; it has the numbers of a task that has done nothing yet
        self.attempt = 0  # the last one it was told to begin
        self.gone = threading.Event()
        self.post = Post(None)
        self._crew = crew

    def __repr__(self) -> str:
        return f"{self.uid}[{self.subtask}]"

    @property
    def actor(self) -> Any:
        """The one that has it now."""
        return self.post.actor

    def fence(self, attempt: int) -> None:
        """Only that attempt counts from now on."""
        self.actor.fence.remote(attempt)

    def begin(self, begin: Begin) -> None:
        """Work from a state on."""
        self.attempt = begin.attempt
        if self.post.lost is not None:  # before it could be said of this attempt
            self._crew.lose(self, self.post, self.post.lost)
        mine = {uid: begin.saved[uid] for uid, _ in self.chain.nodes if uid in begin.saved}
        self.actor.begin.remote(self._crew.actors, Begin(begin.attempt, mine))

    def tell(self, attempt: int, command: Any) -> None:
        """A command that overtakes its input."""
        self.actor.tell.remote(attempt, command)

    def mark(self, now: float) -> Mark:
        """Rates are told where the task is."""
        return self._shadow.mark(now)

    def quit(self) -> None:
        """Close and be no more: the crew sees to it, for all."""
        self._crew.dismiss(self)


class Actors:
    """All tasks of a job: those at home as threads, the others as actors of which the dead are made anew."""

    def __init__(self, wiring: Wiring, coordinator: Coordinator, ship: Ship, placement: Placement) -> None:
        self.actors: dict[tuple[str, int], Any] = {}
        self.name = wiring.plan.graph.name
        self._coordinator, self._ship, self._placement = coordinator, ship, placement
        self._job = uuid.uuid4().hex
        self._shipments: dict[str, Any] = {}
        self._waiting: dict[Any, tuple[RemoteTask, Post]] = {}
        self._dismissed: set[RemoteTask] = set()
        self._lock = threading.Lock()
        self._home: list[Task] = []
        self.tasks: list[Task | RemoteTask] = []
        for chain in wiring.plan.chains:
            here = stays(chain.head)
            for subtask in range(chain.parallelism):
                task = self._task(wiring, chain, subtask)
                self.tasks.append(task if here else RemoteTask(chain, self, task, wiring.plan.graph))
                if here:
                    self._home.append(task)

    @property
    def remote(self) -> list[RemoteTask]:
        """The tasks in actors."""
        return [task for task in self.tasks if isinstance(task, RemoteTask)]

    def places(self) -> list[tuple[str, int, Any]]:
        """Operator, subtask and actor of each task that is in one."""
        return [(task.uid, task.subtask, task.actor) for task in self.remote]

    def start(self) -> None:
        """All actors, and the threads that listen to them and run what stays at home."""
        self._coordinator.on_begin.append(self._renew)
        try:
            for task in self.remote:
                self._employ(task)
        except BaseException:
            for task in self.remote:
                if task.actor is not None:
                    ray.kill(task.actor)
            self._placement.remove()
            raise
        REGISTRY.enter(self)
        for at_home in self._home:
            threading.Thread(target=at_home.run, name=f"sage-{at_home!r}", daemon=True).start()
        threading.Thread(target=self._listen, name="sage-events", daemon=True).start()

    def lose(self, task: RemoteTask, post: Post, error: Exception) -> None:
        """A task's actor is of no use any more: a failure of the attempt, unless another has the task by now."""
        post.lost = error
        if post is task.post and not self._coordinator.done.is_set():
            self._coordinator.failed(task.attempt, task, error)

    def dismiss(self, task: RemoteTask) -> None:
        """The last call to each task; with the last of them the actors go."""
        with self._lock:
            self._dismissed.add(task)
            everyone = len(self._dismissed) == len(self.remote)
        if everyone:
            threading.Thread(target=self._part_ways, name="sage-goodbye", daemon=True).start()

    def _renew(self, attempt: int) -> None:
        """Before an attempt begins: actors that do not live any more are made anew, and hear of the attempt."""
        if attempt == 1:  # they have only just been made
            return
        for task in self._dead():
            ray.kill(task.actor)  # one that only does not answer has what the next one needs
            self._employ(task)
            task.fence(attempt)

    def _task(self, wiring: Wiring, chain: Chain, subtask: int) -> Task:
        gate = wiring.gate(chain, subtask)
        return wiring.task(chain, subtask, gate, lambda to: Pushing(self._job, self.actors, gate, to))

    def _employ(self, task: RemoteTask) -> None:
        if task.uid not in self._shipments:
            self._shipments[task.uid] = ray.put(self._ship.packed(task.chain))
        task.post = post = Post(self._placement.actor(task.chain, task.subtask))
        self.actors[task.uid, task.subtask] = post.actor
        environment = self._placement.environment(task.chain)
        shipment = self._shipments[task.uid]
        self._expect(task, post, post.actor.hire.remote(self._job, shipment, task.uid, task.subtask, environment))
        self._expect(task, post, post.actor.events.remote(self._job, 0))

    def _expect(self, task: RemoteTask, post: Post, answer: Any) -> None:
        with self._lock:
            self._waiting[answer] = task, post

    def _dead(self) -> list[RemoteTask]:
        pings = {task.actor.pid.remote(): task for task in self.remote}
        ready, late = ray.wait(list(pings), num_returns=len(pings), timeout=ALIVE)
        dead = {pings[each] for each in (*late, *ready) if each in late or _answer(each) is None}
        return [task for task in self.remote if task in dead or task.post.lost is not None]

    def _listen(self) -> None:
        while not self._coordinator.done.is_set() or self._waiting:
            with self._lock:
                waiting = list(self._waiting)
            if not waiting:
                time.sleep(LOOK)
                continue
            ready, _ = ray.wait(waiting, num_returns=1, timeout=LOOK)
            for reference in ready:
                self._hear(reference)

    def _hear(self, reference: Any) -> None:
        with self._lock:
            task, post = self._waiting.pop(reference, (None, None))
        if task is None or post is not task.post:  # they have parted ways
            return
        try:
            heard = ray.get(reference)
        except ray.exceptions.RayError as error:
            self.lose(task, post, _loss(task, error))
            return
        if heard is None:  # it is hired, or it was
            return
        events, task.report = heard
        for event in events:
            self._take(task, post, event)
        self._expect(task, post, post.actor.events.remote(self._job, post.acknowledged))

    def _take(self, task: RemoteTask, post: Post, event: Event) -> None:
        told = self._coordinator
        if isinstance(event, Said):
            getattr(told, event.word)(event.attempt, task)
        elif isinstance(event, Failed):
            told.failed(event.attempt, task, event.error)
        elif isinstance(event, Kept):
            if event.data is not None and isinstance(told.store, MemoryStore):
                told.store.write(event.part.barrier.checkpoint, event.file.name, event.data)
            told.kept(event.attempt, task, event.part, event.file)
        elif isinstance(event, Unkept):
            told.unkept(event.attempt, event.checkpoint, event.reason)
        elif isinstance(event, Delivery):
            self._deliver(task, event)
            post.acknowledged = event.number  # a failure has been told before, and ends the attempt
        elif isinstance(event, Line):
            told.lines.append(f"{task!r} {event.text}")

    def _deliver(self, task: RemoteTask, delivery: Delivery) -> None:
        try:
            self._ship.deliver(delivery)
        except Exception as error:  # noqa: BLE001  the coordinator decides
            self._coordinator.failed(task.attempt, task, error)

    def _part_ways(self) -> None:
        """Every task closes what it opened, then its actor goes; what hangs goes all the same."""
        REGISTRY.leave(self)
        leaving = {task.actor.quit.remote(GRACE): task for task in self.remote}
        left, _ = ray.wait(list(leaving), num_returns=len(leaving), timeout=GRACE + 1.0)
        with self._lock:
            self._waiting.clear()
        sound = {leaving[each] for each in left if _answer(each)}
        for task in self.remote:
            self._placement.release(task.chain, task.actor, sound=task in sound)
            task.gone.set()
        self._placement.remove()


def _answer(reference: Any) -> Any:
    """What an actor said; None where it is gone."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError:
        return None


def _loss(task: RemoteTask, error: Exception) -> Exception:
    """Why an actor did not answer: it is gone, or the task could not be made in it."""
    if not isinstance(error, ray.exceptions.RayTaskError):
        return TaskLostError(f"the process of {task!r} is gone: {_first_line(error)}")
    cause = error.cause
    return MisuseError(
        f"operator {task.chain.head.name!r} cannot be made in its process: {type(cause).__name__}: {cause}; "
        f"what it needs must be there on every node"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
