"""Results that a cache holds: found before anything is computed, kept as soon as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, Protocol, TypeVar

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.codec import decode, encode
from sage_nb.records.disk import home
from sage_nb.records.plain import plain
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.path import Mark, Path
from sage_nb.retrieval.resources import COLLECTIONS, Collections
from sage_nb.runtime.cellcache.limit import cache_gib
from sage_nb.runtime.cellcache.store import CellCache, Entry
from sage_nb.runtime.environment import Environment
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Context, MapFunction


@plain
class Known(msgspec.Struct, frozen=True):
    """A result that the cache held, of a pipeline's first `depth` stages: their operators let it pass."""

    result: Result
    depth: int


Passing = Result | Known
Env = TypeVar("Env", bound=Environment)


def result_of(value: Passing) -> Result:
    """The result itself."""
    return value.result if isinstance(value, Known) else value


@dataclass(frozen=True)
class Cell:
    """Whose results are kept, and where: a resource of the environment that a pipeline runs in.

    `fresh` looks for none, but keeps what is made; results are committed every so many seconds, and at the end.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.runtime.cellcache.store import Entry
    >>> folder = TemporaryDirectory()
    >>> cache = CellCache(Path(folder.name))
    >>> cache.put([Entry("k1", b"one", "answers", "rerank")])
    >>> Cell("answers", cache).get(["k1", "k2"]), Cell("answers", cache, fresh=True).get(["k1"])
    ({'k1': b'one'}, {})
    >>> cache.close()
    >>> folder.cleanup()
    >>> Cell.at_home("answers").cache.folder.name
    'cache'
    """

    name: str
    cache: CellCache
    fresh: bool = False
    every: float = 0.0

    @classmethod
    def at_home(cls, name: str) -> Cell:
        """One whose cache is that of `%%sage` cells, in `SAGE_HOME`, else in `.sage`; BadValueError for no name."""
        if not isinstance(name, str) or not name:
            raise BadValueError(f"cell= is a name to keep results under, a text, got {name!r:.80}")
        return cls(name, home_cache())

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those values that are held."""
        return {} if self.fresh else self.cache.get(keys)


def home_cache() -> CellCache:
    """The one in `SAGE_HOME`, else in `.sage`, which takes `SAGE_CACHE_GIB`, else 2 GiB; BadValueError for no number.

    It is the same for all who ask in this process.

    >>> home_cache().limit == 2 * 2**30, home_cache() is home_cache()
    (True, True)
    """
    return _cache(home() / "cache", int(cache_gib() * 2**30))


@lru_cache(maxsize=4)
def _cache(folder: FilePath, limit: int) -> CellCache:
    """Kept: where each question opened one of its own, hundreds of files were open until garbage was collected."""
    return CellCache(folder, limit)


def in_cell(env: Env, name: str | None) -> Env:
    """An environment whose pipelines keep what they give in the home's cache under a name, where there is one.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> in_cell(LocalEnvironment("run"), "answers").resource(Cell).name
    'answers'
    """
    return env if name is None else env.lending(Cell.at_home(name))


def given(context: Context) -> Cell | None:
    """The cell that a function runs for, if it runs for one."""
    return context.find(Cell)


class Memory:
    """What a cache holds of the results at one mark."""

    def __init__(self, mark: Mark, cell: Cell, collections: Collections) -> None:
        self.mark, self._cell, self._collections = mark, cell, collections
        self._waiting: list[Entry] = []
        self._committed = time.monotonic()

    @classmethod
    def opened(cls, mark: Mark, context: Context) -> Memory:
        """For a function that runs in `context`."""
        return cls(mark, context.get(Cell), context.get(Collections))

    def found(self, queries: Sequence[Query]) -> dict[str, Result]:
        """Results by their questions' ids; none where a collection has been changed since the run began."""
        if not self.current:
            return {}
        keys = {query.id: self._key(query) for query in queries}
        held = self._cell.get(list(keys.values()))
        return {
            query.id: msgspec.structs.replace(decode(held[keys[query.id]], Result), query=query)
            for query in queries
            if keys[query.id] in held
        }

    def known(self, queries: Sequence[Query]) -> set[str]:
        """The ids of those questions whose result is held."""
        keys = {query.id: self._key(query) for query in queries}
        held = self._cell.get(list(keys.values()))
        return {name for name, key in keys.items() if key in held}

    def keep(self, results: Sequence[Result]) -> None:
        """Those that are whole: what failed, or lacks a part that could not be asked, is asked again."""
        sound = [result for result in results if not result.error and not result.missing]
        self._waiting += [Entry(self._key(r.query), encode(r), self._cell.name, self.mark.stage) for r in sound]
        if time.monotonic() - self._committed >= self._cell.every:
            self.commit()

    def commit(self) -> None:
        """Those that wait."""
        waiting, self._waiting = self._waiting, []
        self._cell.cache.put(waiting)
        self._committed = time.monotonic()

    @property
    def current(self) -> bool:
        """Whether every collection on the way is as it was when the run began."""
        return all(
            self._collections.folder(path).snapshot().manifest.generation == generation
            for path, generation in self.mark.generations
        )

    def _key(self, query: Query) -> str:
        return fingerprint((self.mark.key, query.text, query.id if self.mark.by_id else None))


