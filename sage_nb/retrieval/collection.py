"""A collection: documents with their BM25 postings and vectors, on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import reduce
from operator import and_

from msgspec import UNSET, UnsetType
from typing_extensions import Unpack

from sage_nb.errors import BadValueError, CollectionError, UnknownNameError
from sage_nb.index.analysis import ANALYZERS
from sage_nb.index.dense import KINDS
from sage_nb.index.folder import IndexFolder
from sage_nb.index.manifest import Manifest, Settings
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records import markup
from sage_nb.records.chunk import Chunker
from sage_nb.records.filters import Filter
from sage_nb.records.filters import where as conditions_of
from sage_nb.records.values import Document
from sage_nb.retrieval.dense import Dense, check_encoder
from sage_nb.retrieval.hybrid import Hybrid
from sage_nb.retrieval.indexing import Added, Indexing, Intake, Plan, disk_bytes, settings_with
from sage_nb.retrieval.lexical import Lexical
from sage_nb.retrieval.resources import COLLECTIONS, MODELS
from sage_nb.retrieval.sink import CollectionSink
from sage_nb.retrieval.source import Source, locate
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.environment import Environment, LocalEnvironment
from sage_nb.stream.build import How
from sage_nb.stream.fingerprint import fingerprint


class View:
    """What one can search: a collection, or the part of it that a filter accepts."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return repr(self._source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._source.name

    def where(self, *filters: Filter, **conditions: object) -> View:
        """Only documents that hold all conditions; retrievers apply them before they take their best `k`.

        `where(source="numpy", year__ge=2020)`; see `sage_nb.where` for the suffixes.
        """
        given = [*filters, *([conditions_of(**conditions)] if conditions or not filters else [])]
        held = [self._source.only] if self._source.only is not None else []
        return View(Source(self._source.path, reduce(and_, [*held, *given])))

    def lexical(
        self, k: int = 100, *, variant: str = "lucene", k1: float = 1.2, b: float = 0.75, engine: str = "sage"
    ) -> Stage:
        """The best `k` by BM25: variants lucene, robertson, okapi, l, plus; engines sage, rank_bm25.

        With `engine="rank_bm25"` and no variant named, okapi.
        """
        chosen = "okapi" if engine == "rank_bm25" and variant == "lucene" else variant
        return Lexical(self._source, k, chosen, k1, b, engine)

    def dense(self, k: int = 100) -> Stage:
        """The best `k` by cosine similarity of the collection's encoder."""
        return Dense(self._source, k)

    def hybrid(self, k: int = 100, *, fusion: str = "rrf", weights: tuple[float, ...] = ()) -> Stage:
        """The best `k` of BM25 and cosine together; `weights` are (lexical, dense)."""
        return Hybrid(self._source, k, fusion, tuple(weights))


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
        """A sink that takes a stream's Documents into this collection: `stream.sink(collection.sink())`."""
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
        """The settings to write with: the encoder loaded, and the one that the collection was built with."""
        encoder = MODELS.encoder(self._settings.encoder) if self._settings.encoder else None
        manifest = self._folder.snapshot().manifest
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
