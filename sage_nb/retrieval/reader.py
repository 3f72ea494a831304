"""How retrievers read a collection: a whole batch of questions at one commit, here or wherever its shards are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from sage_nb.errors import CollectionError
from sage_nb.index.bm25 import Terms, Weighting
from sage_nb.index.dense import Vectors
from sage_nb.index.folder import IndexFolder
from sage_nb.index.manifest import Manifest, Settings
from sage_nb.index.snapshot import Found, Snapshot
from sage_nb.records.filters import Filter
from sage_nb.records.values import Document

Out = TypeVar("Out")
Passages = list[tuple[Document, float]]
Scoring = Callable[[Terms, int, Weighting, Filter | None], list[Found]]


class Answers(NamedTuple):
    """For each question its best passages with their scores.

    `accepted` says whether the filter accepts any passage, `missing` which parts of the collection were not asked.
    """

    passages: list[Passages]
    accepted: bool
    missing: tuple[str, ...] = ()


class Pinned(Protocol):
    """A collection at one commit."""

    @property
    def manifest(self) -> Manifest:
        """What was committed."""
        ...

    def lexical(self, questions: Sequence[Terms], k: int, weighting: Weighting) -> Answers:
        """The best `k` for each question by BM25."""
        ...

    def dense(self, questions: Vectors, k: int) -> Answers:
        """The best `k` for each question by inner product."""
        ...


class Reader(Protocol):
    """A collection, of which only what a filter accepts, opened for searching."""

    @property
    def settings(self) -> Settings:
        """What it was built with.

        Raises CollectionError where it is empty.
        """
        ...

    def read(self, work: Callable[[Pinned], Out], /) -> Out:
        """`work` on the last commit; from its beginning again where that is swept away meanwhile."""
        ...


@dataclass(frozen=True)
class PinnedSnapshot:
    """A snapshot open in this process; `scoring` is its own `lexical`, or another's."""

    snapshot: Snapshot
    only: Filter | None
    scoring: Scoring

    @property
    def manifest(self) -> Manifest:
        """What was committed."""
        return self.snapshot.manifest

    def lexical(self, questions: Sequence[Terms], k: int, weighting: Weighting) -> Answers:
        """The best `k` for each question."""
        return self._answers([self.scoring(terms, k, weighting, self.only) for terms in questions])

    def dense(self, questions: Vectors, k: int) -> Answers:
        """The best `k` for each question."""
        return self._answers(self.snapshot.dense(questions, k, self.only))

    def _answers(self, found: Sequence[Sequence[Found]]) -> Answers:
        passages = [[(self.snapshot.document(row), score) for row, score in each] for each in found]
        return Answers(passages, self.only is None or bool(self.snapshot.allowed(self.only).any()))


class FolderReader:
    """Reads a collection's folder in this process."""

    def __init__(self, folder: IndexFolder, only: Filter | None) -> None:
        self._folder, self._only = folder, only

    @property
    def settings(self) -> Settings:
        """What the collection was built with."""
        return self.snapshot().manifest.settings

    def read(self, work: Callable[[Pinned], Out], /) -> Out:
        """`work` on the last commit, which stays readable."""
        snapshot = self.snapshot()
        return work(PinnedSnapshot(snapshot, self._only, self.scoring(snapshot)))

    def scoring(self, snapshot: Snapshot) -> Scoring:
        """What scores words."""
        return snapshot.lexical

    def snapshot(self) -> Snapshot:
        """The last commit.

        Raises CollectionError where there is nothing in it.
        """
        snapshot = self._folder.snapshot()
        check_filled(snapshot.manifest, self._folder.path)
        return snapshot


def check_filled(manifest: Manifest, path: Path) -> None:
    """Refuse a collection in which there is nothing to find."""
    if manifest.rows:
        return
    beside = [each.parent.name for each in path.parent.glob("*/MANIFEST") if each.parent != path]
    near = get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise CollectionError(f"the collection {path.name!r} is empty{hint or '; add documents to it with .add(...)'}")
