"""Lexical retrieval: BM25 over a collection's postings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Weighting
from sage_nb.index.reference import RankBm25
from sage_nb.index.snapshot import Found, Snapshot
from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.resources import Collections
from sage_nb.retrieval.source import Source, searchable
from sage_nb.retrieval.stage import Operation, check_k
from sage_nb.stream.function import Context, MapFunction

ENGINES = ("sage", "rank_bm25")


@dataclass(frozen=True, repr=False)
class Lexical(Operation):
    """The best `k` passages by BM25. `engine="rank_bm25"` runs that library over the snapshot (small corpora)."""

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

    def open(self, context: Context, /) -> None:
        """Find the collection's folder; its snapshot is taken anew for each batch.

        Raises CollectionError where there is nothing in it.
        """
        self._folder = context.get(Collections).folder(self.stage.source.path)
        searchable(self._folder)
        self._reference: RankBm25 | None = None

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """Every question against one snapshot."""
        snapshot = searchable(self._folder)
        analyze = get_analyzer(snapshot.manifest.settings.analyzer)
        return [self._answer(result, snapshot, analyze(result.query.text)) for result in batch]

    def _answer(self, result: Result, snapshot: Snapshot, terms: list[str]) -> Result:
        found = hits_of(snapshot, self._search(snapshot, terms), self.stage.source.name)
        note = () if terms else (f"{self.stage.source.name}: no word of the question is an index term",)
        answered = Result(
            result.query, (), (*result.notes, *note, *short_of(self.stage.k, snapshot, self.stage.source))
        )
        return ranked(answered, "bm25", found)

    def _search(self, snapshot: Snapshot, terms: list[str]) -> list[Found]:
        stage = self.stage
        if stage.engine == "sage":
            return snapshot.lexical(terms, stage.k, self._weighting, stage.source.only)
        if self._reference is None or self._reference.snapshot is not snapshot:
            self._reference = RankBm25(snapshot, self._weighting)
        return self._reference.lexical(terms, stage.k, stage.source.only)


def hits_of(snapshot: Snapshot, found: Sequence[Found], collection: str) -> list[tuple[Hit, float]]:
    """Rows of a snapshot as hits that no stage has ranked yet, each with its score."""
    return [(Hit(snapshot.document(row), 0, score, (), collection), score) for row, score in found]


def short_of(k: int, snapshot: Snapshot, source: Source) -> tuple[str, ...]:
    """The note for a filter that nothing meets, or a `k` that the collection cannot fill."""
    if source.only is not None and not snapshot.allowed(source.only).any():
        return (f"{source.name}: no passage meets {source.only!r}",)
    return (f"k={k} asked, the collection holds {snapshot.rows}",) if k > snapshot.rows else ()
