"""A collection's folder: snapshots for any number of readers, commits by one writer at a time.

    MANIFEST        the committed snapshot; replacing it is the commit
    segments/       one immutable folder each
    tombstones/     dead rows, one immutable file a segment and commit
    write.lock      held for the moment of a commit, never while models run

The MANIFEST comes first (an empty one, before the first segment), so that files without one are not taken for our own.
A crash leaves what the MANIFEST does not name; the next commit sweeps it away, and a commit that fails does so itself.
"""

from __future__ import annotations

import math
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import msgspec
import numpy as np

from sage_nb.errors import CollectionError
from sage_nb.index.lexical import Ints
from sage_nb.index.manifest import (
    NAME,
    ROOMS,
    Manifest,
    SegmentEntry,
    Settings,
    add_content,
    read_manifest,
    write_manifest,
)
from sage_nb.index.segment import Origin, Segment, SegmentData, merge_segments, write_tombstones
from sage_nb.index.snapshot import Snapshot, open_snapshot

LOCK_SECONDS = 120.0
OURS = re.compile(r"[0-9a-f]{32}(\.npy)?")  # what `_name` gives
TIER_BASE, TIER_WIDTH = 64, 8  # eight segments of about one size become one: log-many segments, log-many rewrites


@dataclass(frozen=True)
class Commit:
    """What one commit did: documents that came, that took another's place, that went."""

    added: int
    replaced: int
    deleted: int


class IndexFolder:
    """The folder of one collection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshot: Snapshot | None = None
        self._seen: tuple[int, int, int] | None = None

    def snapshot(self) -> Snapshot:
        """The last committed snapshot; the same object until another process or thread commits."""
        try:
            return self._latest()
        except OSError as failed:
            raise CollectionError(
                f"{self.path} cannot be read ({failed.strerror or failed}); name another folder, or mend the rights"
            ) from failed

    def _latest(self) -> Snapshot:
        for _ in range(10):  # a merge may sweep a segment away between our reading the MANIFEST and opening it
            stamp = self._stamp()
            if self._snapshot is not None and stamp == self._seen:
                return self._snapshot
            try:
                opened = self._open(read_manifest(self.path))
            except FileNotFoundError as gone:
                missing = gone.filename
                continue
            self._snapshot, self._seen = opened, stamp
            return opened
        raise CollectionError(f"{missing} is missing; restore the collection from a copy, or delete its folder")

    def commit(self, settings: Settings, data: SegmentData | None, delete: Sequence[str] = ()) -> Commit:
        """Add a segment and drop documents by id, in one step; a document that is there already is replaced."""
        with self._writing():
            before = self._open(read_manifest(self.path))
            check_settings(self.path, before.manifest, settings)
            if before.manifest.generation == 0:
                write_manifest(self.path, before.manifest)
            incoming = data.origins if data else ()
            gone = _locate(before, [*(origin.id for origin in incoming), *delete])
            entries = self._bury(before, gone)
            if data and data.documents:
                entries.append(data.write(self.path / "segments", _name(), settings.dense))
            content = add_content(before.manifest.content, [each.hash for _, each in gone], -1)
            content = add_content(content, [each.hash for each in incoming])
            manifest = Manifest(settings, tuple(entries), content, before.manifest.generation + 1)
            self._finish(manifest)
        replaced = len({origin.id for origin in incoming} & {each.id for _, each in gone})
        return Commit(len(incoming) - replaced, replaced, len(gone) - replaced)

    def compact(self) -> None:
        """Rewrite everything as one segment, without the dead; the content stays what it was."""
        with self._writing():
            manifest = read_manifest(self.path)
            if not manifest.segments or (len(manifest.segments) == 1 and not manifest.segments[0].dead):
                return
            self._commit(self._merged(manifest, manifest.segments))

    def _finish(self, manifest: Manifest) -> None:
        """Commit, then merge while some tier is full: a crash in a merge loses no document."""
        self._commit(manifest)
        while crowded := _crowded(manifest.segments):
            manifest = self._merged(manifest, crowded)
            self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        write_manifest(self.path, manifest)
        self._sweep(manifest)

    def _merged(self, manifest: Manifest, old: Sequence[SegmentEntry]) -> Manifest:
        """`manifest` with the segments `old` rewritten as one."""
        data = merge_segments([Segment(self.path, entry) for entry in old])
        rest = [entry for entry in manifest.segments if entry not in old]
        new = [data.write(self.path / "segments", _name(), manifest.settings.dense)] if data.documents else []
        generation = manifest.generation + 1
        return Manifest(manifest.settings, (*rest, *new), manifest.content, generation)

    def _bury(self, before: Snapshot, gone: list[tuple[Segment, Origin]]) -> list[SegmentEntry]:
        """The entries of the segments once `gone` is dead; one that has nothing left is dropped."""
        entries = []
        for segment in before.segments:
            here = [origin for where, origin in gone if where is segment]
            entry = _with_dead(self.path, segment, here) if here else segment.entry
            if entry.live:
                entries.append(entry)
        return entries

    def _sweep(self, manifest: Manifest) -> None:
        """Delete what we wrote and no snapshot names; readers that have it open keep it."""
        named = {entry.id for entry in manifest.segments} | {entry.tombstones for entry in manifest.segments}
        for room in ROOMS:
            for path in (self.path / room).glob("*"):
                if OURS.fullmatch(path.name) and path.name not in named:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def _swept_on_failure(self) -> Iterator[None]:
        """Where a write fails, what it left goes at once: on a full disk it would stand in the next one's way."""
        try:
            yield
        except BaseException:
            with suppress(CollectionError, OSError):
                self._sweep(read_manifest(self.path))
            raise

    def _open(self, manifest: Manifest) -> Snapshot:
        return open_snapshot(self.path, manifest, self._snapshot.segments if self._snapshot else ())

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (self.path / NAME).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The lock, and one sentence for a disk that will not take it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path / "write.lock", timeout=LOCK_SECONDS), self._swept_on_failure():
                yield
        except filelock.Timeout as busy:
            raise CollectionError(
                f"{self.path} has been locked by another writer for {LOCK_SECONDS:.0f} s; wait for it, or end it"
            ) from busy
        except OSError as failed:
            raise CollectionError(
                f"{self.path} could not be written ({failed.strerror or failed}); it still holds its last snapshot: "
                f"make room or mend the permissions and run this again"
            ) from failed


