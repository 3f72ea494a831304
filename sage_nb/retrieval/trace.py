"""One question on its way through a pipeline: what each stage makes of it, computed only where a cache lacks it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sage_nb.errors import SageError
from sage_nb.records.values import Hit, Query, Result, Step
from sage_nb.retrieval.path import Path
from sage_nb.retrieval.ranking import COMPUTED, Answering, Fusing
from sage_nb.retrieval.recall import Cell, result_of
from sage_nb.retrieval.run import Answers
from sage_nb.retrieval.stage import Fused, Operation, Stage
from sage_nb.runtime.context import LocalContext
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.lifecycle import fresh, naming

Key = tuple[str, str]  # collection, document


@dataclass(frozen=True)
class Way:
    """How far a question has come: its result there, the path that led there, and the stops that it comes from."""

    result: Result
    path: Path
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stop:
    """A stage that a question has come through: the way that led to it, and what has left it.

    `reads` are the numbers of the stops that it was made from. `computed` says that no cache held it, and that it was
    worth a place in one; `seconds` is what it took, without the stops before it.
    """

    stage: Stage
    title: str
    came: Way
    result: Result
    reads: tuple[int, ...]
    computed: bool = False
    seconds: float = 0.0

    def hit(self, key: Key) -> Hit | None:
        """The document's hit in this ranking, if it is there."""
        return next((hit for hit in self.result.hits if key_of(hit) == key), None)


@dataclass(frozen=True)
class Trace:
    """A question's way, stop by stop; branches come before what puts them together."""

    query: Query
    stops: tuple[Stop, ...]
    cell: Cell | None = field(default=None, repr=False)

    @property
    def result(self) -> Result:
        """What the pipeline makes of the question: the last stop's."""
        return self.stops[-1].result

    @property
    def computed(self) -> tuple[str, ...]:
        """The titles of the stops that had to be computed."""
        return tuple(stop.title for stop in self.stops if stop.computed)

    @property
    def seconds(self) -> float:
        """What all of them took."""
        return sum(stop.seconds for stop in self.stops)


def traced(pipeline: Stage, query: Query, cell: Cell | None = None) -> Trace:
    """Follow one question through a pipeline: the last stop's result is the one that `pipeline.search` gives.

    What the cache of `cell` holds is not computed again; what is computed is kept there. It may be asked again with
    another `k` or weight of some stage, which computes that stage, and what follows from it.

    Raises what a stage raises, as a SageError.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.collection import Collection
    >>> with TemporaryDirectory() as folder:
    ...     notes = Collection(folder + "/notes", encoder=None)
    ...     _ = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
    ...     trace = traced(notes.lexical(k=2) | notes.lexical(k=1), Query("q", "sliding windows"))
    >>> for stop in trace.stops:
    ...     print(stop.title, stop.reads, [hit.document.id for hit in stop.result])
    bm25 () ['b']
    bm25 () ['b']
    max (0, 1) ['b']
    """
    following = _Following(cell)
    following.along(pipeline, Way(Result(query), Path.kept() if cell else Path()))
    return Trace(query, tuple(following.stops), cell)


def operated(step: Operation, came: Way, cell: Cell | None) -> tuple[Result, bool]:
    """What one operator makes of what came to it, and whether it had to be computed."""
    on = came.path.then(step)
    context = LocalContext({Cell: cell} if cell else {}, name=step.label)
    function = fresh(step.function_after(came.path), step.label)
    answering = Answering(function, on.mark(step.label, kept=step.keeps))
    with naming(step.label, "asked"):
        answering.open(context)
        try:
            (made,) = answering.map_batch([came.result])
        finally:
            answering.close()
    return result_of(made), step.keeps and context.metrics.counters.get(COMPUTED, 0) > 0


def key_of(hit: Hit) -> Key:
    """What tells its document from all others."""
    return hit.collection, hit.document.id


class _Following:
    """Goes along a pipeline and notes the stops."""

    def __init__(self, cell: Cell | None) -> None:
        self.stops: list[Stop] = []
        self._cell = cell

    def along(self, pipeline: Stage, way: Way) -> Way:
        for step in pipeline.steps:
            way = self._through(step, way)
        return way

    def _through(self, step: Stage, way: Way) -> Way:
        if isinstance(step, Fused):
            inward = replace(way, path=step.inward(way.path))
            parts = [self.along(part, inward) for part in step.parts]
            begun = time.perf_counter()
            result, computed = _fused(step, [part.result for part in parts]), False
            reads = tuple(at for part in parts for at in part.reads)
        else:
            begun, reads = time.perf_counter(), way.reads
            if isinstance(step, Operation):
                result, computed = operated(step, way, self._cell)
            else:
                result, computed = self._laid(step, way), True
                reads = tuple(self._noted(stop) for stop in _inside(step, way, result)) or reads
        title = _title(step, way.result, result)
        stop = Stop(step, title, way, result, reads, computed, time.perf_counter() - begun)
        return Way(result, way.path.then(step), (self._noted(stop),))

    def _noted(self, stop: Stop) -> int:
        self.stops.append(stop)
        return len(self.stops) - 1

    def _laid(self, step: Stage, way: Way) -> Result:
        """A stage of several operators, as a job of its own behind what has come."""
        resources: dict[type, Any] = {Cell: self._cell} if self._cell else {}
        env, answers = LocalEnvironment("trace", resources=resources).unchecked(), Answers()
        laid, _ = step.laid(env.from_collection([way.result], name="came"), way.path, {"on_error": "fail"})
        laid.sink(answers, name="answers", parallelism=1)
        env.submit().wait()
        result = answers.get(way.result.query.id)
        if result is None:
            raise SageError(f"{step.label} gave nothing for {way.result.query.text!r:.60}; run the pipeline to see why")
        return result


def _fused(step: Fused, results: Sequence[Result]) -> Result:
    fusing = Fusing(tuple(map(repr, step.parts)), step.rule, step.weights, tuple(part.floor for part in step.parts))
    fusing.open(LocalContext(name=step.label))
    with naming(step.label, "asked"):
        return result_of(fusing.map(tuple(results)))


def _inside(step: Stage, way: Way, result: Result) -> Iterator[Stop]:
    """The rankings inside a stage that is not looked into, as far as its hits tell: those that none tells twice."""
    before = {key_of(hit): len(hit.steps) for hit in way.result.hits}
    told = [(hit, said) for hit in result.hits for said in hit.steps[before.get(key_of(hit), 0) : -1]]
    twice = {name for hit in result.hits for name, times in Counter(s.stage for s in hit.steps).items() if times > 1}
    for name in dict.fromkeys(said.stage for _, said in told):
        if name not in twice:
            hits = sorted((_as_told(hit, said) for hit, said in told if said.stage == name), key=lambda hit: hit.rank)
            yield Stop(step, name, way, msgspec.structs.replace(result, hits=tuple(hits), answer=None), way.reads)


def _as_told(hit: Hit, said: Step) -> Hit:
    return msgspec.structs.replace(hit, rank=said.rank, score=said.score)


def _title(step: Stage, before: Result, after: Result) -> str:
    """What hits call the stage, where it has ranked them."""
    known = {key_of(hit): len(hit.steps) for hit in before.hits}
    for hit in after.hits:
        if len(hit.steps) > known.get(key_of(hit), 0):
            return hit.steps[-1].stage
    return step.label
