"""A segment: an immutable folder of passages with their postings and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from sage_nb.errors import CollectionError
from sage_nb.index.dense import DenseReader, Vectors, write_vectors
from sage_nb.index.files import (
    SortedStrings,
    Texts,
    checksum,
    damaged,
    read_array,
    read_table,
    write_array,
    write_table,
)
from sage_nb.index.grouping import FILE, LEVELS, Grouping, read_grouping, read_sums, sums_of, write_levels
from sage_nb.index.lexical import Ints, Mask, Postings, PostingsReader, merge
from sage_nb.index.manifest import SegmentEntry
from sage_nb.records.disk import sync
from sage_nb.records.filters import Filter
from sage_nb.records.values import Document

_TEXTS = ("id", "text", "title", "source", "parent")


class Origin(msgspec.Struct, frozen=True):
    """A document as it was added: its id, the hash of what was added, and the rows its passages take."""

    id: str
    hash: str
    first: int
    count: int


@dataclass(frozen=True)
class SegmentData:
    """A segment in memory: passages row by row, whose origins they are, their postings and unit vectors."""

    documents: Sequence[Document]
    origins: Sequence[Origin]
    postings: Postings
    vectors: Vectors | None

    def write(self, folder: Path, name: str, dense: str) -> SegmentEntry:
        """All files under `folder`/`name`, synced; nothing refers to them until a MANIFEST does."""
        here = folder / name
        here.mkdir(parents=True)
        self._write_documents(here)
        self.postings.write(here)
        write_levels(here, self.documents, self.vectors)
        facts = None if self.vectors is None else write_vectors(here, self.vectors, dense)
        for path in (*here.iterdir(), here, folder):
            sync(path)
        paths = sorted(here.iterdir())
        files = {path.name: path.stat().st_size for path in paths}
        sums = {path.name: checksum(path) for path in paths}
        terms = int(self.postings.lengths.sum())
        return SegmentEntry(name, len(self.documents), len(self.origins), terms, files, facts, sums)

    def _write_documents(self, here: Path) -> None:
        import pyarrow as pa

        texts = {name: pa.array([getattr(d, name) for d in self.documents], pa.large_string()) for name in _TEXTS}
        meta = pa.array([msgspec.msgpack.encode(dict(d.meta)) for d in self.documents], pa.large_binary())
        write_table(here / "documents.arrow", {**texts, "meta": meta})
        rows = sorted(self.origins, key=lambda origin: origin.id)
        columns = {name: [getattr(origin, name) for origin in rows] for name in Origin.__struct_fields__}
        write_table(here / "origins.arrow", {**columns, "id": pa.array(columns["id"], pa.large_string())})


class Segment:
    """A segment on disk, opened for reading; `live` says which of its rows the snapshot still holds."""

    def __init__(self, folder: Path, entry: SegmentEntry) -> None:
        self.entry = entry
        self._folder = here = folder / "segments" / entry.id
        _check_files(here, entry)
        documents = read_table(here / "documents.arrow")
        self.ids, *self._texts = (Texts(documents[name]) for name in _TEXTS)
        self._meta = Texts(documents["meta"])
        self._origins = read_table(here / "origins.arrow")
        self._origin_ids = SortedStrings(self._origins["id"])
        self.postings = PostingsReader(here)
        self.dense = DenseReader(here, entry.dense) if entry.dense else None
        self.live: Mask = np.ones(entry.rows, np.bool_)
        if entry.tombstones:
            tombstones = folder / "tombstones" / entry.tombstones
            _check_sum(tombstones, entry.tombstones_sum)
            self.live[read_array(tombstones)] = False
        self._filtered: dict[tuple[Filter | None, range], Mask] = {}
        self._groupings: dict[str, Grouping] = {}

    def document(self, row: int) -> Document:
        """The passage in `row`."""
        text, title, source, parent = (texts[row] for texts in self._texts)
        return Document(self.ids[row], text, title, source, parent, msgspec.msgpack.decode(self._meta.raw(row)))

    def documents(self) -> Iterator[Document]:
        """Every live passage, in order."""
        return (self.document(int(row)) for row in np.flatnonzero(self.live))

    def origin(self, name: str) -> Origin | None:
        """The live document called `name`, if this segment holds it."""
        at = self._origin_ids.find(name)
        if at < 0:
            return None
        found = Origin(*(self._origins[field][at].as_py() for field in Origin.__struct_fields__))
        return found if self.live[found.first] else None

    def origins(self) -> Iterator[Origin]:
        """Every live document, by id."""
        found = (Origin(**row) for row in self._origins.to_pylist())
        return (origin for origin in found if self.live[origin.first])

    def allowed(self, only: Filter | None, among: range) -> Mask:
        """The live rows `among` these whose passage `only` accepts; worked out once for each filter."""
        if only is None and len(among) == len(self.live):
            return self.live
        if (only, among) not in self._filtered:
            mask = self.live.copy()
            mask[: among.start] = mask[among.stop :] = False
            if only is not None:
                for row in np.flatnonzero(mask):
                    mask[row] = only.accepts(self.document(int(row)))
            self._filtered[only, among] = mask
        return self._filtered[only, among]

    def grouping(self, level: str) -> Grouping:
        """The documents or the sections of its rows, dead ones too; worked out where an older sage_nb wrote it."""
        if level not in self._groupings:
            if FILE in self.entry.files:
                self._groupings[level] = read_grouping(self._folder, level)
            else:
                rows = map(self.document, range(self.entry.rows))
                self._groupings[level] = Grouping.of(map(LEVELS[level], rows))
        return self._groupings[level]

    def sums(self, level: str) -> Vectors | None:
        """The sum of the live vectors of each of `grouping`'s groups; None where the collection has no vectors."""
        if self.dense is None:
            return None
        grouping, dead = self.grouping(level), np.flatnonzero(~self.live)
        if sums_of(self._folder, level).name not in self.entry.files:
            vectors = self.dense.vectors()
            vectors[dead] = 0
            return grouping.summed(vectors)
        sums = read_sums(self._folder, level)
        if len(dead):
            np.subtract.at(sums, grouping.numbers[dead], self.dense.vectors(dead))
        return sums

    def vectors(self, rows: Ints) -> Vectors | None:
        """The vectors of `rows`, or None where the collection has none."""
        return None if self.dense is None else self.dense.vectors(rows)


