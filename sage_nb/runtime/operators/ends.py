"""Where records come into a job and leave it: sources with their watermarks, sinks with their commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sage_nb.errors import SageError
from sage_nb.runtime.gate import FencedError
from sage_nb.runtime.operators.guard import LOST, MisuseError, OperatorError, shown
from sage_nb.runtime.operators.holding import Holding
from sage_nb.runtime.operators.lifecycle import closed, fresh, naming, opened
from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.runtime.operators.times import stand_in, timed
from sage_nb.stream.batch import FULL, Batch
from sage_nb.stream.graph import SinkSpec, SourceSpec, Spec
from sage_nb.stream.sink import SinkFunction, TwoPhaseSink
from sage_nb.stream.source import IDLE, STOP, SourceFunction
from sage_nb.stream.time import FOREVER

LINGER = 0.001  # seconds: no record waits longer in a source for others; asking the clock costs 50 ns a record
NAP = 0.01  # seconds that a source is left alone after it said IDLE


class Split:
    """One split being read: how far, how far event time has come in it, and how far it has said so."""

    def __init__(self, name: str, state: tuple[int, float, float, bool]) -> None:
        self.name = name
        self.records, self.reached, self.watermark, self.ended = state
        self.stopped = False
        self.rows: Iterator[Any] | None = None
        self.last = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it gives nothing more in this run."""
        return self.ended or self.stopped

    @property
    def state(self) -> list[Any]:
        """As it stands in a checkpoint, behind its name."""
        return [self.name, self.records, self.reached, self.watermark, self.ended]


BEGINNING = (0, -FOREVER, -FOREVER, False)


