"""The Explorer: a question, each stage's ranking beside the others, and why each hit is where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from os import PathLike
from typing import Any, ClassVar

import traitlets

from sage_nb.errors import BadValueError, SageError
from sage_nb.evaluation.judgments import Judgments
from sage_nb.notebook.display import short
from sage_nb.notebook.explored import (
    PAGE,
    Column,
    Matched,
    Numbers,
    columns_of,
    drawn_columns,
    opened_hit,
    static_table,
)
from sage_nb.notebook.facets import Facets
from sage_nb.notebook.widgets.chat_view import pieces_of
from sage_nb.notebook.widgets.drawn import Drawn
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.disk import home
from sage_nb.records.trec import Qrels
from sage_nb.records.values import Query, Result, answer_html
from sage_nb.retrieval.knobs import knobs, narrowed, sources, turned
from sage_nb.retrieval.questions import as_queries, check_text
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.trace import Trace, key_of, traced
from sage_nb.runtime.cellcache.store import CellCache

REMEMBERED, OFFERED, SHOWN = 20, 6, 10  # questions of the past, examples, hits where nothing runs


class Explorer(Drawn):
    """Shows what each stage of a pipeline makes of a question, and asks it what is typed.

    `questions` are offered as examples (what `run` takes). Marks, relevant or not, are written at once to the file
    `qrels` (`.sage/judgments.tsv`), their questions beside it, and read from there when it is opened again. What is
    computed is kept in the cache of `cell`, or in that of `.sage`, which cells use, too: a slider that is moved
    computes what it changes and nothing else. `pipe` is the pipeline as sliders and filters have made it.

    >>> import sage_nb as sage
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> folder = TemporaryDirectory()
    >>> notes = sage.Collection(folder.name + "/notes", encoder=None)
    >>> texts = {"a": ("Barriers align.", "guide"), "b": ("Windows slide.", "guide"), "c": ("They slide on.", "faq")}
    >>> documents = [sage.Document(name, text, source=source) for name, (text, source) in texts.items()]
    >>> _ = notes.add(documents, progress=False)
    >>> cell = sage.Cell("explore", sage.CellCache(Path(folder.name) / "cache"))
    >>> view = Explorer(notes.lexical(k=2), qrels=folder.name + "/judged.tsv", cell=cell)
    >>> view.ask("what slides?")
    >>> print(view.text().partition(" ms")[2])
     · computed bm25
       passage  source    lexical
    1        c     faq  #1 0.2554
    2        b   guide  #2 0.1975
    >>> view.mark("b", 1)
    >>> list(view.qrels.values()), [query.text for query in view.queries]
    ([{'b': 1}], ['what slides?'])
    >>> view.show("b")
    >>> [term[:2] for term in view.opened["reasons"][0]["terms"]]
    [['slide', 'idf 0.47 · 0.4202: 1 of 2 terms here, in 2 of 3 passages']]
    >>> view.choose("source", "faq")
    >>> view.turn(0, 1)  # the first of view.knobs, which is k
    >>> view.pipe == notes.where(source="faq").lexical(k=1), len(view.trace.result), "#1" in view.html()
    (True, 1, True)
    >>> view.reset()

    What the page sends is done beside the kernel's work; of several things that wait, the last alone.

    >>> view.on_ask("what aligns?"), view.on_choose("source", ""), view.on_turn(0, 1), view.on_reset(), view.on_open(0)
    (None, None, None, None, None)
    >>> for thread in [each for each in threading.enumerate() if each.name == "sage-explore"]:
    ...     thread.join()
    >>> view.on_more(), view.on_mark(0, None), view.on_shut(), view.close(), cell.cache.close(), folder.cleanup()
    (None, None, None, None, None, None)
    """

    name: ClassVar[str] = "explorer"
    question = traitlets.Unicode().tag(sync=True)
    examples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    history: traitlets.List[Any] = traitlets.List().tag(sync=True)
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    knobs: traitlets.List[Any] = traitlets.List().tag(sync=True)
    facets: traitlets.List[Any] = traitlets.List().tag(sync=True)
    answer: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    opened: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    marks: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    saved = traitlets.Unicode().tag(sync=True)
    written = traitlets.Unicode().tag(sync=True)
    notes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    wrong = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(default_value=False).tag(sync=True)

    _trace: Trace | None = None
    _matched: Matched | None = None
    _own_cache: CellCache | None = None

    def __init__(
        self,
        pipe: Stage,
        *,
        questions: object = (),
        qrels: str | PathLike[str] | None = None,
        cell: Cell | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(pipe, Stage) or pipe.needs != "query":
            raise BadValueError(f"Explorer() needs a pipeline that begins with a retriever, got {pipe!r:.80}")
        given = [] if isinstance(questions, (list, tuple)) and not questions else as_queries(questions)
        if cell is None:
            cell = Cell.at_home("explore")
            self._own_cache = cell.cache
        self._given = self._turned = pipe
        self._cell, self._judged = cell, Judgments(qrels or home() / "judgments.tsv", given)
        self._facets, self._numbers, self._columns = Facets(), Numbers(), list[Column]()
        self._most, self._one, self._asked, self._took = PAGE, threading.RLock(), 0, 0.0
        self.set_trait("examples", [query.text for query in given[:OFFERED]])
        self._settle()

    @property
    def pipe(self) -> Stage:
        """The pipeline as the sliders and filters have made it."""
        return narrowed(self._turned, self._facets.only)

    @property
    def trace(self) -> Trace | None:
        """What the stages made of the last question."""
        return self._trace

    @property
    def qrels(self) -> Qrels:
        """The marks, of all questions: 1 for relevant, 0 for not."""
        return self._judged.qrels

    @property
    def queries(self) -> tuple[Query, ...]:
        """The questions that have marks."""
        return self._judged.queries

    def ask(self, text: str) -> None:
        """Ask, and show what each stage makes of it; what fails is shown."""
        self._do(lambda: self._ask(text))

    def turn(self, knob: int, value: float) -> None:
        """Give the knob of that number (see `knobs`) another value, and ask again."""
        self._do(lambda: self._set(turned(self._turned, knobs(self._given)[knob].at, value), self._facets))

    def choose(self, field: str, value: str) -> None:
        """Only documents with that value of a field (see `facets`), "" for any, and ask again."""
        self._do(lambda: self._set(self._turned, self._facets.choosing(field, value)))

    def reset(self) -> None:
        """The pipeline as it was given, over all documents."""
        self._do(lambda: self._set(self._given, Facets(self._facets.seen)))

    def show(self, document: str) -> None:
        """Open a document that was found: all of its text, and why it is where it is."""
        self._do(lambda: self._open(self._number(document)))

    def mark(self, document: str, grade: int | None) -> None:
        """Mark a document relevant (1) or not (0) for the question, or take the mark back (None)."""
        self._do(lambda: self._mark(self._number(document), grade))

    def close(self) -> None:
        """End the widget."""
        super().close()
        if self._own_cache is not None:
            self._own_cache.close()

    def on_ask(self, text: str) -> None:
        """A question was typed or chosen."""
        self._later(lambda: self.ask(text))

    def on_turn(self, knob: int, value: float) -> None:
        """A slider was moved."""
        self._later(lambda: self.turn(knob, value))

    def on_choose(self, field: str, value: str) -> None:
        """A filter was chosen."""
        self._later(lambda: self.choose(field, value))

    def on_reset(self) -> None:
        """All sliders and filters back."""
        self._later(self.reset)

    def on_open(self, doc: int) -> None:
        """A hit was chosen."""
        self._later(lambda: self._do(lambda: self._open(doc)))

    def on_shut(self) -> None:
        """Its passage was closed."""
        self.set_trait("opened", {})

    def on_mark(self, doc: int, grade: int | None) -> None:
        """A hit was marked."""
        self._do(lambda: self._mark(doc, grade))

    def on_more(self) -> None:
        """The end of a page was reached."""
        self._most += PAGE
        self._do(self._draw)

    def html(self) -> str:
        """The question, and for the first hits their place in each ranking."""
        header, rows = static_table(self._columns, SHOWN)
        result = self._trace.result if self._trace else None
        above = answer_html(result) if result and result.answer else ""
        return f"{above}{markup.table(header, rows, self._caption)}"

    def text(self) -> str:
        """The same in text."""
        header, rows = static_table(self._columns, SHOWN)
        answer = self._trace.result.answer if self._trace else None
        return "\n".join([self._caption, *([answer.marked] if answer else []), text_table(header, rows)])

    @property
    def _caption(self) -> str:
        asked = markup.shortened(self.question) if self.question else "Nothing has been asked yet."
        return " · ".join(filter(None, [asked, self.written, self.status, *self.notes, self.wrong]))

    def _later(self, work: Callable[[], None]) -> None:
        """Beside the kernel's work; of several that wait the last alone is done: a slider passes many values."""
        self._asked += 1
        threading.Thread(target=self._unless_late, args=(self._asked, work), name="sage-explore", daemon=True).start()

    def _unless_late(self, asked: int, work: Callable[[], None]) -> None:
        with self._one:
            if asked == self._asked:
                work()

    def _do(self, work: Callable[[], None]) -> None:
        """One at a time; what fails is shown, and leaves everything as it was."""
        with self._one:
            self.set_trait("busy", True)
            self.set_trait("wrong", "")
            try:
                work()
            except SageError as error:
                self.set_trait("wrong", str(error))
            finally:
                self.set_trait("busy", False)

    def _ask(self, text: str) -> None:
        trace = self._traced(check_text(text, "the question"), self._turned, self._facets)
        self._most = PAGE
        self.set_trait("opened", {})
        self.set_trait("question", text)
        self.set_trait("history", [text, *(each for each in self.history if each != text)][:REMEMBERED])
        self._take(trace)

    def _set(self, pipe: Stage, facets: Facets) -> None:
        trace = self._traced(self.question, pipe, facets) if self.question else None
        self._turned, self._facets = pipe, facets
        self._settle()
        if trace is not None:
            self._take(trace)

    def _traced(self, text: str, pipe: Stage, facets: Facets) -> Trace:
        begun = time.perf_counter()
        trace = traced(narrowed(pipe, facets.only), self._judged.query(text), self._cell)
        self._took = time.perf_counter() - begun
        return trace

    def _take(self, trace: Trace) -> None:
        """Draw what has come of the question; an open passage stays open where it is still found."""
        opened = self._numbers.keys[self.opened["doc"]] if self.opened else None
        self._trace, self._columns, self._numbers = trace, columns_of(trace), Numbers()
        self._matched = Matched(trace, sources(self.pipe))
        self._facets.see(trace)
        self._draw()
        found = opened is not None and any(stop.hit(opened) for stop in trace.stops)
        self._open(self._numbers.of(opened)) if opened and found else self.set_trait("opened", {})

    def _draw(self) -> None:
        if self._trace is None or self._matched is None:
            return
        result = self._trace.result
        with self.hold_sync():
            self.set_trait("columns", drawn_columns(self._columns, self._numbers, self._matched, self._most))
            self.set_trait("facets", self._facets.drawn() if sources(self._given) else [])
            self.set_trait("notes", list(result.remarks))
            self.set_trait("answer", self._drawn_answer(result))
            computed = self._trace.computed
            by = f"computed {', '.join(computed)}" if computed else "all from the cache"
            self.set_trait("status", f"{len(result.hits)} hits in {self._took * 1000:,.0f} ms · {by}")
            self._show_marks()

    def _drawn_answer(self, result: Result) -> dict[str, Any]:
        if result.answer is None:
            return {}
        docs = {str(hit.rank): self._numbers.of(key_of(hit)) for hit in result.hits}
        return {"pieces": pieces_of(result.answer), "by": result.answer.by, "docs": docs}

    def _settle(self) -> None:
        """Show the sliders as they stand, with the ranges that they began with."""
        now = [knob.value for knob in knobs(self._turned)]
        made = [
            {"name": knob.name, "value": value, "low": knob.low, "high": max(knob.high, value), "step": knob.step}
            for knob, value in zip(knobs(self._given), now, strict=True)
        ]
        with self.hold_sync():
            self.set_trait("knobs", made)
            self.set_trait("written", short(repr(self.pipe)))

    def _number(self, document: str) -> int:
        found = [at for at, (_, name) in enumerate(self._numbers.keys) if name == document]
        if not found:
            raise BadValueError(f"no document {document!r} was found for this question; ask one that finds it")
        return found[0]

    def _open(self, doc: int) -> None:
        if self._trace is not None and self._matched is not None:
            key = self._numbers.keys[doc]
            found = opened_hit(self._trace, key, self._matched, sources(self.pipe))
            self.set_trait("opened", {"doc": doc, **found})

    def _mark(self, doc: int, grade: int | None) -> None:
        if self._trace is not None:
            self._judged.mark(self._trace.query, self._numbers.keys[doc][1], grade)
            self._show_marks()

    def _show_marks(self) -> None:
        grades = self._judged.qrels.get(self._trace.query.id, {}) if self._trace else {}
        marks = {str(at): grades[name] for at, (_, name) in enumerate(self._numbers.keys) if name in grades}
        self.set_trait("marks", marks)
        count = len(self._judged)
        self.set_trait("saved", f"{count} mark{'s' * (count > 1)} in {self._judged.path}" if count else "")