def merge_segments(segments: Sequence[Segment]) -> SegmentData:
    """One segment's data from several, without what is dead."""
    documents: list[Document] = []
    origins: list[Origin] = []
    for segment in segments:
        place = np.cumsum(segment.live) - 1 + len(documents)
        origins.extend(Origin(o.id, o.hash, int(place[o.first]), o.count) for o in segment.origins())
        documents.extend(segment.documents())
    vectors = [segment.vectors(np.flatnonzero(segment.live)) for segment in segments]
    whole = [part for part in vectors if part is not None]
    return SegmentData(
        documents,
        origins,
        merge([(segment.postings.load(), segment.live) for segment in segments]),
        np.concatenate(whole) if whole else None,
    )


def write_tombstones(folder: Path, name: str, rows: Ints) -> int:
    """The dead rows of a segment, in a file; returns its checksum."""
    path = folder / "tombstones" / name
    path.parent.mkdir(exist_ok=True)
    write_array(path, rows.astype(np.int32))
    sync(path)
    return checksum(path)


def _check_files(here: Path, entry: SegmentEntry) -> None:
    for name, size in entry.files.items():
        path = here / name
        found = path.stat().st_size  # a missing file raises FileNotFoundError: the snapshot's opener retries once
        if found != size:
            raise CollectionError(damaged(path, f"it has {found} of {size} bytes"))
        _check_sum(path, entry.sums.get(name, 0))


def _check_sum(path: Path, expected: int) -> None:
    """Before any library reads the file: FAISS, for one, ends the process over a number that is too large."""
    if expected and checksum(path) != expected:
        raise CollectionError(damaged(path, "its checksum does not match"))
