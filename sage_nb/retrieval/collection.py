"""A collection: documents with their BM25 postings and vectors, on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from typing_extensions import Unpack

from sage_nb.errors import BadValueError, CollectionError, UnknownNameError
from sage_nb.index.analysis import ANALYZERS
from sage_nb.index.dense import KINDS
from sage_nb.index.folder import IndexFolder
from sage_nb.index.manifest import Manifest, Settings
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records import markup
from sage_nb.records.chunk import Chunker
from sage_nb.records.values import Document
from sage_nb.retrieval.dense import check_encoder, same_weights
from sage_nb.retrieval.indexing import Added, Indexing, Intake, Plan, disk_bytes, settings_with
from sage_nb.retrieval.resources import COLLECTIONS, MODELS
from sage_nb.retrieval.sink import CollectionSink
from sage_nb.retrieval.source import Source, locate
from sage_nb.retrieval.view import View
from sage_nb.runtime.environment import Environment, LocalEnvironment
from sage_nb.stream.build import How
from sage_nb.stream.fingerprint import fingerprint

if TYPE_CHECKING:
    from sage_nb.retrieval.sharded import Sharded
    from sage_nb.runtime.ray.service import OnLost


@dataclass(frozen=True)
class CollectionInfo:
    """A collection in numbers: documents as added, passages as searched."""

    name: str
    path: str
    documents: int
    passages: int
    segments: int
    megabytes: float
    encoder: str
    dimension: int
    analyzer: str
    dense: str
    snapshot: str

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return markup.table(["collection", self.name], [[n, str(v)] for n, v in vars(self).items() if n != "name"])


class Collection(View):
    """Opens the collection called `name` (under `.sage/collections`, or at a path); `add` makes it.

    `encoder` is a model's name (None: lexical only, no vectors), `analyzer` one of english, plain, chinese,
    `dense` one of auto, flat, hnsw, ivfpq. They are fixed by the first `add` and need not be given again.

    Raises CollectionError where it is damaged, of a newer format, or was built with something else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     notes = Collection(folder + "/notes", encoder=None)
    ...     added = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
    ...     added.added, [hit.document.id for hit in notes.lexical(k=2).search("sliding window").hits]
    (2, ['b'])
    >>> with TemporaryDirectory() as folder:
    ...     notes = Collection(folder + "/notes", encoder=None)
    ...     _ = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
    ...     before = notes.snapshot_id
    ...     _ = notes.update([Document("a", "Barriers part.")], progress=False)
    ...     deleted = notes.delete("b")
    ...     notes.compact()
    ...     texts = [document.text for document in notes.documents()]
    ...     deleted, texts, notes.info().passages, notes.snapshot_id == before
    (1, ['Barriers part.'], 1, False)
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        encoder: str | UnsetType | None = UNSET,
        analyzer: str | UnsetType = UNSET,
        dense: str | UnsetType = UNSET,
    ) -> None:
        super().__init__(Source(str(locate(name))))
        _check_name("analyzer", analyzer, ANALYZERS)
        _check_name("dense index", dense, KINDS)
        manifest = self._folder.snapshot().manifest
        held = manifest.settings if manifest.generation else Settings(encoder=DEFAULT_ENCODER)
        wanted = {"encoder": "" if encoder is None else encoder, "analyzer": analyzer, "dense": dense}
        given = {name: value for name, value in wanted.items() if value is not UNSET}
        self._settings = _agreed(self.name, manifest, held, given)

    def __reduce__(self) -> tuple[type[Collection], tuple[str]]:
        return Collection, (self._source.path,)

    def __len__(self) -> int:
        """Passages."""
        return self._folder.snapshot().rows

    @property
    def snapshot_id(self) -> str:
        """Equal for equal content and settings, however it came about."""
        manifest = self._folder.snapshot().manifest
        settings = {name: getattr(manifest.settings, name) for name in Settings.__struct_fields__}
        return fingerprint((settings, manifest.content))

    def add(
        self,
        documents: Iterable[Document],
        *,
        chunk: Chunker | None = None,
        progress: bool = True,
        env: Environment | None = None,
        **how: Unpack[How],
    ) -> Added:
        """Add documents; one that is there unchanged costs nothing, one that changed takes its old self's place.

        A run that is stopped or killed goes on from its last commit when it is run again. It runs in `env` (its
        settings); `how` (parallelism, retry, timeout …) is for cutting and embedding.

        Raises BadValueError for two different documents of one id, CollectionError where it cannot be written.
        """
        indexing = self._indexing(documents, chunk, must_exist=False)
        return indexing.run(env or LocalEnvironment("add"), progress=progress, **how)

    def update(
        self,
        documents: Iterable[Document],
        *,
        chunk: Chunker | None = None,
        progress: bool = True,
        env: Environment | None = None,
        **how: Unpack[How],
    ) -> Added:
        """As `add`, for documents that must be there already: a mistyped id is an error, not a new document."""
        indexing = self._indexing(documents, chunk, must_exist=True)
        return indexing.run(env or LocalEnvironment("update"), progress=progress, **how)

    def sink(self, *, chunk: Chunker | None = None) -> CollectionSink:
        """A sink that takes a stream's Documents into this collection: `stream.sink(collection.sink())`.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     notes = Collection(folder + "/notes", encoder=None)
        ...     env = LocalEnvironment("notes")
        ...     env.from_collection(["Barriers align."]).map(lambda text: Document("a", text)).sink(notes.sink())
        ...     env.submit().wait(), len(notes)
        ('finished', 1)
        """
        return CollectionSink(Plan(self._source.path, self._writable(), chunk))

    def delete(self, *ids: str) -> int:
        """Delete documents, by the ids they were added under, with all their passages; returns how many.

        Raises UnknownNameError where one is not there; then none is deleted.
        """
        snapshot = self._folder.snapshot()
        for name in ids:
            if not isinstance(name, str):
                raise BadValueError(f"delete() takes ids, got {name!r} ({type(name).__name__}); write delete('a', 'b')")
            if snapshot.origin(name) is None:
                known = (origin.id for segment in snapshot.segments for origin in segment.origins())
                raise UnknownNameError.of("document", name, list(known)[:20])
        return self._folder.commit(snapshot.manifest.settings, None, ids).deleted if ids else 0

    def compact(self) -> None:
        """Rewrite as one segment without what was deleted; searches find the same."""
        self._folder.compact()

    def sharded(
        self, n: int, *, env: Environment | None = None, on_lost: OnLost = "wait", timeout: float = 60.0
    ) -> Sharded:
        """The collection in `n` shards: actors on the cluster of `env`, each of which searches a part of it.

        It finds and scores what the collection does, at its last commit; where vectors are indexed approximately each
        index is searched whole, by one shard. A shard whose process dies is opened again from disk: questions "wait"
        for that, `timeout` seconds at the most, or "degrade": the others answer, and the Result's `notes` name it.

        Raises BadValueError for an `n` that is no number of shards, and what opening a collection raises.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:  # doctest: +SKIP
        ...     notes = Collection(folder + "/notes", encoder=None)
        ...     _ = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
        ...     with notes.sharded(2) as shards:
        ...         [hit.document.id for hit in shards.lexical(k=2).search("sliding window").hits]
        ['b']
        """
        from sage_nb.retrieval.sharded import Sharded
        from sage_nb.runtime.ray.environment import RayEnvironment
        from sage_nb.runtime.ray.service import Service

        service = Service(self.name, "shard", n, on_lost, timeout)
        given = RayEnvironment("shards") if env is None else env
        if not isinstance(given, RayEnvironment):
            raise BadValueError(f"shards are actors on a cluster, got env={env!r:.60}; write env=RayEnvironment()")
        return Sharded.opened(self._source, service, given)

    def documents(self) -> Iterator[Document]:
        """Every passage."""
        return self._folder.snapshot().documents()

    def info(self) -> CollectionInfo:
        """Sizes, model, kind of dense index with its measured recall."""
        manifest = self._folder.snapshot().manifest
        facts = [entry.dense for entry in manifest.segments if entry.dense]
        kinds = sorted({f"{fact.kind} (recall {fact.recall:.3f})" for fact in facts})
        return CollectionInfo(
            name=self.name,
            path=self._source.path,
            documents=manifest.origins,
            passages=manifest.rows,
            segments=len(manifest.segments),
            megabytes=round(disk_bytes(self._folder.path) / 1e6, 1),
            encoder=self._settings.encoder or "none",
            dimension=manifest.settings.dimension,
            analyzer=self._settings.analyzer,
            dense=", ".join(kinds) or "none",
            snapshot=self.snapshot_id,
        )

    @property
    def _folder(self) -> IndexFolder:
        return COLLECTIONS.folder(self._source.path)

    def _indexing(self, documents: Iterable[Document], chunk: Chunker | None, *, must_exist: bool) -> Indexing:
        _check_given(documents, chunk)
        plan = Plan(self._source.path, self._writable(), chunk, must_exist)
        total = len(documents) if isinstance(documents, Sized) else None
        return Indexing(plan, Intake(documents, plan, self._folder), total)

    def _writable(self) -> Settings:
        """The settings to write with: the encoder the one that the collection was built with, loaded if it must be."""
        manifest = self._folder.snapshot().manifest
        if manifest.generation and same_weights(self._settings.encoder, manifest.settings):
            known = manifest.settings
            return replace(self._settings, encoder_fingerprint=known.encoder_fingerprint, dimension=known.dimension)
        encoder = MODELS.encoder(self._settings.encoder) if self._settings.encoder else None
        if encoder is not None and manifest.generation:
            check_encoder(encoder, manifest.settings, self.name)
        return settings_with(self._settings, encoder)