class Recalling(MapFunction[Result, Passing]):
    """Gives each question the result of as many of its pipeline's stages as the cache holds.

    `marks` are those at which results are kept, the last first.
    """

    def __init__(self, marks: Sequence[Mark]) -> None:
        self._marks = marks

    def open(self, context: Context, /) -> None:
        """Find the cache."""
        self._memories = [Memory.opened(mark, context) for mark in self._marks]

    def map_batch(self, batch: Sequence[Result], /) -> list[Passing]:
        """One look for each mark, at the questions of which no later one had anything."""
        known: dict[str, Passing] = {}
        for memory in self._memories:
            asked = [result.query for result in batch if result.query.id not in known]
            found = memory.found(asked) if asked else {}
            known.update((name, Known(result, memory.mark.depth)) for name, result in found.items())
        return [known.get(result.query.id, result) for result in batch]


class Keeping(MapFunction[Passing, Passing]):
    """Keeps what comes out of a pipeline whose last stage keeps nothing itself."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def open(self, context: Context, /) -> None:
        """Find the cache."""
        self._memory = Memory.opened(self._mark, context)

    def map_batch(self, batch: Sequence[Passing], /) -> list[Passing]:
        """As they come."""
        if self._memory.current:
            self._memory.keep([value for value in batch if isinstance(value, Result)])
        return list(batch)

    def close(self) -> None:
        """Commit what waits."""
        self._memory.commit()


class Remembered(Protocol):
    """A pipeline, as far as a memory wants to know it."""

    @property
    def steps(self) -> Sequence[Any]:
        """The stages of its chain."""
        ...

    def laid(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """Its operators behind a stream."""
        ...


def marks_of(pipeline: Remembered) -> list[Mark]:
    """Where the stages of its chain stand, first to last; of the last, results are kept in any case."""
    path, marks, steps = Path.kept(), [], pipeline.steps
    for step in steps:
        path = path.then(step)
        marks.append(path.mark(step.label, kept=step.keeps or step is steps[-1]))
    return marks


def recalled(pipeline: Remembered, stream: Stream, how: How) -> Stream:
    """A pipeline's operators, for a cell: what is known is found first, what is new is kept."""
    marks = marks_of(pipeline)
    kept = [mark for mark in reversed(marks) if mark.key]
    asked = stream.map(Recalling(kept), name="cache") if kept else stream
    return remembering(pipeline.laid(asked, Path.kept(), how)[0], pipeline, marks[-1])


def remembering(answered: Stream, pipeline: Remembered, last: Mark) -> Stream:
    """What comes out of a pipeline, kept at its last mark, if no stage of its own does so."""
    if last.key and not pipeline.steps[-1].keeps:
        return answered.map(Keeping(last), name="keep")
    return answered


def held(last: Mark, queries: Sequence[Query], cell: Cell) -> list[Result] | None:
    """What a pipeline gave for these questions, if the cache holds all of it.

    The last is looked for first: where one is new, it is most often that, and of the others nothing need be read.
    """
    memory = Memory(last, cell, COLLECTIONS) if last.key else None
    found = memory.found(queries) if memory and memory.known(queries[-1:]) else {}
    return [found[query.id] for query in queries] if found and len(found) == len(queries) else None
