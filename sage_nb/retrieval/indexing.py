"""Adding documents, as a stream: read, cut, embed, commit.

The collection is its own checkpoint: passages are committed some hundred at a time, a run that is killed has lost no
more than what it held, and running it again embeds only what is not there yet (a document is known by the hash of its
content and of how it was cut).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Unpack

from sage_nb.errors import BadValueError, SageError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.dense import check_vectors
from sage_nb.index.folder import IndexFolder
from sage_nb.index.lexical import Postings
from sage_nb.index.manifest import Settings
from sage_nb.index.segment import Origin, SegmentData
from sage_nb.index.text import indexed_text
from sage_nb.models.encoder import Encoder
from sage_nb.models.registry import Models, OwnModels
from sage_nb.records.chunk import Chunker
from sage_nb.records.plain import plain
from sage_nb.records.sound import sound
from sage_nb.records.values import Document
from sage_nb.retrieval.resources import Collections
from sage_nb.runtime.environment import Environment
from sage_nb.runtime.job import Job
from sage_nb.runtime.operators.guard import OperatorError
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Context, MapFunction
from sage_nb.stream.sink import IdempotentSink

COMMIT_PASSAGES = 512  # seconds of embedding on two cores: what a kill can cost
EMBEDDED = (256, 0.5)  # documents that are embedded together, and how long the first waits for the others
COUNTS = ("added", "replaced", "passages", "truncated")
LOOK = 0.2  # seconds between two states of the progress bar


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


@plain
class Arrival(msgspec.Struct, frozen=True):
    """A document on its way into a collection: its hash, and further on its passages and their vectors."""

    document: Document
    digest: str
    passages: tuple[Document, ...] = ()
    vectors: Any = None  # (passages, dimension) float32


@dataclass(frozen=True)
class Plan:
    """Into which collection, cut and embedded how; `must_exist`: only documents that are there already."""

    path: str
    settings: Settings
    chunker: Chunker | None = None
    must_exist: bool = False

    def digest(self, document: Document) -> str:
        """What a document is known by: equal for equal content, cut the same way."""
        fields = {name: getattr(document, name) for name in ("text", "title", "source", "parent")}
        how = () if self.chunker is None else (self.chunker.size, self.chunker.overlap, self.chunker.by)
        return fingerprint((document.id, fields, dict(document.meta), how))

    def write(self, arrivals: Stream, **how: Unpack[How]) -> None:
        """The operators that take arrivals into the collection; `how` is for cutting and embedding."""
        options: Any = {"name": "chunk", **how}
        cut = arrivals.map(Chunking(self), **options)
        if self.settings.encoder:
            options = {"name": "embed", "batch": EMBEDDED, "on_error": "fail", **how}
            cut = cut.map(Embedding(self), **options)
        cut.sink(Committing(self), name="commit", parallelism=1, on_error="fail")


class Intake:
    """Documents as they come, less those that are there already; a wrong one ends it, what came before is kept."""

    def __init__(self, documents: Iterable[Document], plan: Plan, folder: IndexFolder) -> None:
        self.unchanged = 0
        self.skipped: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self._documents, self._plan, self._folder = documents, plan, folder
        self._seen: dict[str, str] = {}

    @property
    def passed_over(self) -> int:
        """Documents that need no work."""
        return self.unchanged + len(self.skipped)

    def __iter__(self) -> Iterator[Arrival]:
        try:
            for document in self._documents:
                arrival = self._checked(document)
                if arrival is not None:
                    yield arrival
        except Exception as wrong:  # noqa: BLE001  raised by whoever started the job, once it has ended
            self.error = wrong

    def _checked(self, document: object) -> Arrival | None:
        if not isinstance(document, Document):
            raise BadValueError(
                f"add() takes Documents, got {document!r:.60} ({type(document).__name__}); "
                f"wrap it: Document(id, text), or read files with load()"
            )
        document = sound(document)
        if not document.text.strip():
            self.skipped.append((document.id, "it has no text"))
            return None
        return self._new(document, self._plan.digest(document))

    def _new(self, document: Document, digest: str) -> Arrival | None:
        seen = self._seen.setdefault(document.id, "")
        if seen not in ("", digest):
            raise BadValueError(
                f"two documents of this add() have the id {document.id!r} and different content; "
                f"give each its own id (those before the second are kept)"
            )
        self._seen[document.id] = digest
        held = self._folder.snapshot().origin(document.id)
        if seen or (held and held[1].hash == digest):
            self.unchanged += 1
            return None
        if self._plan.must_exist and held is None:
            raise BadValueError(f"update() found no document {document.id!r} in the collection; use add() for new ones")
        return Arrival(document, digest)


class Chunking(MapFunction[Arrival, Arrival]):
    """Cuts documents into passages."""

    def __init__(self, plan: Plan) -> None:
        self._chunker = plan.chunker

    def map(self, value: Arrival, /) -> Arrival:
        """The passages; the whole document where there is no chunker.

        Raises BadValueError where nothing is left.
        """
        passages = self._chunker.split(value.document) if self._chunker else [value.document]
        if not passages:
            raise BadValueError("chunking left no text")
        return msgspec.structs.replace(value, passages=tuple(passages))


class Embedding(MapFunction[Arrival, Arrival]):
    """Gives passages their vectors."""

    def __init__(self, plan: Plan) -> None:
        self._settings, self._own = plan.settings, OwnModels.named(encoder=plan.settings.encoder)
        self._loaded: Encoder | None = None

    def open(self, context: Context, /) -> None:
        """Find the models; the encoder is loaded when something is to be embedded, which often is nothing."""
        self._own.introduce()
        self._models, self._metrics = context.get(Models), context.metrics

    def map_batch(self, batch: Sequence[Arrival], /) -> list[Arrival]:
        """All passages in one call: the encoder fills its batches across documents."""
        passages = [passage for arrival in batch for passage in arrival.passages]
        self._loaded = encoder = self._loaded or self._models.encoder(self._settings.encoder)
        cut = encoder.truncated
        with self._metrics.model_time(len(passages)):
            vectors = np.ascontiguousarray(encoder.encode([indexed_text(each) for each in passages]), np.float32)
        self._metrics.count("truncated", encoder.truncated - cut)
        check_vectors(vectors, self._settings.dimension, [passage.id for passage in passages])
        ends = np.cumsum([len(arrival.passages) for arrival in batch])[:-1]
        parts = zip(batch, np.split(vectors, ends), strict=True)
        return [msgspec.structs.replace(arrival, vectors=part) for arrival, part in parts]


class Committing(IdempotentSink[Arrival]):
    """Commits passages to the collection; a document that comes again takes its own place."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def open(self, context: Context, /) -> None:
        """Nothing waits yet."""
        self._folder = context.get(Collections).folder(self._plan.path)
        self._metrics = context.metrics
        self._waiting: dict[str, Arrival] = {}  # by id: after a failure elsewhere, what waits here comes again
        self._passages = 0

    def write_batch(self, values: Sequence[Arrival], /) -> None:
        """Held back until there are enough passages for a segment."""
        for value in values:
            self._waiting[value.document.id] = value
            self._passages += len(value.passages)
            if self._passages >= COMMIT_PASSAGES:
                self.flush()

    def flush(self) -> None:
        """One commit of all that waits."""
        if not self._waiting:
            return
        data = segment_data(list(self._waiting.values()), self._plan.settings.analyzer)
        done = self._folder.commit(self._plan.settings, data)
        self._waiting, self._passages = {}, 0
        self._metrics.count("added", done.added)
        self._metrics.count("replaced", done.replaced)
        self._metrics.count("passages", len(data.documents))