def _check_given(documents: object, chunk: object) -> None:
    if isinstance(documents, (str, Document)) or not isinstance(documents, Iterable):
        kind = type(documents).__name__
        raise BadValueError(
            f"add() takes a list of Documents, got a {kind}; put it in brackets, or read files with load()"
        )
    if chunk is not None and not isinstance(chunk, Chunker):
        raise BadValueError(f"chunk={chunk!r} must be a chunker; write chunk=sage.chunk(200, overlap=20)")


def _check_name(kind: str, given: str | UnsetType, known: Iterable[str]) -> None:
    if given is not UNSET and given not in known:
        raise UnknownNameError.of(kind, str(given), known)


def _agreed(name: str, manifest: Manifest, held: Settings, given: Mapping[str, object]) -> Settings:
    """The collection's settings; what is given must be what it was built with."""
    fresh = {field: given.get(field, getattr(held, field)) for field in Settings.__struct_fields__}
    wrong = [field for field, value in given.items() if value != getattr(held, field)]
    if manifest.generation and wrong:
        differences = ", ".join(f"{f} {getattr(held, f)!r} and not {given[f]!r}" for f in wrong)
        raise CollectionError(f"the collection {name!r} was built with {differences}; leave that out, or build another")
    return Settings(**fresh)  # type: ignore[arg-type]
