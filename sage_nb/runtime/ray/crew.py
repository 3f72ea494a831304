"""The tasks of a job on Ray as its coordinator sees them: actors, what they say, and new ones for the dead."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray

from sage_nb.runtime.checkpoint import MemoryStore
from sage_nb.runtime.coordinator import Coordinator
from sage_nb.runtime.messages import Begin
from sage_nb.runtime.metrics import Measured, measured
from sage_nb.runtime.operators.guard import MisuseError, TaskLostError
from sage_nb.runtime.plan import Chain
from sage_nb.runtime.ray.cluster import ClusterError, Tie
from sage_nb.runtime.ray.host import Actor
from sage_nb.runtime.ray.outbox import Delivery, Event, Failed, Kept, Line, Said, Unkept
from sage_nb.runtime.ray.placement import Placement, PlacementError
from sage_nb.runtime.ray.pool import POOL
from sage_nb.runtime.ray.ports import HomePushing
from sage_nb.runtime.ray.registry import REGISTRY
from sage_nb.runtime.ray.shipping import Ship, stays
from sage_nb.runtime.restart import NoRestart
from sage_nb.runtime.task import Task
from sage_nb.runtime.timesheet import Mark
from sage_nb.runtime.wiring import Wiring
from sage_nb.stream.graph import Graph

LOG = logging.getLogger("sage_nb.runtime")
LOOK = 0.5  # seconds between looks whether the cluster is still there, where nothing is heard of it
ALIVE = 10.0  # seconds within which a living actor answers
GRACE = 5.0  # seconds that tasks have to close what they opened, once the job has ended


@dataclass(eq=False)
class Post:
    """An actor that has, or had, a task."""

    actor: Any
    acknowledged: int = 0  # deliveries that came from it
    lost: Exception | None = None  # why it does not have it any more
    hired: bool = False  # it has begun to have it
    since: float = field(default_factory=time.monotonic)  # the task has been without one that is hired


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
        self._call("fence", attempt)

    def begin(self, begin: Begin) -> None:
        """Work from a state on."""
        self.attempt = begin.attempt
        if self.post.lost is not None:  # before it could be said of this attempt
            self._crew.lose(self, self.post, self.post.lost)
        mine = {uid: begin.saved[uid] for uid, _ in self.chain.nodes if uid in begin.saved}
        self._call("begin", self._crew.actors, Begin(begin.attempt, mine))

    def tell(self, attempt: int, command: Any) -> None:
        """A command that overtakes its input."""
        self._call("tell", attempt, command)

    def mark(self, now: float) -> Mark:
        """Rates are told where the task is."""
        return self._shadow.mark(now)

    def quit(self) -> None:
        """Close and be no more: the crew sees to it, for all."""
        self._crew.dismiss(self)

    def _call(self, method: str, *arguments: Any) -> None:
        """Without an answer; where the process has left the cluster, the crew tells of it."""
        with suppress(ClusterError):
            self._crew.tie.call(getattr(self.actor, method).remote, *arguments)


class Actors:
    """All tasks of a job: those at home as threads, the others as actors of which the dead are made anew."""

    def __init__(self, wiring: Wiring, coordinator: Coordinator, ship: Ship, placement: Placement) -> None:
        self.actors: dict[tuple[str, int], Any] = {}
        self.name = wiring.plan.graph.name
        self._coordinator, self._ship, self._placement = coordinator, ship, placement
        self.tie = Tie.now()
        self._job = uuid.uuid4().hex
        self._shipments: dict[str, Any] = {}
        self._answers: queue.SimpleQueue[tuple[RemoteTask, Post, Any] | None] = queue.SimpleQueue()  # None: no more
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
        self._coordinator.on_tick.append(self._look_ahead)
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
            self.tie.call(ray.kill, task.actor)  # one that only does not answer has what the next one needs
            self.tie.call(self._employ, task)
            task.fence(attempt)

    def _look_ahead(self) -> None:
        """Have an idle actor for the next one to die; give up on those that find no node."""
        told, end = self._coordinator, time.monotonic() - self._placement.timeout
        waiting = [task for task in self.remote if not task.post.hired and task.post.since < end]
        with suppress(ClusterError):
            if told.committed_count and not isinstance(told.settings.restart, NoRestart):
                self.tie.call(POOL.prepare, Actor)
            try:
                self.tie.call(self._placement.check, [(task.uid, task.subtask) for task in waiting])
            except PlacementError as error:
                told.failed(told.attempt, waiting[0], error)

    def _task(self, wiring: Wiring, chain: Chain, subtask: int) -> Task:
        gate = wiring.gate(chain, subtask)
        return wiring.task(chain, subtask, gate, lambda to: HomePushing(self._job, self.actors, gate, to))

    def _employ(self, task: RemoteTask) -> None:
        if task.uid not in self._shipments:
            self._shipments[task.uid] = ray.put(self._ship.packed(task.chain))
        before = task.post
        task.post = post = Post(self._placement.actor(task.chain, task.subtask))
        if not before.hired:
            post.since = before.since
        self.actors[task.uid, task.subtask] = post.actor
        environment = self._placement.environment(task.chain)
        shipment = self._shipments[task.uid]
        self._expect(task, post, post.actor.hire.remote(self._job, shipment, task.uid, task.subtask, environment))
        self._expect(task, post, post.actor.events.remote(self._job, 0))

    def _expect(self, task: RemoteTask, post: Post, answer: Any) -> None:
        """To be heard when it comes."""
        self.tie.call(answer.future).add_done_callback(lambda come: self._answers.put((task, post, come)))

    def _dead(self) -> list[RemoteTask]:
        """Those known to be lost, and those that were hired and do not answer; others may still find a node."""
        pings = {
            self.tie.call(task.actor.pid.remote): task
            for task in self.remote
            if task.post.hired and task.post.lost is None
        }
        alive = {pings[answer] for answer in self.tie.answers(pings, ALIVE)}
        return [task for task in self.remote if task.post.lost or (task.post.hired and task not in alive)]

    def _listen(self) -> None:
        """Until the job is done, or this process has left the cluster, which is its end."""
        try:
            self._hear_all()
        except ClusterError as error:
            while not self._coordinator.done.wait(LOOK):
                self._coordinator.failed(self._coordinator.attempt, self.remote[0], error)

    def _hear_all(self) -> None:
        while True:
            try:
                answer = self._answers.get(timeout=LOOK)
            except queue.Empty:
                self.tie.check()
                continue
            if answer is None:
                return
            self._hear(*answer)

    def _hear(self, task: RemoteTask, post: Post, answer: Any) -> None:
        if post is not task.post:  # they have parted ways
            return
        try:
            heard = self.tie.call(answer.result)
        except ray.exceptions.RayError as error:
            self.lose(task, post, _loss(task, error))
            return
        if heard is None:  # it is hired, or it was
            post.hired = True
            return
        events, task.report = heard
        for event in events:
            self._take(task, post, event)
        self._expect(task, post, self.tie.call(post.actor.events.remote, self._job, post.acknowledged))

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
        with suppress(ClusterError):
            leaving = {self.tie.call(task.actor.quit.remote, GRACE): task for task in self.remote}
            answers = self.tie.answers(leaving, GRACE + 1.0)
            sound = {leaving[each] for each, left in answers.items() if left}
            for task in self.remote:
                self.tie.call(self._placement.release, task.actor, sound=task in sound)
            self.tie.call(self._placement.remove)
        self._answers.put(None)
        for task in self.remote:
            task.gone.set()


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
