"""The values that flow: frozen, plain, comparable, msgpack-able.

Those that come by the hundred in a result are no business of the garbage collector (`gc=False`): frozen and made of
plain values, they are no part of a cycle, as long as `meta` holds what it should. To look through them took three
quarters of the time of reading results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sage_nb.records import markup

SHOWN = 20  # hits of a result that are shown; all are in `hits`

Scalar = str | int | float | bool | None


class Document(msgspec.Struct, frozen=True, gc=False):
    """A text with a name: a whole document, or one passage of it.

    `source` is where it comes from (a package, a site, a file), `parent` the thing that contains it (a module,
    an article; for a passage its document's id), `meta` whatever else a filter may ask for.

    >>> Document("d1", "Rays scatter.", source="physics").text
    'Rays scatter.'
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    parent: str = ""
    meta: Mapping[str, Scalar] = {}


class Query(msgspec.Struct, frozen=True, gc=False):
    """A question with a name (`qid` in TREC files).

    >>> Query("q1", "why is the sky blue?").text
    'why is the sky blue?'
    """

    id: str
    text: str


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one stage said of a document: its rank there (from 1) and its score.

    >>> step = Step("bm25", rank=3, score=7.1)
    >>> f"{step.stage} #{step.rank}"
    'bm25 #3'
    """

    stage: str
    rank: int
    score: float


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A document's place in one ranking.

    `rank` starts at 1; `score` is the last stage's; `steps` are all stages that ranked it, oldest first;
    `collection` names where the document lies. `spans` are the characters of its text, (start, end) each, that a
    refining stage has kept; empty for all of it. `also` are the (collection, id) of documents of other sources that say
    nearly the same, and stand here no more.

    >>> hit = Hit(Document("d1", "Rays scatter."), rank=1, score=0.5, steps=(Step("bm25", 3, 7.1), Step("rrf", 1, 0.5)))
    >>> hit.document.id, [step.stage for step in hit.steps]
    ('d1', ['bm25', 'rrf'])
    """

    document: Document
    rank: int
    score: float
    steps: tuple[Step, ...] = ()
    collection: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    also: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """What is kept of the document's text, with an ellipsis where something was left out between.

        >>> Hit(Document("d", "Rays scatter. It rains. Light bends."), 1, 0.5, spans=((0, 13), (24, 36))).text
        'Rays scatter. … Light bends.'
        """
        return " … ".join(self.document.text[start:end] for start, end in self.spans) or self.document.text

    @property
    def scores(self) -> dict[str, float]:
        """Score by stage, oldest first.

        >>> Hit(Document("d", "text"), 1, 0.5, (Step("bm25", 3, 7.1), Step("rrf", 1, 0.5))).scores
        {'bm25': 7.1, 'rrf': 0.5}
        """
        return {step.stage: step.score for step in self.steps}


class Citation(msgspec.Struct, frozen=True, gc=False):
    """The characters `start` to `end` of a document's text, which are `quote`, as a place that an answer rests on.

    The document is the whole one where the hit is a passage that was cut from it. `number` is the hit's rank, by which
    the answer names it, as in [1].

    >>> text = "Rays scatter. Light bends."
    >>> place = Citation("d1", 14, 26, number=1, quote="Light bends.")
    >>> text[place.start : place.end] == place.quote
    True
    """

    document: str
    start: int
    end: int
    number: int = 0
    quote: str = ""


class Answer(msgspec.Struct, frozen=True):
    """A text that answers a question, with the places it rests on.

    `unsupported` are the characters of it, (start, end) each, that make a claim which no cited passage supports;
    `by` says who wrote it.

    >>> said = Answer("Light bends [1].", (Citation("d1", 14, 26, 1, "Light bends."),), by="Extractive")
    >>> [(each.number, each.document) for each in said.citations]
    [(1, 'd1')]
    """

    text: str
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[tuple[int, int], ...] = ()
    by: str = ""

    @property
    def marked(self) -> str:
        """The text, with a remark behind each claim that nothing supports.

        >>> Answer("Rays scatter [1]. They sing.", unsupported=((18, 28),)).marked
        'Rays scatter [1]. They sing. (unsupported)'
        """
        text = self.text
        for _, end in sorted(self.unsupported, reverse=True):
            text = f"{text[:end]} (unsupported){text[end:]}"
        return text


class Expansion(msgspec.Struct, frozen=True):
    """What the next retriever takes in a question's place: weighted index terms (lexical), passages (dense).

    A dense retriever takes the mean of the question's vector and theirs, one without terms or passages the question.
    `analyzer` names the one that made the terms, "" where that is not known.

    >>> Expansion(terms=(("scatter", 1.0), ("light", 0.4)), analyzer="english").terms[0]
    ('scatter', 1.0)
    """

    terms: tuple[tuple[str, float], ...] = ()
    passages: tuple[str, ...] = ()
    analyzer: str = ""


class Result(msgspec.Struct, frozen=True):
    """A query and its ranking, best first; `notes` say what a reader should know of it.

    `error` says which operator failed on the question, and how; empty where none did. Then there are no hits. `missing`
    names what could not be asked, and is served without: such a result is not kept in a cache. `answer` is what an
    answering stage made of the hits, `expansion` what an expanding one made of the question.

    >>> ranked = Result(Query("q", "x"), (Hit(Document("a", ""), 1, 2.0), Hit(Document("b", ""), 2, 1.0)))
    >>> [hit.document.id for hit in ranked.top(1)]
    ['a']
    """

    query: Query
    hits: tuple[Hit, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    missing: tuple[str, ...] = ()
    answer: Answer | None = None
    expansion: Expansion | None = None

    def top(self, k: int) -> Result:
        """The first `k` hits (all of them when fewer)."""
        return msgspec.structs.replace(self, hits=self.hits[:k])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is shown beside the question: the notes, what is missing, what failed.

        >>> Result(Query("q", "x"), notes=("web: refused",), missing=("web",)).remarks
        ('web: refused', 'missing: web')
        """
        missing = f"missing: {', '.join(self.missing)}" if self.missing else ""
        return tuple(filter(None, [*self.notes, missing, self.error]))

    def __iter__(self) -> Iterator[Hit]:
        """The hits, best first."""
        return iter(self.hits)

    def __len__(self) -> int:
        """How many hits."""
        return len(self.hits)

    def _repr_html_(self) -> str:
        """The table a notebook shows: passage with the query's words marked, source, score by stage."""
        words = markup.words_of(self.query.text)
        more = (f"the first {SHOWN} of {len(self.hits)} hits",) if len(self.hits) > SHOWN else ()
        caption = " · ".join([markup.shortened(self.query.text), *more, *self.remarks])
        rows: list[list[str | float | markup.Html]] = [
            [str(hit.rank), _passage(hit, words), hit.document.source, _trail(hit)] for hit in self.hits[:SHOWN]
        ]
        table = markup.table(["", "passage", "source", "scores"], rows, caption)
        return f"{answer_html(self)}{table}" if self.answer else table

    def __str__(self) -> str:
        """The same in text: a line for the question and one for each hit."""
        lines = [f"? {' · '.join([markup.shortened(self.query.text), *self.remarks])}"]
        for hit in self.hits[:SHOWN]:
            source = f"  [{hit.document.source}]" if hit.document.source else ""
            lines.append(
                f"{hit.rank:>3}. {markup.shortened(hit.document.title or hit.document.id, 80)}  {hit.score:.4g}{source}"
            )
        if self.answer:
            lines[1:1] = [self.answer.marked, *_cited(self.answer)]
        return "\n".join([*lines, *(["  …"] if len(self.hits) > SHOWN else [])])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        """What IPython writes where there is no HTML, and beside it in a notebook's file."""
        printer.text("…" if cycle else str(self))


def _places(answer: Answer) -> list[Citation]:
    """What it cites, once each, in the order of the passages."""
    return sorted(dict.fromkeys(answer.citations), key=lambda each: (each.number, each.start))


def _cited(answer: Answer) -> Iterator[str]:
    """A line for each place that an answer rests on; with what stands there, where the answer is in other words."""
    for each in _places(answer):
        quote = "" if " ".join(each.quote.split()) in answer.text else f" {markup.shortened(each.quote)}"
        yield f"   [{each.number}]{quote} ({markup.shortened(each.document, 80)}, {each.start} to {each.end})"


def answer_html(result: Result) -> str:
    """A result's answer as a notebook shows it: claims that nothing supports underlined; below, what it cites.

    >>> "<sup" in answer_html(Result(Query("q", "x"), answer=Answer("So it is [1].")))
    True
    """
    answer = result.answer or Answer("")
    quotes = {str(each.number): each.quote for each in reversed(_places(answer))}
    body = markup.cited(answer.text, answer.unsupported, {"?": "there is no such passage", **quotes})
    below = [*_cited(answer), *([f"by {answer.by}"] if answer.by else [])]
    lines = "".join(f"<div>{markup.escape(line).text}</div>" for line in below)
    return (
        f"<div class='sage-answer mathjax_ignore'>{body.text}<div class='sage-quiet mathjax_ignore'>{lines}</div></div>"
    )


def _passage(hit: Hit, words: list[str]) -> markup.Html:
    title = markup.escape(hit.document.title or hit.document.id).text
    text = markup.highlight(markup.excerpt(hit.document.text, words), words).text
    return markup.Html(f"<div class='sage-title'>{title}</div><div>{text}</div>")


def _trail(hit: Hit) -> markup.Html:
    lines = [f"{markup.escape(s.stage).text} #{s.rank} {s.score:.4g}" for s in hit.steps]
    lines += [f"also {markup.escape(f'{collection}: {document}').text}" for collection, document in hit.also]
    return markup.Html(f"<div class='sage-quiet mathjax_ignore'>{'<br>'.join(lines)}</div>")
