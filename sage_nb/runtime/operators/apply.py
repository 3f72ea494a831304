"""map, filter, flat_map, split and co_map: a function for each record, or for a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import Any

from sage_nb.runtime.gate import FencedError
from sage_nb.runtime.keyed import KeyedStore
from sage_nb.runtime.operators.guard import LOST, MisuseError, WrongReturnError, shown
from sage_nb.runtime.operators.holding import Holding
from sage_nb.runtime.operators.lifecycle import closed, fresh, naming, opened
from sage_nb.runtime.operators.running import Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.function import CoMapFunction, FilterFunction, FlatMapFunction, MapFunction, Snapshotting
from sage_nb.stream.graph import REST, CoMapSpec, FilterSpec, FlatMapSpec, MapSpec, Spec, SplitSpec

PIECE = 512  # records read from a generator between looks at whether they are still wanted


class Applying(Holding):
    """Holds one user function: opens, calls, snapshots and closes it."""

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self.store = KeyedStore(place.groups)
        self._function: Any = None
        self._beginning: list[Any] | None = None

    def open(self) -> None:
        """One instance for this subtask."""
        self.place.probe.at("open", self.place.uid)
        function = fresh(self._declared(), self.place.name)
        self._function = opened(function, self.place.context(self.metrics, self.store))
        self._beginning = None
        if self.store.used and self.place.options.timeout:
            raise MisuseError(
                f"operator {self.place.name!r} has keyed state and a timeout=; a call that is left behind could write "
                f"to another key's state, so put the slow part into a map() of its own"
            )
        self._bind()

    def close(self) -> None:
        """The function."""
        function, self._function = self._function, None
        closed(function, self.place.name)

    def groups(self) -> dict[str, dict[int, Any]]:
        """The function's keyed state."""
        return {"state": self.store.snapshot()} if self.store.used else {}

    def own(self) -> Any:
        """The function's own state."""
        return [self._snapshot()] if isinstance(self._function, Snapshotting) else None

    def restore(self, saved: Saved) -> None:
        """Keyed state of the groups owned; the function's own where the parallelism is the same.

        Raises BadValueError where a function's own state would have to be dealt out anew.
        """
        super().restore(saved)
        self.store.restore({g: s for g, s in saved.groups.get("state", {}).items() if self.place.owns(g)})
        if not isinstance(self._function, Snapshotting):
            return
        if saved.own and saved.parallelism != self.place.parallelism:
            raise MisuseError(
                f"operator {self.place.name!r} has state of its own for {saved.parallelism} subtasks and is to run in "
                f"{self.place.parallelism}; use keyed state, which can be dealt out anew, or the old parallelism"
            )
        if self._beginning is None:
            self._beginning = [deepcopy(self._snapshot())]
        elif not saved.own:
            saved = replace(saved, own={self.place.subtask: deepcopy(self._beginning)})
        if saved.own:
            with naming(self.place.name, "restored"):
                self._function.restore_state(saved.own[self.place.subtask][0])

    def _snapshot(self) -> Any:
        with naming(self.place.name, "checkpointed"):
            return self._function.snapshot_state()

    def each(self, call: Callable[[Any], Any], batch: Batch) -> tuple[list[Any], list[int] | None]:
        """Results of `call` for a batch, and the places they come from (None: all, one for each)."""
        values: list[Any] = batch.values
        if not self.guard.idle:
            made, failed = [self._one(call, batch, at) for at in range(len(values))], True
        elif self.store.used:
            keys, select = batch.keys or [None] * len(values), self.store.select

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
        """`step` of each of `given`, and whether any failed: only then is each result looked at for `LOST`."""
        made: list[Any] = []
        append, left, failed = made.append, iter(given), False
        while True:
            try:
                for each in left:  # goes on behind the record that failed
                    append(step(each))
                break
            except Exception as error:  # noqa: BLE001  the policy decides
                append(self.guard.failed(call, values[len(made)], error))
                failed = True
        return made, failed

    def _one(self, call: Callable[[Any], Any], batch: Batch, at: int) -> Any:
        if self.store.used:
            self.store.select(batch.keys[at] if batch.keys is not None else None)
        return self.guard.call(call, batch.values[at])

    def listed(self, made: Any) -> list[Any]:
        """What a flat_map or process function gave, as a list; one without end is read no further than the attempt.

        Raises WrongReturnError for what has no records in it.
        """
        if isinstance(made, (list, tuple)):
            return list(made)
        if isinstance(made, (str, bytes, Mapping)) or not isinstance(made, Iterable):
            raise WrongReturnError(
                f"operator {self.place.name!r} must return an iterable of records (a list, or yield them), "
                f"got {shown(made)}"
            )
        records, left = [], iter(made)
        while piece := list(islice(left, PIECE)):
            records += piece
            if len(piece) == PIECE and self.guard.halt.is_set():
                raise FencedError
        return records

    def _declared(self) -> Any:
        return self.spec.function  # type: ignore[attr-defined]

    def _bind(self) -> None:
        """Find what to call."""


