"""map, filter, flat_map, split and co_map: a function for each record, or for a batch of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.runtime.keyed import KeyedStore
from sage_nb.runtime.operators.guard import LOST, WrongReturnError
from sage_nb.runtime.operators.running import Operator, Place, Saved, closed, fresh, opened
from sage_nb.stream.batch import Batch
from sage_nb.stream.function import CoMapFunction, FilterFunction, FlatMapFunction, MapFunction, Snapshotting
from sage_nb.stream.graph import REST, CoMapSpec, FilterSpec, FlatMapSpec, MapSpec, Spec, SplitSpec


class Applying(Operator):
    """Holds one user function: opens, calls, snapshots and closes it."""

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.store = KeyedStore(place.groups)
        self._held: Batch | None = None
        self._since = 0.0
        self._function: Any = None
        self._beginning: Any = None

    def open(self) -> None:
        """One instance for this subtask."""
        self.place.probe.at("open", self.place.uid)
        self._function = fresh(self._declared(), self.place.name)
        opened(self._function, self.place.context(self.metrics, self.store))
        if isinstance(self._function, Snapshotting):
            self._beginning = self._function.snapshot_state()
        self._bind()

    def close(self) -> None:
        """The function, and the thread its calls were timed in."""
        function, self._function = self._function, None
        closed([function])

    def process(self, batch: Batch, port: int) -> None:
        """At once, or when there are enough for a full batch."""
        batching = self.place.options.batch
        if batching is None:
            self.handle(batch, port)
            return
        if self._held is not None and not self._held.fits(batch):
            self.flush()
        if self._held is None:
            self._held, self._since = batch, time.time()
        else:
            self._held = Batch.joined([self._held, batch])
        while self._held is not None and len(self._held) >= batching.most:
            self._release(batching.most)

    def handle(self, batch: Batch, port: int) -> None:
        """Call the function for a batch."""
        raise NotImplementedError

    def flush(self) -> None:
        """Call it with what is there."""
        while self._held is not None:
            batching = self.place.options.batch
            self._release(batching.most if batching else len(self._held))

    @property
    def deadline(self) -> float | None:
        """When the oldest record has waited long enough."""
        batching = self.place.options.batch
        return self._since + batching.wait if batching and self._held is not None else None

    def wake(self, now: float) -> None:
        """Handle what waits."""
        if self.deadline is not None and now >= self.deadline:
            self.place.clock.enter(self.place.uid)
            self.flush()
            self.place.clock.leave()

    @property
    def waiting(self) -> int:
        """Records kept for a fuller batch."""
        return 0 if self._held is None else len(self._held)

    def groups(self) -> dict[str, dict[int, Any]]:
        """The function's keyed state."""
        return {"state": self.store.snapshot()} if self.store.used else {}

    def own(self) -> Any:
        """The function's own state."""
        return [self._function.snapshot_state()] if isinstance(self._function, Snapshotting) else None

    def restore(self, saved: Saved) -> None:
        """Keyed state of the groups owned; the function's own where the parallelism is the same.

        Raises BadValueError where a function's own state would have to be dealt out anew.
        """
        super().restore(saved)
        self._held = None
        self.store.restore({g: s for g, s in saved.groups.get("state", {}).items() if self.place.owns(g)})
        if not isinstance(self._function, Snapshotting):
            return
        if saved.own and saved.parallelism != self.place.parallelism:
            raise BadValueError(
                f"operator {self.place.name!r} has state of its own for {saved.parallelism} subtasks and is to run in "
                f"{self.place.parallelism}; use keyed state, which can be dealt out anew, or the old parallelism"
            )
        self._function.restore_state(saved.own.get(self.place.subtask, [self._beginning])[0])

    def each(self, call: Callable[[Any], Any], batch: Batch) -> tuple[list[Any], list[int] | None]:
        """Results of `call` for a batch, and the places they come from (None: all, one for each)."""
        values: list[Any] = batch.values
        if not self.guard.idle:
            made, failed = [self._one(call, batch, at) for at in range(len(values))], True
        elif self.store.used:
            keys, select = self._keys(batch), self.store.select

            def keyed(at: int) -> Any:
                select(keys[at])
                return call(values[at])

            made, failed = self._swift(keyed, range(len(values)), call, values)
        else:
            made, failed = self._swift(call, values, call, values)
        if failed and any(each is LOST for each in made):
            kept = [at for at, each in enumerate(made) if each is not LOST]
            return [made[at] for at in kept], kept
        return made, None

    def _swift(
        self, step: Callable[[Any], Any], given: Sequence[Any], call: Callable[[Any], Any], values: Sequence[Any]
    ) -> tuple[list[Any], bool]:
        """`step` of each of `given`, and whether any failed: `map` takes half the time of a loop.

        After an error it goes on behind the record that failed.
        """
        made: list[Any] = []
        left, failed = iter(given), False
        while len(made) < len(given):
            error: Exception = StopIteration()  # a function that raises this ends the map unseen
            try:
                made.extend(map(step, left))  # what came before an error stays
            except Exception as raised:  # noqa: BLE001  the policy decides
                error = raised
            if len(made) < len(given):
                made.append(self.guard.failed(call, values[len(made)], error))
                failed = True
        return made, failed

    def _one(self, call: Callable[[Any], Any], batch: Batch, at: int) -> Any:
        if self.store.used:
            self.store.select(self._keys(batch)[at])
        return self.guard.call(call, batch.values[at])

    def _keys(self, batch: Batch) -> list[Any]:
        if batch.keys is None:
            raise BadValueError(
                f"operator {self.place.name!r} uses keyed state on a stream without keys; put .key_by(…)"
            )
        return batch.keys

    def _release(self, most: int) -> None:
        held = self._held
        if held is None:
            return
        self._held = held.cut(slice(most, None)) if len(held) > most else None
        self.handle(held.cut(slice(most)) if len(held) > most else held, 0)

    def _declared(self) -> Any:
        return self.spec.function  # type: ignore[attr-defined]

    def _bind(self) -> None:
        """Find what to call."""


