"""Lexical retrieval: BM25 over a collection's postings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Terms, Weighting
from sage_nb.index.folder import IndexFolder
from sage_nb.index.reference import RankBm25
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.filters import Filter
from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.reader import Answers, FolderReader, Passages, Pinned, Reader, Scoring
from sage_nb.retrieval.resources import Collections
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Operation
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

ENGINES = ("sage", "rank_bm25")


@stage("lexical")
@dataclass(frozen=True, repr=False)
class Lexical(Operation):
    """The best `k` passages by BM25. `engine="rank_bm25"` runs that library over the snapshot (small corpora).

    Of a question that has been expanded it takes the weighted terms: a passage's score is the sum of each term's own,
    times its weight.
    """

    source: Source
    k: int = 100
    variant: str = "lucene"
    k1: float = 1.2
    b: float = 0.75
    engine: str = "sage"

    def __post_init__(self) -> None:
        check_k(self.k, "lexical()")
        Weighting(self.variant, self.k1, self.b)
        if self.engine not in ENGINES:
            raise UnknownNameError.of("lexical engine", self.engine, ENGINES)
        if self.engine == "rank_bm25" and not self.source.whole:
            raise BadValueError(
                f"rank_bm25 wants a whole collection and {self.source!r} is in parts; leave engine= out "
                f"(variants okapi, l and plus give its scores), or take the collection itself"
            )
        if self.engine == "rank_bm25" and self.variant not in RankBm25.VARIANTS:
            raise BadValueError(
                f"rank_bm25 has no variant {self.variant!r}; name one of {', '.join(sorted(RankBm25.VARIANTS))}"
            )

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in ("variant", "k1", "b", "engine")}
        changed = "".join(f", {n}={v!r}" for n, v in given.items() if v != type(self).__dataclass_fields__[n].default)
        return f"{self.source!r}.lexical(k={self.k}{changed})"

    @property
    def floor(self) -> float | None:
        """BM25 scores start at 0."""
        return 0.0

    def function(self) -> Retrieving:
        """A `LexicalSearching`."""
        return LexicalSearching(self)


class LexicalSearching(MapFunction[Result, Result]):
    """The running half of `Lexical`."""

    def __init__(self, stage: Lexical) -> None:
        self.stage = stage
        self._weighting = Weighting(stage.variant, stage.k1, stage.b)

    def __deepcopy__(self, memo: dict[int, Any]) -> LexicalSearching:
        return LexicalSearching(self.stage)  # which never changes: to copy it took a tenth of a lone question's time

    def open(self, context: Context, /) -> None:
        """Open the collection; its last commit is taken anew for each batch.

        Raises CollectionError where there is nothing in it.
        """
        self._reader = self._reading(context)
        get_analyzer(self._reader.settings.analyzer)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """Every question against one commit."""
        return self._reader.read(partial(self._answered, batch))

    def _answered(self, batch: Sequence[Result], pinned: Pinned) -> list[Result]:
        name = self.stage.source.name
        questions = [terms_of(result, pinned.manifest.settings.analyzer, name) for result in batch]
        answers = pinned.lexical(questions, self.stage.k, self._weighting)
        notes = notes_of(answers, self.stage.k, pinned.manifest.rows, self.stage.source)
        wordless = f"{name}: no word of the question is an index term"
        return [
            ranked(
                Result(
                    result.query,
                    (),
                    (*result.notes, *(() if terms else (wordless,)), *notes),
                    missing=(*result.missing, *answers.missing),
                ),
                "bm25",
                hits_of(passages, name),
            )
            for result, terms, passages in zip(batch, questions, answers.passages, strict=True)
        ]

    def _reading(self, context: Context) -> Reader:
        source = self.stage.source
        if self.stage.engine == "sage":
            return source.reader(context)
        return ReferenceReader(context.get(Collections).folder(source.path), source.only, self._weighting)


class ReferenceReader(FolderReader):
    """Scores words by the library rank_bm25, built anew for each snapshot."""

    def __init__(self, folder: IndexFolder, only: Filter | None, weighting: Weighting) -> None:
        super().__init__(folder, only)
        self._weighting = weighting
        self._library: RankBm25 | None = None

    def scoring(self, snapshot: Snapshot) -> Scoring:
        """The library's."""
        if self._library is None or self._library.snapshot is not snapshot:
            self._library = RankBm25(snapshot, self._weighting)
        library = self._library
        return lambda terms, k, _, only: library.lexical(terms, k, only)


def terms_of(result: Result, analyzer: str, collection: str) -> Terms:
    """What a collection is asked for: the weighted terms that the question was expanded by, or else its own.

    Raises BadValueError where they are not index terms of the collection.
    """
    expansion = result.expansion
    if expansion is None or not expansion.terms:
        return get_analyzer(analyzer)(result.query.text)
    if expansion.analyzer not in ("", analyzer):
        raise BadValueError(
            f"the question was expanded by terms of the analyzer {expansion.analyzer!r} and the index terms of "
            f"{collection!r} are made by {analyzer!r}; expand it from a collection of the same analyzer"
        )
    weights: defaultdict[str, float] = defaultdict(float)
    for term, weight in expansion.terms:
        if not isfinite(weight):
            raise BadValueError(f"the question was expanded by {term!r} with the weight {weight}; give a finite one")
        weights[term] += weight
    return dict(weights)


def hits_of(passages: Passages, collection: str) -> list[tuple[Hit, float]]:
    """Passages as hits that no stage has ranked yet, each with its score."""
    return [(Hit(document, 0, score, (), collection), score) for document, score in passages]


def notes_of(answers: Answers, k: int, rows: int, source: Source) -> tuple[str, ...]:
    """A filter that lets nothing through, a `k` that the collection cannot fill."""
    if not answers.accepted:
        return (f"{source.name}: no passage meets {source.only!r}",)
    return (f"k={k} asked, the collection holds {rows}",) if k > rows else ()
