"""The MANIFEST: the one file whose replacement moves a collection from one snapshot to the next."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import msgspec

from sage_nb.errors import CollectionError
from sage_nb.index.dense import DenseFacts
from sage_nb.index.files import damaged
from sage_nb.records.disk import replace

FORMAT = 1
NAME = "MANIFEST"
ROOMS = ("segments", "tombstones")
_MAGIC = "sage-collection"
_NAME = re.compile(r"\w[\w.-]*")


class Settings(msgspec.Struct, frozen=True):
    """What a collection was made with, and keeps: `encoder` is empty where it has no vectors."""

    encoder: str = ""
    encoder_fingerprint: str = ""
    dimension: int = 0
    analyzer: str = "english"
    dense: str = "auto"


class SegmentEntry(msgspec.Struct, frozen=True):
    """A segment as the MANIFEST knows it: its rows, its files with their sizes and sums, and its dead."""

    id: str
    rows: int
    origins: int
    terms: int
    files: dict[str, int]
    dense: DenseFacts | None = None
    sums: dict[str, int] = {}
    dead: int = 0
    dead_origins: int = 0
    dead_terms: int = 0
    tombstones: str = ""
    tombstones_sum: int = 0

    @property
    def live(self) -> int:
        """Rows that are not dead."""
        return self.rows - self.dead


class Manifest(msgspec.Struct, frozen=True):
    """A snapshot. `content` is the sum of the live documents' hashes: equal for equal content, in whatever order."""

    settings: Settings = Settings()
    segments: tuple[SegmentEntry, ...] = ()
    content: str = "0" * 32
    generation: int = 0

    @property
    def rows(self) -> int:
        """Live passages."""
        return sum(segment.live for segment in self.segments)

    @property
    def origins(self) -> int:
        """Live documents, as they were added (before chunking)."""
        return sum(segment.origins - segment.dead_origins for segment in self.segments)

    @property
    def terms(self) -> int:
        """Index terms in live passages, repeats counted."""
        return sum(segment.terms - segment.dead_terms for segment in self.segments)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit `manifest`: after this call the collection is the new snapshot."""
    body = msgspec.json.encode(manifest)
    head = f"{_MAGIC} {FORMAT} {zlib.crc32(body):08x}\n".encode()
    replace(folder / NAME, head + body)


def read_manifest(folder: Path) -> Manifest:
    """The committed snapshot; an empty one where nothing has been committed yet.

    Raises CollectionError where it is damaged, or is missing while files lie where it would name them.
    """
    path = folder / NAME
    unnamed = [room for room in ROOMS if any((folder / room).glob("*"))]  # looked at first: a writer begins with NAME
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        if unnamed:
            raise CollectionError(_unnamed(folder, unnamed[0])) from None
        return Manifest()
    words = head.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit():
        raise CollectionError(f"{path} is not the MANIFEST of a sage_nb collection; name another folder")
    if int(words[1]) > FORMAT:
        raise CollectionError(
            f"{folder} was written in format {words[1]} and this sage_nb reads up to {FORMAT}; upgrade sage-nb"
        )
    if f"{zlib.crc32(body):08x}" != words[2]:
        raise CollectionError(damaged(path, "its checksum does not match"))
    manifest = msgspec.json.decode(body, type=Manifest)
    _check_names(path, manifest)
    return manifest


def _check_names(path: Path, manifest: Manifest) -> None:
    """What a MANIFEST names lies in the collection's own folder, whoever wrote it."""
    for entry in manifest.segments:
        tombstones = [entry.tombstones] if entry.tombstones else []
        for name in (entry.id, *entry.files, *tombstones):
            if not _NAME.fullmatch(name):
                raise CollectionError(
                    f"{path} names {name!r}, which is outside of the collection; do not trust this copy"
                )


def _unnamed(folder: Path, room: str) -> str:
    return (
        f"{folder} has no {NAME} and yet something in {room}/, which may be yours or a collection's; "
        f"name another folder, or put the {NAME} back from a copy"
    )


def add_content(content: str, hashes: list[str], sign: int = 1) -> str:
    """`content` with the hashes of documents that came (or, with sign -1, went).

    >>> add_content(add_content("0" * 32, ["0f"]), ["0f"], -1) == "0" * 32
    True
    """
    total = int(content, 16) + sign * sum(int(each, 16) for each in hashes)
    return f"{total % (1 << 128):032x}"
