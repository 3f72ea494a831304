"""Hierarchical retrieval: documents first, then what is in the best of them, then what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.index.dense import Vectors
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.values import Result
from sage_nb.retrieval.context import EXPANSIONS, MergeUp, Widen
from sage_nb.retrieval.dense import Dense, QuestionEncoder
from sage_nb.retrieval.descent import LEAF, POOLS, Descent, Question, Searcher
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.hybrid import Hybrid
from sage_nb.retrieval.lexical import Lexical, terms_of
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.reader import FolderReader
from sage_nb.retrieval.resources import COLLECTIONS, Collections
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Chain, Cut, Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

Retriever = Lexical | Dense | Hybrid
LEVELS = ("document", "section", LEAF)
WINNERS, CANDIDATES = 10, 100  # by default: groups that win at a level, passages that are ranked inside them


class Belonging(TypedDict, total=False):
    """What is taken to belong together, and what is done about it; `Hierarchical` says how."""

    levels: tuple[str, ...]
    pool: str
    merge: float
    expand: str | None


@stage("hierarchical")
@dataclass(frozen=True, repr=False)
class Hierarchical(Chain):
    """The best `k` passages inside the best documents; those that belong together are put together.

    Documents are ranked first, then the sections of the winners, then the passages of these: groups as `coarse` ranks
    passages (its k of them win), passages as `fine` does. BM25 has the statistics of each level. `levels` may leave
    sections out, or documents; a document without sections is one. A passage belongs to its `parent` (or the parent's
    own, if it was cut from a document that had one), else it is a document of its own; its section are the headings it
    stands under, and what it was cut from.

    `pool`: a group is as good as its "best" passage (MaxP: Dai & Callan, "Deeper Text Understanding for IR with
    Contextual Neural Language Modeling", SIGIR 2019), or is scored as a "whole": its terms are those of all passages,
    its vector is the mean of theirs.

    A passage's score is z + 0.5 (sum of z of the groups it is in), z the score in standard deviations above the last of
    its ranking, which gets 0: a passage with what it stands in (Callan, "Passage-Level Evidence in Document Retrieval",
    SIGIR 1994), in the normalisation of Montague & Aslam (CIKM 2001). A hit's steps hold all of these rankings.

    `merge`: where more than this share of a group's passages are among the k, they become one hit, with the text of all
    (`MergeUp`; 1: never). `expand` gives a hit's document more text and leaves it the hit it is: that of its "parent",
    the section or document, or of its "neighbours", the passages before and after. No text is given twice, none that
    the collection's filter refuses; `originals` finds a place of a merged or widened text in the passages it is from.

    What it is worth, on COVID-QA (98 long articles; 1,380 questions; Recall@10 of passages, paired randomisation test):
    0.767 as it is by default, 0.739 by flat `hybrid` (p = 0.0003), 0.770 by flat hybrid with z-scores (p = 0.65, no
    difference), at 1.5 times the time of the search, the question's encoding apart; 0.736 with pool="whole". So it
    pays by its context, and not by more passages found than the best flat retriever does: `sage-nb bench levels`.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.collection import Collection
    >>> texts = {"sea": ["Waves break.", "Tides turn."], "sky": ["Clouds drift.", "Stars turn at night."]}
    >>> passages = [Document(f"{n}-{i}", t, parent=n) for n, all_ in texts.items() for i, t in enumerate(all_)]
    >>> with TemporaryDirectory() as folder:
    ...     book = Collection(folder + "/book", encoder=None)
    ...     added = book.add(passages, progress=False)
    ...     [hit.document.id for hit in book.hierarchical(2).search("do clouds or stars turn?")]
    ['sky']
    """

    source: Source
    coarse: Retriever
    fine: Retriever
    levels: tuple[str, ...] = LEVELS
    pool: str = "best"
    merge: float = 0.5
    expand: str | None = None
    k: int = 10

    def __post_init__(self) -> None:
        check_k(self.k, "hierarchical()")
        _check_levels(self.levels)
        for name in ("coarse", "fine"):
            _check_retriever(name, getattr(self, name), self.source)
        if self.pool not in POOLS:
            raise UnknownNameError.of("way to pool passages", str(self.pool), POOLS)
        if isinstance(self.merge, bool) or not isinstance(self.merge, (int, float)) or not 0 < self.merge <= 1:
            raise BadValueError(f"merge is a share of a parent's passages, above 0 and up to 1, got {self.merge!r}")
        if self.expand not in EXPANSIONS:
            known = ", ".join(map(repr, EXPANSIONS))
            raise BadValueError(f"expand is one of {known}, got {self.expand!r}")
        if not self.source.whole:
            raise BadValueError(
                f"hierarchical() wants a whole collection and {self.source!r} is in parts; take the collection itself"
            )

    def __repr__(self) -> str:
        defaults: dict[str, object] = {"coarse": coarse_of(self.source), "fine": fine_of(self.source)}
        defaults |= {name: getattr(type(self), name) for name in ("levels", "pool", "merge", "expand")}
        changed = [f"{n}={getattr(self, n)!r}" for n, default in defaults.items() if getattr(self, n) != default]
        return f"{self.source!r}.hierarchical({', '.join([f'k={self.k}', *changed])})"

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The descent, cut to `k`, then what is done about belonging together."""
        above = self.levels[:-1]
        merging = (MergeUp(self.source, above, self.merge),) if self.merge < 1 else ()
        widening = (Widen(self.source, above, self.expand),) if self.expand else ()
        return (Descend(self.source, self.coarse, self.fine, self.levels, self.pool), Cut(self.k), *merging, *widening)


@dataclass(frozen=True, repr=False)
class Descend(Operation):
    """The passages that `fine` finds in the groups that `coarse` finds."""

    source: Source
    coarse: Retriever
    fine: Retriever
    levels: tuple[str, ...]
    pool: str

    def __repr__(self) -> str:
        return f"{self.source!r} by {', '.join(self.levels)}: {self.coarse!r}, then {self.fine!r}"

    @property
    def label(self) -> str:
        """As hits' steps name it."""
        return "hierarchical"

    @property
    def floor(self) -> float | None:
        """Standard scores are counted from the last of their ranking."""
        return 0.0

    @property
    def runs_model(self) -> bool:
        """An encoder, if vectors are compared."""
        return not (isinstance(self.coarse, Lexical) and isinstance(self.fine, Lexical))

    def function(self) -> Retrieving:
        """A `Descending`."""
        return Descending(self)


class Descending(MapFunction[Result, Result]):
    """The running half of `Descend`."""

    def __init__(self, stage: Descend) -> None:
        self.stage = stage
        self._encoder = QuestionEncoder(stage.source, repr(stage)) if stage.runs_model else None
        self._descent = Descent(stage.levels, Searcher(stage.coarse, stage.pool), Searcher(stage.fine, stage.pool))

    def open(self, context: Context, /) -> None:
        """Open the collection; load the encoder if vectors are compared.

        Raises CollectionError where there is nothing in it, or no vectors.
        """
        self._reader = FolderReader(context.get(Collections).folder(self.stage.source.path), self.stage.source.only)
        if self._encoder:
            self._encoder.open(context, self._reader.settings)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All questions encoded in one call, then each taken down the levels of one commit."""
        source, snapshot = self.stage.source, self._reader.snapshot()
        settings = snapshot.manifest.settings
        vectors, note = self._vectors(batch, settings.dimension)
        notes = (*note, *self._notes(snapshot))
        questions = [
            Question(terms_of(result, settings.analyzer, source.name), vector, snapshot, source.only)
            for result, vector in zip(batch, vectors, strict=True)
        ]
        return [
            ranked(
                Result(result.query, (), (*result.notes, *notes), missing=result.missing),
                self.stage.label,
                self._descent.hits(question, source.name),
            )
            for result, question in zip(batch, questions, strict=True)
        ]

    def _vectors(self, batch: Sequence[Result], dimension: int) -> tuple[Sequence[Vectors | None], tuple[str, ...]]:
        if self._encoder is None:
            return [None] * len(batch), ()
        vectors, note = self._encoder.vectors(batch, dimension)
        return list(vectors), note

    def _notes(self, snapshot: Snapshot) -> tuple[str, ...]:
        source, top = self.stage.source, self.stage.levels[0]
        if not snapshot.allowed(source.only).any():
            return (f"{source.name}: no passage meets {source.only!r}",)
        if len(snapshot.level(top).living) == snapshot.rows > 1:
            return (f"{source.name}: each passage is a {top} of its own; chunk documents, or give passages a parent",)
        return ()


def coarse_of(source: Source) -> Retriever:
    """The default ranking of documents and sections: ten of each win."""
    return _retriever(source, WINNERS)


def fine_of(source: Source) -> Retriever:
    """The default ranking of passages inside the winners."""
    return _retriever(source, CANDIDATES)


def _retriever(source: Source, k: int) -> Retriever:
    """Hybrid, or lexical where the collection has no vectors."""
    has_vectors = COLLECTIONS.folder(source.path).snapshot().manifest.settings.encoder
    return Hybrid(source, k, "zscore") if has_vectors else Lexical(source, k)


def _check_levels(levels: object) -> None:
    known = [level for level in LEVELS if isinstance(levels, tuple) and level in levels]
    if tuple(known) != levels or len(known) < 2 or known[-1] != LEAF:
        raise BadValueError(f"levels are two or three of {LEVELS}, in this order and down to {LEAF!r}, got {levels!r}")


def _check_retriever(name: str, given: object, source: Source) -> None:
    """Refuse what ranks no groups: another collection's, an engine that knows passages only."""
    if not isinstance(given, (Lexical, Dense, Hybrid)):
        raise BadValueError(f"{name} is a retriever of the collection, lexical, dense or hybrid, got {given!r:.80}")
    if given.source != source:
        raise BadValueError(f"{name} searches {given.source!r}, not {source!r}; give a retriever of the same")
    if isinstance(given, Lexical) and (given.engine != "sage" or given.variant == "okapi"):
        what = f"variant {given.variant!r}" if given.engine == "sage" else f"engine {given.engine!r}"
        raise BadValueError(f"{name} ranks groups of passages, for which there is no {what}; leave it out")
