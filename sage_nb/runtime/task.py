"""A task: a chain of operators in one thread, its input, and its part in checkpoints. It knows no transport."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from sage_nb.runtime.edge import Edge
from sage_nb.runtime.fused import Fused, finish, reach, woken
from sage_nb.runtime.gate import CONTROL, FencedError, Gate
from sage_nb.runtime.messages import Announce, Begin, Close, Committed, Link, Part, Quit, Trigger
from sage_nb.runtime.operators.ends import NAP, Reading
from sage_nb.runtime.operators.guard import departed
from sage_nb.runtime.operators.loop import AGAIN, Entering, Leaving
from sage_nb.runtime.operators.running import Clock, Operator
from sage_nb.runtime.operators.times import Timing
from sage_nb.runtime.pace import Pace
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.timesheet import Mark
from sage_nb.stream.batch import Barrier, Batch, End, Idle, Lap, Sign, Watermark
from sage_nb.stream.time import FOREVER

LINGER = 0.005  # seconds that an edge may hold records back to make fuller batches


class Task:
    """One subtask of a chain. `run` is its thread."""

    def __init__(
        self, uid: str, operators: Sequence[Operator], gate: Gate, ports: Sequence[int], link: Link, probe: Probe
    ) -> None:
        self.uid, self.subtask = uid, operators[0].place.subtask
        self.operators, self.gate, self.probe = operators, gate, probe
        self.clock: Clock = operators[0].place.clock
        self.edges: list[Edge] = []
        self.inside, self.attempt = False, 0  # inside: of a loop
        self.begun: Mark | None = None  # where its attempt began to work, once state is restored
        self._ports, self._link = ports, link
        self._pace = Pace()
        self._mailbox: queue.SimpleQueue[Begin | Quit] = queue.SimpleQueue()
        self._fused = Fused(operators)
        self.gone = threading.Event()
        first = operators[0]
        self._source = first if isinstance(first, Reading) else None
        self._timing = first if isinstance(first, Timing) else None
        self._head = first if isinstance(first, Entering) else None
        self._tail = first if isinstance(first, Leaving) else None
        self._regular = frozenset(at for at, port in enumerate(ports) if at not in gate.feedback)
        self._reset()

    def __repr__(self) -> str:
        return f"{self.uid}[{self.subtask}]"

    def fence(self, attempt: int) -> None:
        """Throw away what waits, and let an attempt under way notice."""
        self.gate.fence(attempt)
        for operator in self.operators:
            operator.halt()

    def tell(self, attempt: int, command: Any) -> None:
        """Into the gate, before all else."""
        self.gate.tell(attempt, command)

    def begin(self, begin: Begin) -> None:
        """Work from that state on; an attempt under way gives up at its next item."""
        self._mailbox.put(begin)

    def quit(self) -> None:
        """End the thread."""
        self._mailbox.put(Quit())

    def run(self) -> None:
        """Attempt after attempt, until told to quit."""
        while isinstance(command := self._command_to_work(), Begin):
            if command.attempt == self.gate.attempt:
                self._try(command)
        self._fused.abandon()
        self.gone.set()

    def mark(self, now: float) -> Mark:
        """How far it is; `now` in monotonic seconds."""
        return self._fused.mark(self.attempt, now)

    def _command_to_work(self) -> Begin | Quit:
        self.clock.sheet.rest("idle")
        command = self._mailbox.get()
        self.clock.sheet.work()
        return command

    def _try(self, begin: Begin) -> None:
        self.attempt = begin.attempt
        try:
            self._start(begin)
            while self._step():
                pass
        except FencedError:
            pass
        except BaseException as error:  # noqa: BLE001  whatever it is, sys.exit() too, the coordinator decides
            self._fused.abandon()
            self._link.failed(self.attempt, self, departed(f"{self!r}", error))

    def _start(self, begin: Begin) -> None:
        self._reset()
        for edge in self.edges:
            edge.attempt = self.attempt
        self._fused.open()
        self.probe.at("restore", self.uid)
        self._fused.restore(begin)
        self._time = min(operator.watermark for operator in self.operators)
        if self._time > -FOREVER:
            self._tell(Watermark(self._time))
        if self._head is not None:
            self._head.resume()
        self.begun = self.mark(time.monotonic())

    def _reset(self) -> None:
        self.in_hand = 0  # records of the batch taken last, to be handled
        self._times = [-FOREVER] * self.gate.channels
        self._time = -FOREVER
        self._idle, self._ended = set[int](), set[int]()
        self._arrived, self._home = set[int](), set[int]()
        self._laps: dict[int, Lap] = {}
        self._aligning: tuple[int, float] | None = None
        self._base: dict[str, dict[str, Any]] = {}
        self._logged = 0  # the checkpoint for which a loop's head writes down what comes round
        self._awaited = 0  # the checkpoint whose barriers come home
        self._held_since: float | None = None  # since when edges hold something back
        self._over = False
        self._napping = self._dozing = False  # dozing: idle, and readers know

    def _step(self) -> bool:
        """One item, or one batch of a source; False when all is closed."""
        taken = self._take()
        begun = self._busy
        if taken is not None and not self._handle(*taken):
            return False
        self._wake()
        if taken is None and self._source is not None and not self._over:
            self._read(self._source)
        self._send_on(begun, idle=self.gate.empty and not self._streaming)
        return True

    @property
    def _busy(self) -> float:
        """A clock that stands still while full channels keep the task from sending."""
        return time.monotonic() - self.clock.sheet.blocked_s

    def _send_on(self, begun: float, *, idle: bool) -> None:
        """Let edges send what they hold back: where there is nothing else to do, or it has waited long enough.

        `begun` is when what has been handled last was begun with: where that took long, nothing is to wait for more.
        """
        if not any(edge.waiting for edge in self.edges):
            self._held_since = None
            return
        if self._held_since is None:
            self._held_since = begun
        if idle or self._busy - self._held_since >= LINGER:
            self._held_since = None
            for edge in self.edges:
                edge.flush()

    @property
    def _streaming(self) -> bool:
        """Whether a source's next records are as good as there, so that batches may fill."""
        return self._source is not None and not self._over and not self._napping and self._source.fast

    def _take(self) -> tuple[int, Any] | None:
        reading = self._source is not None and not self._over
        if reading and not self._napping:
            return self.gate.take(self.attempt, 0)
        until = self._until()
        self.clock.sheet.rest("idle")
        try:
            return self.gate.take(self.attempt, until)
        finally:
            self.clock.sheet.work()

    def _until(self) -> float | None:
        """When to go on without an item (monotonic seconds)."""
        if self._napping and not self._over:
            return time.monotonic() + NAP
        wall = min((at for each in self.operators if (at := each.deadline) is not None), default=None)
        return None if wall is None else time.monotonic() + max(0.0, wall - time.time())

    def _wake(self) -> None:
        """Do what was put off until now."""
        if any(each.deadline for each in self.operators):
            self._fused.each(woken)
            if self._timing is not None and self._timing.idle:
                self._pass_time(None)

    def _read(self, source: Reading) -> None:
        """Read on."""
        begun, read = self._busy, source.counters.received
        self._napping = not source.read(self._pace.most)
        self._pace.note(source.counters.received - read, self._busy - begun)
        self._pass_time(source.time, source.latest)
        if source.exhausted:
            self._end()

    def _handle(self, channel: int, item: Any) -> bool:
        if type(item) is Batch:
            self._batch(channel, item)
        elif channel == CONTROL:
            return self._command(item)
        else:
            self._sign(channel, item)
        return True

    def _batch(self, channel: int, batch: Batch) -> None:
        if self._head is not None and channel in self.gate.feedback and channel not in self._home:
            self._head.note(batch)
        self._dozing = False
        if self._idle:
            self._idle.discard(channel)
        for part in (batch,) if self._timing is None else self._timing.cut(batch):
            self._paced(part, self._ports[channel])
            if self._timing is not None:
                self._pass_time(self._timing.time)

    def _paced(self, batch: Batch, port: int) -> None:
        """A batch in pieces that do not take long, so that what came of the first ones goes on, and a halt is heard."""
        at, count = 0, len(batch)
        self.in_hand = count
        while at < count:
            most, begun = self._pace.most, self._busy
            piece = batch if at == 0 and count <= most else batch.cut(slice(at, at + most))
            self.operators[0].receive(piece, port)
            self._pace.note(len(piece), self._busy - begun)
            at += most
            self.in_hand = max(0, count - at)
            if at < count:
                if self.gate.attempt != self.attempt:
                    raise FencedError
                self._send_on(begun, idle=False)
        self.gate.full = self._pace.most

    def _command(self, command: Any) -> bool:
        if isinstance(command, Trigger):
            if self._source is not None:
                self._checkpoint(command.barrier, 0.0)
        elif isinstance(command, Announce):
            self.gate.fair = True
        elif isinstance(command, Committed):
            self._fused.each(lambda each: each.committed(command.checkpoint))
            self._link.committed(self.attempt, self)
        elif isinstance(command, Close):
            self._close()
            return False
        return True

    def _sign(self, channel: int, sign: Sign) -> None:
        if isinstance(sign, Barrier):
            self._barrier(channel, sign)
        elif isinstance(sign, Lap):
            self._lap(channel, sign)
        elif channel in self._regular:
            if isinstance(sign, Watermark):
                self._idle.discard(channel)
                self._times[channel] = sign.time
            elif isinstance(sign, Idle):
                self._idle.add(channel)
            elif isinstance(sign, End):
                self._ended.add(channel)
                self._times[channel] = FOREVER
            self._note_time()

    def _note_time(self) -> None:
        """The least time of the channels that are not idle; the end, when all have ended."""
        if self._ended == self._regular:
            if self._head is not None:
                self._send_lap(Lap(1))
            else:
                self._end()
        elif self._head is None and self._timing is None:
            left = self._regular - self._ended
            awake = min((self._times[at] for at in left - self._idle), default=None)
            self._pass_time(awake, max(self._times[at] for at in left))

    def _pass_time(self, time: float | None, latest: float = -FOREVER) -> None:
        """Time has come so far; None: all is idle, so there is no one to wait for, and it goes on to the `latest`."""
        if time is None:
            if not (self._over or self._dozing):
                self._pass_time(latest)
                self._dozing = True
                self._tell(Idle())
            return
        self._dozing = False
        if time > self._time:
            self._time = time
            self._fused.each(lambda each: reach(each, time))
            self._tell(Watermark(time))

    def _tell(self, sign: Sign) -> None:
        """To all readers, but not round the loop."""
        for edge in self.edges:
            if self._tail is None or edge not in self._again:
                edge.sign(sign)

    @property
    def _again(self) -> list[Any]:
        return self.operators[0].outputs.get(AGAIN, [])

    def _end(self) -> None:
        """All input has come: give what is left, and say so."""
        if self._over:
            return
        if self._timing is not None:
            self._pass_time(self._timing.reached)
        self._over = True
        self._fused.each(finish)
        self.probe.at("end", self.uid)
        self._tell(End())
        self._link.ended(self.attempt, self)

    def _barrier(self, channel: int, barrier: Barrier) -> None:
        if channel in self.gate.feedback:
            self._come_home(channel, barrier)
            return
        if self._aligning is None or self._aligning[0] != barrier.checkpoint:
            self.gate.unblock()
            self._arrived.clear()
            self._aligning = barrier.checkpoint, time.monotonic()
        self._arrived.add(channel)
        if self.probe.alignment:
            self.gate.block(channel)
        if self._arrived == self._regular:
            self._checkpoint(barrier, time.monotonic() - self._aligning[1])
            self._aligning = None
            self._arrived.clear()
            self.gate.unblock()

    def _checkpoint(self, barrier: Barrier, aligned_s: float) -> None:
        """Everything before the barrier is in; what comes after it waits, or is not here yet."""
        self._fused.each(lambda each: each.flush())
        for edge in self.edges:
            edge.flush()
        self._fused.each(lambda each: each.prepare(barrier.checkpoint))
        self._base = {operator.place.uid: operator.snapshot() for operator in self.operators}
        for edge in self.edges:
            edge.sign(barrier)
        if self._head is None:
            self._link.part(self.attempt, self, Part(barrier, self._base, aligned_s))
        else:
            self._head.begin_log()
            self._logged = barrier.checkpoint
            self._note_home(barrier)

    def _come_home(self, channel: int, barrier: Barrier) -> None:
        """The barrier is round the loop: what came before it on each channel was in the loop at the checkpoint.

        One of an earlier checkpoint, which was given up, says nothing; that of another head may come before its own.
        """
        if barrier.checkpoint >= self._logged:
            self._note_home(barrier)
            self._home.add(channel)
        if self._logged == barrier.checkpoint and self._home == self.gate.feedback and self._head is not None:
            self._home.clear()
            self.gate.fair = False
            self._base[self.uid]["own"] = self._head.own()
            self._link.part(self.attempt, self, Part(barrier, self._base, 0.0))

    def _note_home(self, barrier: Barrier) -> None:
        """Which barriers are home counts anew with each checkpoint."""
        if self._awaited != barrier.checkpoint:
            self._awaited = barrier.checkpoint
            self._home.clear()

    def _send_lap(self, lap: Lap) -> None:
        for edge in self.edges:
            edge.sign(lap)

    def _lap(self, channel: int, lap: Lap) -> None:
        if not self.inside or (self._head is not None and self._over):
            return
        if self._tail is not None:
            self._tail.closing = lap.last
        self._laps[channel] = lap
        if len(self._laps) < (len(self.gate.feedback) if self._head is not None else self.gate.channels):
            return
        fed_back = sum(each.fed_back for each in self._laps.values())
        self._laps.clear()
        if self._head is not None:
            self._send_lap(Lap(lap.number + 1, last=not fed_back))
            if not fed_back:
                self._end()
            return
        self._fused.each(lambda each: each.flush())
        count = self._tail.lapped() if self._tail is not None else 0
        for edge in self._again if self._tail is not None else self.edges:
            edge.sign(Lap(lap.number, count, lap.last))

    def _close(self) -> None:
        self.probe.at("close", self.uid)
        self._fused.close()
        self._link.closed(self.attempt, self)
