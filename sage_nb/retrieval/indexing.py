"""Adding documents: cut, tokenise, embed, commit, some hundred passages at a time.

Each commit is a resting place: a run that is killed has lost no more than the batch in hand, and running it again
embeds only what is not there yet (a document is known by the hash of its content and of how it was cut).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.dense import check_vectors
from sage_nb.index.folder import IndexFolder
from sage_nb.index.lexical import Postings
from sage_nb.index.manifest import Settings
from sage_nb.index.segment import Origin, SegmentData
from sage_nb.index.snapshot import Snapshot
from sage_nb.index.text import indexed_text
from sage_nb.models.encoder import Encoder
from sage_nb.records.chunk import Chunker
from sage_nb.records.sound import sound
from sage_nb.records.values import Document
from sage_nb.stream.fingerprint import fingerprint

COMMIT_PASSAGES = 512  # seconds of embedding on two cores: what a kill can cost


@dataclass(frozen=True)
class Added:
    """What an `add` or `update` did, in documents; `skipped` are (id, reason)."""

    collection: str
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    passages: int = 0
    truncated: int = 0
    seconds: float = 0.0
    skipped: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        if not (self.added or self.replaced or self.unchanged or self.skipped):
            return f"nothing to add to {self.collection!r}: there were no documents"
        counts = f"{self.added:,} added, {self.replaced:,} replaced, {self.unchanged:,} unchanged"
        cut = f", {self.truncated:,} longer than the encoder reads" if self.truncated else ""
        skips = f"; {len(self.skipped):,} skipped, the first {self.skipped[0]}" if self.skipped else ""
        return f"{self.collection}: {counts} ({self.passages:,} passages{cut}) in {self.seconds:.1f} s{skips}"


@dataclass
class Indexing:
    """One `add` under way."""

    folder: IndexFolder
    settings: Settings
    encoder: Encoder | None
    chunker: Chunker | None
    must_exist: bool = False
    _batch: list[tuple[Document, str, list[Document]]] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    _skipped: list[tuple[str, str]] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("added", "replaced", "unchanged"), 0))
    _passages: int = 0

    def run(self, documents: Iterable[Document]) -> Added:
        """All of `documents`, in commits of about 512 passages; what was read before an error is committed too."""
        begun = time.perf_counter()
        cut = self.encoder.truncated if self.encoder else 0
        try:
            for document in documents:
                self._take(document)
                if sum(len(passages) for _, _, passages in self._batch) >= COMMIT_PASSAGES:
                    self._flush()
        except Exception:
            self._flush()
            raise
        self._flush()
        self._warn()
        truncated = self.encoder.truncated - cut if self.encoder else 0
        seconds = time.perf_counter() - begun
        name, skipped = self.folder.path.name, tuple(self._skipped)
        return Added(
            name,
            **self._counts,
            passages=self._passages,
            truncated=truncated,
            seconds=seconds,
            skipped=skipped,
        )

    def _take(self, document: object) -> None:
        if not isinstance(document, Document):
            raise BadValueError(
                f"add() takes Documents, got {document!r:.60} ({type(document).__name__}); "
                f"wrap it: Document(id, text), or read files with load()"
            )
        document = sound(document)
        if not document.text.strip():
            self._skipped.append((document.id, "it has no text"))
            return
        digest = self._digest(document)
        if self._seen.setdefault(document.id, digest) != digest:
            raise BadValueError(
                f"two documents of this add() have the id {document.id!r} and different content; "
                f"give each its own id (those before the second are kept)"
            )
        self._enqueue(document, digest)

    def _enqueue(self, document: Document, digest: str) -> None:
        held = self._snapshot().origin(document.id)
        waiting = any(document.id == queued.id for queued, _, _ in self._batch)
        if waiting or (held and held[1].hash == digest):
            self._counts["unchanged"] += 1
        elif self.must_exist and held is None:
            raise BadValueError(f"update() found no document {document.id!r} in the collection; use add() for new ones")
        elif passages := self.chunker.split(document) if self.chunker else [document]:
            self._batch.append((document, digest, passages))
        else:
            self._skipped.append((document.id, "chunking left no text"))

    def _snapshot(self) -> Snapshot:
        return self.folder.snapshot()

    def _digest(self, document: Document) -> str:
        fields = {name: getattr(document, name) for name in ("text", "title", "source", "parent")}
        how = () if self.chunker is None else (self.chunker.size, self.chunker.overlap, self.chunker.by)
        return fingerprint((document.id, fields, dict(document.meta), how))

    def _flush(self) -> None:
        """Embed and commit what is waiting."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        data = segment_data(batch, self.settings, self.encoder)
        done = self.folder.commit(self.settings, data)
        self._counts["added"] += done.added
        self._counts["replaced"] += done.replaced
        self._passages += len(data.documents)

    def _warn(self) -> None:
        if self._skipped:
            name, reason = self._skipped[0]
            warnings.warn(
                f"{len(self._skipped)} documents were skipped; the first, {name!r}, because {reason}",
                stacklevel=4,
            )


def segment_data(
    batch: Sequence[tuple[Document, str, list[Document]]], settings: Settings, encoder: Encoder | None
) -> SegmentData:
    """Documents with their hashes and passages, tokenised and embedded."""
    passages = [passage for _, _, cut in batch for passage in cut]
    texts = [indexed_text(passage) for passage in passages]
    analyze = get_analyzer(settings.analyzer)
    vectors = None
    if encoder is not None:
        vectors = np.ascontiguousarray(encoder.encode(texts), np.float32)
        check_vectors(vectors, settings.dimension, [passage.id for passage in passages])
    return SegmentData(passages, list(_origins(batch)), Postings.of(map(analyze, texts)), vectors)


def _origins(batch: Sequence[tuple[Document, str, list[Document]]]) -> Iterator[Origin]:
    first = 0
    for document, digest, passages in batch:
        yield Origin(document.id, digest, first, len(passages))
        first += len(passages)


def settings_with(settings: Settings, encoder: Encoder | None) -> Settings:
    """`settings` with what only the loaded encoder knows."""
    if encoder is None:
        return settings
    return msgspec.structs.replace(settings, encoder_fingerprint=encoder.fingerprint, dimension=encoder.dimension)


def disk_bytes(path: Path) -> int:
    """Bytes of all files under `path`."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
