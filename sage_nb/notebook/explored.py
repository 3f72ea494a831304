"""A trace as the Explorer draws it: columns of ranked hits with what moved, and one hit in full."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sage_nb.index.analysis import get_analyzer
from sage_nb.index.grouping import document_of
from sage_nb.notebook.display import short
from sage_nb.notebook.facets import OWN
from sage_nb.records import markup
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.context import Surroundings
from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.joined import joined
from sage_nb.retrieval.lexical import Lexical
from sage_nb.retrieval.llm_rerank import LlmRerank
from sage_nb.retrieval.rerank import Rerank
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Cut, Fused, Operation
from sage_nb.retrieval.trace import Key, Stop, Trace, key_of
from sage_nb.retrieval.why import why

Data = dict[str, Any]

PAGE = 50  # hits of a column that are drawn at once
EXCERPT, BESIDE = 140, 700  # characters: of a hit in a column, of the text before and after an open passage
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Column:
    """A ranking to draw: the stop that made it, the columns it was made from, and the hits that a cut has left."""

    number: int
    stop: Stop
    reads: tuple[int, ...]
    kept: int | None = None

    @property
    def name(self) -> str:
        """What the stage does, in a word or two."""
        stage, title = self.stop.stage, self.stop.title
        if isinstance(stage, Fused):
            return f"fused by {title}"
        names = {Lexical: "lexical", Dense: "dense", Rerank: "reranked", LlmRerank: "reranked"}
        return names.get(type(stage), title)

    @property
    def about(self) -> str:
        """How it is written, or for a ranking inside a stage, where it is from."""
        stage = self.stop.stage
        if isinstance(stage, Fused):
            return f"weights {', '.join(f'{weight:g}' for weight in stage.weights)}"
        if not isinstance(stage, Operation) and self.stop.title != stage.label:
            return f"inside {stage.label}"
        return short(repr(stage))


def columns_of(trace: Trace) -> list[Column]:
    """The stops that make a ranking of their own; a cut is drawn in the ranking that it cuts."""
    made: list[Column] = []
    shown: dict[int, int] = {}  # by stop, the column that its ranking stands in
    for number, stop in enumerate(trace.stops):
        before = shown.get(stop.reads[0]) if len(stop.reads) == 1 else None
        if before is not None and (isinstance(stop.stage, Cut) or _as_before(stop)):
            shown[number] = before
            if isinstance(stop.stage, Cut):
                held = made[before]
                made[before] = Column(held.number, held.stop, held.reads, min(stop.stage.k, held.kept or stop.stage.k))
            continue
        shown[number] = len(made)
        reads = tuple(dict.fromkeys(shown[at] for at in stop.reads))
        made.append(Column(len(made), stop, reads))
    return made


def _as_before(stop: Stop) -> bool:
    before, after = stop.came.result, stop.result
    ranked = [[(key_of(hit), hit.score) for hit in each.hits] for each in (before, after)]
    return ranked[0] == ranked[1] and before.expansion == after.expansion


@dataclass
class Numbers:
    """A number for each document of a trace, by which JavaScript knows it."""

    keys: list[Key] = field(default_factory=list)
    places: dict[Key, int] = field(default_factory=dict)

    def of(self, key: Key) -> int:
        """The document's."""
        if key not in self.places:
            self.places[key] = len(self.keys)
            self.keys.append(key)
        return self.places[key]


class Matched:
    """Which words of a text a question's terms match, as the collections that were asked cut words into terms."""

    def __init__(self, trace: Trace, sources: Iterable[Source]) -> None:
        self._words = markup.words_of(trace.query.text)
        names = {COLLECTIONS.folder(source.path).snapshot().manifest.settings.analyzer for source in sources}
        self._analyzers = [get_analyzer(name) for name in sorted(names)]
        expanded = (stop.came.result.expansion for stop in trace.stops)
        self._terms = {term for each in expanded if each for term, _ in each.terms}
        self._terms |= {term for analyze in self._analyzers for term in analyze(trace.query.text)}

    def places(self, text: str) -> list[tuple[int, int]]:
        """The characters (start, end) of those words; where no collection was asked, of words that begin alike."""
        if not self._analyzers:
            return markup.places(text, self._words)
        found = _WORD.finditer(text)
        return [match.span() for match in found if any(self._is_term(match.group(), each) for each in self._analyzers)]

    def excerpt(self, text: str) -> str:
        """The beginning of what one would want to read of it."""
        return markup.excerpt(text, [*self._words, *self._terms], EXCERPT)

    def _is_term(self, word: str, analyze: Any) -> bool:
        return not self._terms.isdisjoint(analyze(word))