class OneToOne(Applying):
    """`map`: one out for each in; whole batches where the function takes them."""

    spec: MapSpec

    def _bind(self) -> None:
        function = self._function
        self._call = function.map if isinstance(function, MapFunction) else function
        self._batch = function.map_batch if _takes_batches(function) else None

    def handle(self, batch: Batch, port: int) -> None:
        """Emit as many as came, less those that failed."""
        made, kept = self._whole(batch) if self._batch and not self.store.used else self.each(self._call, batch)
        self.counters.passed += len(made)
        if kept is None:
            self.emit(Batch(made, batch.times, None, batch.rounds))
        elif made:
            out = batch.picked(made, kept)
            self.emit(Batch(made, out.times, None, out.rounds))

    def _whole(self, batch: Batch) -> tuple[list[Any], list[int] | None]:
        if len(batch) > 1 and self.guard.idle:
            try:
                return self._counted(batch.values), None
            except WrongReturnError:
                raise
            except Exception:  # noqa: BLE001  one of them is to blame: one by one shows which
                return self.each(lambda value: self._counted([value])[0], batch)
        return self.each(lambda value: self._counted([value])[0], batch)

    def _counted(self, values: list[Any]) -> list[Any]:
        made = self._batch(list(values)) if self._batch else []
        if not isinstance(made, list) or len(made) != len(values):
            count = len(made) if isinstance(made, list) else f"a {type(made).__name__}"
            raise WrongReturnError(
                f"operator {self.place.name!r}: map_batch gave {count} for {len(values)} values; "
                f"return a list with one for each"
            )
        return list(made)