class OneToOne(Applying):
    """`map`: one out for each in; whole batches where the function takes them.

    Where a batch fails, each of its records is tried alone, to find the one to blame: a good one is called twice at
    most, once in the batch and once alone.
    """

    spec: MapSpec

    def _bind(self) -> None:
        function = self._function
        self._batch = function.map_batch if _takes_batches(function) else None
        single = function.map if isinstance(function, MapFunction) else function
        self._call = self._alone if self._batch else single

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
        if len(batch) == 1:
            return self.each(self._alone, batch)
        try:
            return self.guard.once(self._counted, batch.values), None
        except (FencedError, MisuseError):
            raise
        except Exception:  # noqa: BLE001  one of them is to blame: one by one shows which
            return self.each(self._alone, batch)

    def _alone(self, value: Any) -> Any:
        return self._counted([value])[0]

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
        kept = self._kept(verdicts, origins)
        self.counters.passed += len(kept)
        self.counters.filtered += len(verdicts) - len(kept)
        if len(kept) == len(batch):
            self.emit(Batch(batch.values, batch.times, None, batch.rounds))
        elif kept:
            out = batch.at(kept)
            self.emit(Batch(out.values, out.times, None, out.rounds))

    def _kept(self, verdicts: list[Any], origins: Sequence[int]) -> list[int]:
        try:
            kept = [at for at, verdict in zip(origins, verdicts, strict=True) if verdict]
        except Exception as error:  # an array, say, is neither true nor false
            raise WrongReturnError(
                f"filter {self.place.name!r} must return True or False, got what is neither: {error}"
            ) from error
        if len(kept) < len(verdicts) and any(verdict is None for verdict in verdicts):
            raise WrongReturnError(f"filter {self.place.name!r} returned None; it must return True or False")
        return kept


class FlatMapping(Applying):
    """`flat_map`: any number out; a generator is read to its end inside the guard."""

    spec: FlatMapSpec

    def _bind(self) -> None:
        function = self._function
        call = function.flat_map if isinstance(function, FlatMapFunction) else function
        self._call = lambda value: self.listed(call(value))

    def accepted(self, made: Any) -> Any:
        """Records, as of the function itself."""
        return self.listed(made)

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
        for name, holds in self.spec.branches:
            verdict = holds(value)
            if verdict is None:
                raise WrongReturnError(
                    f"the predicate of branch {name!r} of {self.place.name!r} returned None; "
                    f"it must return True or False"
                )
            if verdict:
                return name
        return REST

    def accepted(self, made: Any) -> Any:
        """A branch's name.

        Raises WrongReturnError where there is none of that name.
        """
        names = [*(name for name, _ in self.spec.branches), REST]
        if made not in names:
            raise WrongReturnError(f"on_error of {self.place.name!r} must give one of {names}, got {shown(made)}")
        return made

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
        self._calls = [(lambda v, call=call: self.listed(call(v))) if self.spec.flat else call for call in pair]

    def accepted(self, made: Any) -> Any:
        """What the functions themselves give."""
        return self.listed(made) if self.spec.flat else made

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


def _takes_batches(function: Any) -> bool:
    return isinstance(function, MapFunction) and type(function).map_batch is not MapFunction.map_batch