@dataclass(frozen=True)
class Indexing:
    """One `add` or `update`."""

    plan: Plan
    intake: Intake
    total: int | None

    def run(self, env: Environment, *, progress: bool, **how: Unpack[How]) -> Added:
        """Run it to its end; what was read before an error is committed too.

        Raises the error of the documents, or of the job.
        """
        begun = time.perf_counter()
        scratch = env.unchecked()
        self.plan.write(scratch.from_collection(iter(self.intake), name="read"), **how)
        job = scratch.submit()
        self._watch(job, shown=progress)
        if self.intake.error is not None:
            raise self.intake.error
        return self._report(job, time.perf_counter() - begun)

    def _watch(self, job: Job, *, shown: bool) -> None:
        """Until the job has ended: documents per second and, where their number is known, the time left."""
        if not shown:
            while not _ended(job):
                pass
            return
        from tqdm.auto import tqdm  # it loads ipywidgets where they are installed: a tenth of a second

        name = Path(self.plan.path).name
        stage = "embed" if self.plan.settings.encoder else "commit"
        with tqdm(desc=name, unit=" docs", total=self.total, mininterval=0.5) as bar:
            ended = False
            while not ended:
                ended = _ended(job)
                bar.update(self.intake.passed_over + job.metrics().total(stage, "passed") - bar.n)

    def _report(self, job: Job, seconds: float) -> Added:
        letters = [(letter.record.document.id, letter.error.partition(": ")[2]) for letter in job.dead_letters]
        skipped = (*self.intake.skipped, *letters)
        if skipped:
            name, reason = skipped[0]
            warnings.warn(f"{len(skipped)} documents were skipped; the first, {name!r}, because {reason}", stacklevel=4)
        owned = [operator.own for operator in job.metrics().operators]
        counts = {name: sum(int(own.get(name, 0)) for own in owned) for name in COUNTS}
        name = Path(self.plan.path).name
        return Added(name, unchanged=self.intake.unchanged, seconds=seconds, skipped=skipped, **counts)


def _ended(job: Job) -> bool:
    """Whether the job has ended, after a moment's wait; the stop button is the caller's to hear."""
    try:
        if job.wait(LOOK) != "finished":
            raise KeyboardInterrupt
    except TimeoutError:
        return False
    except OperatorError as failed:
        if isinstance(failed.__cause__, SageError):  # ours has its own sentence
            raise failed.__cause__ from failed
        raise
    return True


def segment_data(arrivals: Sequence[Arrival], analyzer: str) -> SegmentData:
    """Arrivals with their passages, tokenised; their vectors as one matrix."""
    passages = [passage for arrival in arrivals for passage in arrival.passages]
    postings = Postings.of(map(get_analyzer(analyzer), map(indexed_text, passages)))
    vectors = None if arrivals[0].vectors is None else np.concatenate([arrival.vectors for arrival in arrivals])
    return SegmentData(passages, list(_origins(arrivals)), postings, vectors)


def _origins(arrivals: Sequence[Arrival]) -> Iterator[Origin]:
    first = 0
    for arrival in arrivals:
        yield Origin(arrival.document.id, arrival.digest, first, len(arrival.passages))
        first += len(arrival.passages)


def settings_with(settings: Settings, encoder: Encoder | None) -> Settings:
    """`settings` with what only the loaded encoder knows."""
    if encoder is None:
        return settings
    return msgspec.structs.replace(settings, encoder_fingerprint=encoder.fingerprint, dimension=encoder.dimension)


def disk_bytes(path: Path) -> int:
    """Bytes of all files under `path`."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