def check_settings(path: Path, manifest: Manifest, wanted: Settings) -> None:
    """Refuse a writer whose model or analyzer is not the collection's."""
    held = manifest.settings
    if manifest.generation == 0 or held == wanted:
        return
    names = [name for name in Settings.__struct_fields__ if getattr(held, name) != getattr(wanted, name)]
    differences = ", ".join(f"{name} {getattr(held, name)!r}, not {getattr(wanted, name)!r}" for name in names)
    raise CollectionError(f"{path} was built with {differences}; open it with the same, or build another collection")


def _locate(before: Snapshot, names: Sequence[str]) -> list[tuple[Segment, Origin]]:
    found = (before.origin(name) for name in dict.fromkeys(names))
    return [each for each in found if each is not None]


def _with_dead(path: Path, segment: Segment, origins: Sequence[Origin]) -> SegmentEntry:
    live = segment.live.copy()
    for origin in origins:
        live[origin.first : origin.first + origin.count] = False
    dead: Ints = np.flatnonzero(~live)
    name, total = "", 0
    if live.any():
        name = f"{_name()}.npy"
        total = write_tombstones(path, name, dead)
    return msgspec.structs.replace(
        segment.entry,
        dead=len(dead),
        dead_origins=segment.entry.dead_origins + len(origins),
        dead_terms=int(segment.postings.lengths[dead].sum()),
        tombstones=name,
        tombstones_sum=total,
    )


def _crowded(entries: Sequence[SegmentEntry]) -> list[SegmentEntry]:
    """Segments that should become one: a full tier, or one that is mostly dead."""
    tiers: dict[int, list[SegmentEntry]] = {}
    for entry in entries:
        if entry.dead > entry.live:
            return [entry]
        tiers.setdefault(int(math.log(max(entry.live, TIER_BASE) / TIER_BASE, TIER_WIDTH)), []).append(entry)
    return next((tier for _, tier in sorted(tiers.items()) if len(tier) >= TIER_WIDTH), [])


def _name() -> str:
    return uuid.uuid4().hex