def drawn_columns(columns: Sequence[Column], numbers: Numbers, matched: Matched, most: int) -> list[Data]:
    """The columns as JavaScript draws them, `most` hits of each."""
    return [
        {
            "name": column.name,
            "about": column.about,
            "total": len(column.stop.result.hits),
            "kept": column.kept,
            "terms": _terms(column.stop.result) if column.stop.stage.gives == "query" else [],
            "rows": [
                _row(hit, _moved(hit, column, columns), numbers, matched) for hit in column.stop.result.hits[:most]
            ],
        }
        for column in columns
    ]


def _row(hit: Hit, moved: int | None, numbers: Numbers, matched: Matched) -> Data:
    shown = matched.excerpt(hit.text[: 100 * EXCERPT])
    return {
        "doc": numbers.of(key_of(hit)),
        "rank": hit.rank,
        "score": f"{hit.score:.4g}",
        "title": markup.shortened(hit.document.title or hit.document.id, 80),
        "text": shown,
        "marks": matched.places(shown),
        "moved": moved,
    }


def _moved(hit: Hit, column: Column, columns: Sequence[Column]) -> int | None:
    """By how many ranks it is better than in the one ranking that this one was made from."""
    before = columns[column.reads[0]].stop.hit(key_of(hit)) if len(column.reads) == 1 else None
    return before.rank - hit.rank if before else None


def _terms(result: Result) -> list[Data]:
    if result.expansion is None:
        return []
    weighted = [{"text": term, "weight": f"{weight:.3g}"} for term, weight in result.expansion.terms]
    return [*weighted, *({"text": markup.shortened(each), "weight": ""} for each in result.expansion.passages)]


def opened_hit(trace: Trace, key: Key, matched: Matched, sources: Iterable[Source]) -> Data:
    """One document in full: its text with what stands around it, and why each stage has put it where it did."""
    names = {column.stop.title: column.name for column in columns_of(trace)}
    hit = next(found for stop in reversed(trace.stops) if (found := stop.hit(key)) is not None)
    document = hit.document
    before, after = beside(document, [source for source in sources if source.name == hit.collection])
    meta = {name: value for name, value in document.meta.items() if name not in OWN}
    facts = {"id": document.id, "collection": hit.collection, "source": document.source, **meta}
    also = [f"{collection}: {name}" for collection, name in hit.also]
    return {
        "title": document.title or document.id,
        "facts": [[name, str(value)] for name, value in facts.items() if value not in ("", None)],
        "also": also,
        "before": before,
        "text": document.text,
        "marks": matched.places(document.text),
        "after": after,
        "reasons": [
            {
                "stage": names.get(reason.stage, reason.stage),
                "rank": reason.rank,
                "score": f"{reason.score:.4g}",
                "said": reason.said,
                "total": reason.total,
                "terms": [[term.what, term.working, f"{term.value:.4g}"] for term in reason.terms],
            }
            for reason in why(trace, key)
        ],
    }


def beside(document: Document, sources: Iterable[Source]) -> tuple[str, str]:
    """The text that stands before and after a passage in its document, each shortened; "" where there is none."""
    for source in sources:
        snapshot = COLLECTIONS.folder(source.path).snapshot()
        around = Surroundings(snapshot, snapshot.allowed(None))
        rows = around.rows("document", document_of(document))
        names = [snapshot.passage(row) for row in rows]
        if document.id in names and len(rows) > 1:
            at = names.index(document.id)
            near = around.documents(rows[max(0, at - 1) : at + 2])
            whole = joined(near, document).text
            before, found, after = whole.partition(document.text)
            return (_end(before), _beginning(after)) if found else ("", "")
    return "", ""


def _end(text: str) -> str:
    return text if len(text) <= BESIDE else f"… {text[-BESIDE:].lstrip()}"


def _beginning(text: str) -> str:
    return text if len(text) <= BESIDE else f"{text[:BESIDE].rstrip()} …"


def static_table(columns: Sequence[Column], most: int) -> tuple[list[str], list[list[str]]]:
    """For where nothing runs: a header, and for the first hits of the last column their place in each."""
    if not columns:
        return ["", "passage", "source"], []
    last = columns[-1].stop.result.hits[: min(most, columns[-1].kept or most)]
    rows = [[str(hit.rank), hit.document.title or hit.document.id, hit.document.source] for hit in last]
    for row, hit in zip(rows, last, strict=True):
        found = [column.stop.hit(key_of(hit)) for column in columns]
        row += [f"#{each.rank} {each.score:.4g}" if each else "" for each in found]
    return ["", "passage", "source", *(column.name for column in columns)], rows