class Reading(Operator):
    """The running half of a source: reads its splits in turn, a batch at a time."""

    spec: SourceSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._source: SourceFunction[Any] | None = None
        self._splits: list[Split] = []
        self.fast = False  # whether records come as fast as they are read
        self._turn = 0
        self._used = False

    def open(self) -> None:
        """The source."""
        self.place.probe.at("open", self.place.uid)
        self._source = opened(fresh(self.spec.source, self.place.name), self.place.context(self.metrics))

    def close(self) -> None:
        """The source."""
        self._splits = []
        source, self._source = self._source, None
        closed(source, self.place.name)

    @property
    def exhausted(self) -> bool:
        """Whether every split is read to its end."""
        return all(split.over for split in self._splits)

    @property
    def time(self) -> float | None:
        """How far event time has come; None when all that is left is idle.

        A split that is to be read on in the next run holds it back; of those read to their end the furthest counts.
        """
        idle_after = self.spec.watermark.idle_after if self.spec.watermark else None
        left = [split for split in self._splits if not split.ended]
        if not left:
            return max((split.reached for split in self._splits), default=-FOREVER)
        now = time.monotonic()
        awake = [split for split in left if idle_after is None or now - split.last < idle_after]
        return min((split.watermark for split in awake), default=None)

    @property
    def latest(self) -> float:
        """How far event time has come in the split that is furthest."""
        return max((split.watermark for split in self._splits if not split.ended), default=-FOREVER)

    def read(self, most: int) -> bool:
        """Read and emit up to `most` records of the next split; False where there was nothing just now."""
        left = [split for split in self._splits if not split.over]
        if not left:
            return False
        self._turn += 1
        split = left[self._turn % len(left)]
        self.place.clock.enter(self.place.uid)
        try:
            return self._read(split, most)
        finally:
            self.place.clock.leave()

    def accepted(self, made: Any) -> Any:
        """An event time."""
        return stand_in(made, self.place.name)

    def own(self) -> Any:
        """The state of each split."""
        return [split.state for split in self._splits]

    def restore(self, saved: Saved) -> None:
        """Its share of the splits, each from where it was.

        Raises BadValueError where the source cannot be read again.
        """
        super().restore(saved)
        source = self._reader()
        if self._used and not source.replayable:
            raise MisuseError(
                f"source {self.place.name!r} reads an iterator, which cannot be read again after a failure; "
                f"give from_collection() a list, or a function that returns the iterator"
            )
        known = {name: tuple(state) for own in saved.own.values() for name, *state in own}
        with naming(self.place.name, "resumed"):
            source.resume(list(known))
        names = list(dict.fromkeys([*self._names(source), *known]))
        mine = [name for at, name in enumerate(names) if at % self.place.parallelism == self.place.subtask]
        self._splits = [Split(name, known.get(name, BEGINNING)) for name in mine]
        self.fast = False

    def _names(self, source: SourceFunction[Any]) -> list[str]:
        with naming(self.place.name, "asked for its splits"):
            names = source.splits()
        if isinstance(names, str) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
            raise MisuseError(f"source {self.place.name!r}: splits() must give different names, got {shown(names)}")
        return list(names)

    def _reader(self) -> SourceFunction[Any]:
        if self._source is None:
            raise RuntimeError("read before open")
        return self._source

    def _read(self, split: Split, most: int) -> bool:
        self._used = True
        most = min(most, self._room(split))
        try:
            if split.rows is None:
                split.rows = self._rows(split)
            values, idle = self._quick(split, most) if self._reader().at_hand else self._patient(split, most)
        except SageError as error:
            if repr(self.place.name) in str(error):
                raise
            raise type(error)(f"source {self.place.name!r}: {error}") from error
        except Exception as error:
            raise OperatorError(
                f"source {self.place.name!r} failed in split {split.name!r}, after its record {split.records}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if values:
            split.last = time.monotonic()
            self._send(split, values)
        return not idle

    def _rows(self, split: Split) -> Iterator[Any]:
        rows = self._reader().read(split.name, split.records)
        if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
            raise MisuseError(
                f"source {self.place.name!r}: read() must yield records or return an iterable, got {shown(rows)}"
            )
        return iter(rows)

    def _quick(self, split: Split, most: int) -> tuple[list[Any], bool]:
        """The next records, all at once (a quarter of the time of one by one); copies, for the list is the user's."""
        values = Batch(list(islice(split.rows or (), most))).copies(2)[0].values
        self.fast = len(values) == most
        split.ended = not self.fast
        return values, False

    def _patient(self, split: Split, most: int) -> tuple[list[Any], bool]:
        """The records that come within a moment, and whether the source has no more just now."""
        values: list[Any] = []
        clock = time.monotonic
        self.fast, latest = False, clock() + LINGER
        for value in split.rows or ():
            if value is IDLE:
                return values, True
            if value is STOP:
                split.stopped = True
                return values, False
            values.append(value)
            if len(values) >= most:
                self.fast = clock() < latest
                return values, False
            if clock() >= latest:
                return values, False
        split.ended = True
        return values, False

    def _room(self, split: Split) -> int:
        """How many records to read: no further than to the next watermark."""
        every = self.spec.watermark.every if self.spec.watermark else None
        return FULL if every is None else every - split.records % every

    def _send(self, split: Split, values: list[Any]) -> None:
        strategy = self.spec.watermark
        split.records += len(values)
        self.in_hand += len(values)
        self.counters.received += len(values)
        self.counters.batches += 1
        batch = Batch(values)
        try:
            if strategy is not None:
                batch, split.reached = timed(self.guard, strategy, batch, split.reached)
                if strategy.every is None or split.records % strategy.every == 0:
                    split.watermark = split.reached
            self.counters.passed += len(batch)
        finally:
            self.in_hand -= len(values)
        if batch.values:
            self.emit(batch)


class Sinking(Holding):
    """The running half of a sink; a two-phase one is asked to prepare before a checkpoint and commits after it."""

    spec: SinkSpec

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._sink: Any = None
        self._handles: list[list[Any]] = []  # [checkpoint, handle], prepared and not known to be committed

    def open(self) -> None:
        """The sink."""
        self.place.probe.at("open", self.place.uid)
        self._sink = opened(fresh(self.spec.sink, self.place.name), self.place.context(self.metrics))

    def close(self) -> None:
        """The sink."""
        sink, self._sink = self._sink, None
        closed(sink, self.place.name)

    def handle(self, batch: Batch, port: int) -> None:
        """The whole batch where the sink takes batches; where it fails, record by record, to find the one to blame."""
        if type(self._sink).write_batch is SinkFunction.write_batch:
            self._singly(self._sink.write, batch)
        else:
            self._whole(batch)
        if not self.place.probe.two_phase:
            self._show()

    def _whole(self, batch: Batch) -> None:
        try:
            self.guard.once(self._sink.write_batch, list(batch.values))
            self.counters.passed += len(batch)
        except (FencedError, MisuseError):
            raise
        except Exception as error:
            if self._sink.holds_back and not isinstance(error, (ValueError, TypeError)):  # a full disk, say
                raise OperatorError(f"sink {self.place.name!r} cannot write: {error}") from error
            self._singly(self._alone, batch)

    def _singly(self, write: Callable[[Any], Any], batch: Batch) -> None:
        made = [self.guard.call(write, value) for value in batch.values]
        self.counters.passed += sum(each is not LOST for each in made)

    def prepare(self, checkpoint: int) -> None:
        """First phase."""
        self._sink.flush()
        if isinstance(self._sink, TwoPhaseSink):
            handle = self._sink.prepare(checkpoint)
            if handle is not None:
                self._handles.append([checkpoint, handle])

    def committed(self, checkpoint: int) -> None:
        """Second phase, of all checkpoints up to this."""
        self.place.probe.at("notify", self.place.uid)
        for number, handle in self._handles:
            if number <= checkpoint:
                self._sink.commit(handle)
        self._handles = [each for each in self._handles if each[0] > checkpoint]

    def own(self) -> Any:
        """The handles that a failure must not lose."""
        return [list(each) for each in self._handles]

    def restore(self, saved: Saved) -> None:
        """What was prepared before the checkpoint is part of it; what came after is thrown away."""
        super().restore(saved)
        self._handles = []
        if not isinstance(self._sink, TwoPhaseSink):
            return
        here, count = self.place.subtask, self.place.parallelism
        for at, handles in sorted(saved.own.items()):
            if at == here or (here == 0 and at >= count):
                for _, handle in handles:
                    self._sink.commit(handle)
        self._sink.discard(saved.checkpoint)

    def _alone(self, value: Any) -> None:
        self._sink.write_batch([value])

    def _show(self) -> None:
        handle = self._sink.prepare(0) if isinstance(self._sink, TwoPhaseSink) else None
        if handle is not None:
            self._sink.commit(handle)
