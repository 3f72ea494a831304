"""A collection in shards: actors that each look among a part of every segment's rows, merged to what the whole gives.

Each shard opens the whole collection, memory-mapped, so that it knows the statistics of all of it: one round finds the
hits and their exact scores, whichever other shards live. A second one fetches the passages of those that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from typing_extensions import Self

from sage_nb.errors import CollectionError
from sage_nb.index.bm25 import Terms, Weighting
from sage_nb.index.dense import Vectors
from sage_nb.index.manifest import Manifest, Settings, read_manifest
from sage_nb.index.share import Share
from sage_nb.index.snapshot import Found, Snapshot, open_snapshot
from sage_nb.records.filters import Filter
from sage_nb.records.values import Document
from sage_nb.retrieval.reader import Answers, Pinned, Reader, check_filled
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.view import View
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.service import Line, Service
from sage_nb.stream.function import Context

Out = TypeVar("Out")

TRIES = 10  # a batch whose commit has been swept away begins again with the last one


class SweptError(CollectionError):
    """A commit of which a segment is not there any more: a merge has taken its place."""


class Placed(NamedTuple):
    """A passage that a shard found."""

    score: float
    id: str
    row: int


class Ranked(NamedTuple):
    """For each question the best passages of a shard; whether the filter accepts any of its passages."""

    placed: list[list[Placed]]
    accepted: bool


class Shard:
    """A share of a collection, open where its actor is; it answers for whatever commit it is asked about."""

    def __init__(self, path: str, share: Share) -> None:
        self._path, self._share = Path(path), share
        self._snapshot = Snapshot(Manifest(), ())
        self._at(read_manifest(self._path))

    def rows(self) -> int:
        """How many rows of the last commit are its own, dead ones too."""
        return len(self._snapshot.lengths)

    def lexical(
        self, manifest: Manifest, questions: Sequence[Terms], k: int, weighting: Weighting, only: Filter | None
    ) -> Ranked:
        """The best `k` of its rows for each question by BM25, scored as in the whole."""
        snapshot = self._at(manifest)
        return self._ranked([snapshot.lexical(terms, k, weighting, only) for terms in questions], only)

    def dense(self, manifest: Manifest, questions: Vectors, k: int, only: Filter | None) -> Ranked:
        """The best `k` of its rows for each question by inner product."""
        return self._ranked(self._at(manifest).dense(questions, k, only), only)

    def documents(self, manifest: Manifest, rows: Sequence[int]) -> list[Document]:
        """The passages in these rows."""
        snapshot = self._at(manifest)
        return [snapshot.document(row) for row in rows]

    def _ranked(self, found: Sequence[Sequence[Found]], only: Filter | None) -> Ranked:
        snapshot = self._snapshot
        placed = [[Placed(score, snapshot.passage(row), row) for row, score in each] for each in found]
        return Ranked(placed, only is None or bool(snapshot.allowed(only).any()))

    def _at(self, manifest: Manifest) -> Snapshot:
        if manifest != self._snapshot.manifest:
            try:
                self._snapshot = open_snapshot(self._path, manifest, self._snapshot.segments, self._share)
            except FileNotFoundError as gone:
                raise SweptError(
                    f"{gone.filename} is missing; restore the collection from a copy, or delete its folder"
                ) from gone
        return self._snapshot


@dataclass(frozen=True, repr=False)
class ShardedSource(Source):
    """The collection at `path`, in the shards of a service."""

    service: Service = field(kw_only=True)

    def __repr__(self) -> str:
        return f"{self.collection}.sharded({self.service.count}){self.filtered}"

    @property
    def whole(self) -> bool:
        """It is not."""
        return False

    def reader(self, context: Context) -> Reader:  # noqa: ARG002  what a process shares is not needed
        """A line to the shards."""
        return ShardReader(self)


class ShardReader:
    """Reads a collection through its shards; only the MANIFEST is read here."""

    def __init__(self, source: ShardedSource) -> None:
        self._source, self._line = source, Line(source.service)

    @property
    def settings(self) -> Settings:
        """What the collection was built with."""
        return self._manifest().settings

    def read(self, work: Callable[[Pinned], Out], /) -> Out:
        """`work` on the last commit; on the then last one where that is swept away meanwhile."""
        left = TRIES
        while True:
            pinned = PinnedShards(self._manifest(), self._source, self._line)
            try:
                return work(pinned)
            except SweptError:
                left -= 1
                if not left:
                    raise

    def _manifest(self) -> Manifest:
        path = Path(self._source.path)
        manifest = read_manifest(path)
        check_filled(manifest, path)
        return manifest


@dataclass(frozen=True)
class PinnedShards:
    """All shards at one commit."""

    manifest: Manifest
    source: ShardedSource
    line: Line

    def lexical(self, questions: Sequence[Terms], k: int, weighting: Weighting) -> Answers:
        """The best `k` of all shards for each question."""
        return self._merged(self.line.everyone("lexical", self.manifest, questions, k, weighting, self.source.only), k)

    def dense(self, questions: Vectors, k: int) -> Answers:
        """The best `k` of all shards for each question."""
        return self._merged(self.line.everyone("dense", self.manifest, questions, k, self.source.only), k)

    def _merged(self, answers: dict[int, Ranked], k: int) -> Answers:
        """The best of what the shards found; equal scores by id, as in the whole."""
        questions = zip(*(each.placed for each in answers.values()), strict=True)
        finders = {placed.row: shard for shard, each in answers.items() for row in each.placed for placed in row}
        best = [sorted(chain(*found), key=lambda each: (-each.score, each.id))[:k] for found in questions]
        documents = self._documents({each.row: finders[each.row] for ranking in best for each in ranking})
        passages = [[(documents[p.row], p.score) for p in ranking if p.row in documents] for ranking in best]
        lost = set(range(self.source.service.count)) - set(answers)
        lost |= {finders[each.row] for ranking in best for each in ranking if each.row not in documents}
        return Answers(passages, any(each.accepted for each in answers.values()), self._missing(lost))

    def _documents(self, finders: dict[int, int]) -> dict[int, Document]:
        """The passages by their rows, each from the shard that found it."""
        rows = {shard: [row for row, finder in finders.items() if finder == shard] for shard in {*finders.values()}}
        fetched = self.line.ask("documents", {shard: (self.manifest, wanted) for shard, wanted in rows.items()})
        return {row: each for shard, found in fetched.items() for row, each in zip(rows[shard], found, strict=True)}

    def _missing(self, lost: set[int]) -> tuple[str, ...]:
        name = self.source.service.called
        return tuple(f"{name(shard)} is lost, its passages are missing until it is back" for shard in sorted(lost))


class Sharded(View):
    """A collection in shards, searched as the collection itself; made by `Collection.sharded`.

    Its pipelines are values that ship to wherever they run. The shards' actors end with `close`, with the block of a
    `with`, or with the process that opened them.
    """

    def __init__(self, source: ShardedSource) -> None:
        super().__init__(source)
        self.service = source.service

    @classmethod
    def opened(cls, source: Source, service: Service, env: RayEnvironment) -> Self:
        """Start the shards of a service, on the cluster of an environment.

        Raises CollectionError where one cannot read the collection, and ServiceError where one does not come up.
        """
        env.connect()
        makers = [partial(Shard, source.path, Share(number, service.count)) for number in range(service.count)]
        return cls(ShardedSource(source.path, source.only, service=service.started(makers, "rows")))

    def close(self) -> None:
        """End the shards; a second time does nothing."""
        self.service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