class Filtering(Applying):
    """`filter`: those for which the function is true."""

    spec: FilterSpec

    def _bind(self) -> None:
        self._call = self._function.filter if isinstance(self._function, FilterFunction) else self._function

    def handle(self, batch: Batch, port: int) -> None:
        """Emit those kept."""
        verdicts, places = self.each(self._call, batch)
        origins = range(len(batch)) if places is None else places
        kept = [at for at, verdict in zip(origins, verdicts, strict=True) if verdict]
        if len(kept) < len(verdicts) and any(verdict is None for verdict in verdicts):
            raise WrongReturnError(f"filter {self.place.name!r} returned None; it must return True or False")
        self.counters.passed += len(kept)
        self.counters.filtered += len(verdicts) - len(kept)
        if len(kept) == len(batch):
            self.emit(Batch(batch.values, batch.times, None, batch.rounds))
        elif kept:
            out = batch.at(kept)
            self.emit(Batch(out.values, out.times, None, out.rounds))


class FlatMapping(Applying):
    """`flat_map`: any number out; a generator is read to its end inside the guard."""

    spec: FlatMapSpec

    def _bind(self) -> None:
        function = self._function
        call = function.flat_map if isinstance(function, FlatMapFunction) else function
        self._call = lambda value: as_list(call(value), self.place.name)

    def handle(self, batch: Batch, port: int) -> None:
        """Emit all that came out, each with its origin's columns."""
        lists, places = self.each(self._call, batch)
        self.counters.passed += len(lists)
        origins = range(len(batch)) if places is None else places
        values = [each for made in lists for each in made]
        if values:
            out = batch.picked(values, [at for at, made in zip(origins, lists, strict=True) for _ in made])
            self.emit(Batch(values, out.times, None, out.rounds))


class Splitting(Applying):
    """`split`: each record to one branch."""

    spec: SplitSpec

    def _declared(self) -> Any:
        return self._branch

    def _branch(self, value: Any) -> str:
        return next((name for name, holds in self.spec.branches if holds(value)), REST)

    def handle(self, batch: Batch, port: int) -> None:
        """Emit each branch's records; those for a rest that no one reads are filtered."""
        names, places = self.each(self._branch, batch)
        origins = range(len(batch)) if places is None else places
        for name in dict.fromkeys(names):
            at = [origin for origin, given in zip(origins, names, strict=True) if given == name]
            if name == REST and not self.outputs.get(REST):
                self.counters.filtered += len(at)
            else:
                self.counters.passed += len(at)
                out = batch.at(at)
                self.emit(Batch(out.values, out.times, None, out.rounds), name)


class CoMapping(Applying):
    """`co_map`: each input has its function; a `CoMapFunction` shares state between them."""

    spec: CoMapSpec

    def _declared(self) -> Any:
        return self.spec.first

    def _bind(self) -> None:
        function = self._function
        pair = (function.map1, function.map2) if isinstance(function, CoMapFunction) else (function, self.spec.second)
        name = self.place.name
        self._calls = [(lambda v, call=call: as_list(call(v), name)) if self.spec.flat else call for call in pair]

    def process(self, batch: Batch, port: int) -> None:
        """Never held back: the two inputs keep their order."""
        self.handle(batch, port)

    def handle(self, batch: Batch, port: int) -> None:
        """Emit what the port's function makes."""
        made, places = self.each(self._calls[port], batch)
        self.counters.passed += len(made)
        origins = list(range(len(batch))) if places is None else places
        if self.spec.flat:
            origins = [at for at, many in zip(origins, made, strict=True) for _ in many]
            made = [each for many in made for each in many]
        if made:
            out = batch.picked(made, origins)
            self.emit(Batch(made, out.times, None, out.rounds))


def as_list(made: Any, name: str) -> list[Any]:
    """What a flat_map or process function gave, as a list.

    Raises BadValueError for what has no records in it.
    """
    if made is None or isinstance(made, (str, bytes)) or not isinstance(made, Iterable):
        raise WrongReturnError(
            f"operator {name!r} must return an iterable of records (a list, or yield them), got {made!r:.60}"
        )
    return list(made)


def _takes_batches(function: Any) -> bool:
    return isinstance(function, MapFunction) and type(function).map_batch is not MapFunction.map_batch
