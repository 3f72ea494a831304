"""The answers to many questions, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sage_nb.errors import UnknownNameError
from sage_nb.records import markup
from sage_nb.records.trec import write_run
from sage_nb.records.values import Result

if TYPE_CHECKING:
    import pandas as pd

SHOWN_QUESTIONS, SHOWN_HITS = 5, 3


class Searchable(Protocol):
    """What a run is of: a pipeline that can be asked again."""

    def search(self, text: str) -> Result:
        """Ask one question."""
        ...


class Run:
    """Results in the order of their questions; iterating computes what is not there yet, and keeps it."""

    def __init__(self, stage: Searchable, total: int, batches: Iterator[list[Result]]) -> None:
        self.stage = stage
        self.pipeline = repr(stage)
        self.seconds = 0.0
        self._total = total
        self._batches = batches
        self._done: list[Result] = []

    def __iter__(self) -> Iterator[Result]:
        for at in range(self._total):
            while at >= len(self._done):
                self._advance()
            yield self._done[at]

    def __len__(self) -> int:
        """How many questions."""
        return self._total

    def __getitem__(self, query: str) -> Result:
        """The result of the question with that id."""
        found = next((result for result in self.results if result.query.id == query), None)
        if found is None:
            raise UnknownNameError.of("question", query, [result.query.id for result in self.results])
        return found

    @property
    def done(self) -> int:
        """How many questions are answered so far."""
        return len(self._done)

    @property
    def results(self) -> list[Result]:
        """All results, computed if they are not yet."""
        return list(self)

    @property
    def ms_per_question(self) -> float:
        """Wall-clock milliseconds spent computing, over the questions answered."""
        return 1000 * self.seconds / max(1, self.done)

    def to_pandas(self) -> pd.DataFrame:
        """One row a hit, in PyTerrier's column names: qid, query, docno, rank, score, then title, source, text."""
        import pandas as pd

        rows = [
            (r.query.id, r.query.text, d.id, hit.rank, hit.score, d.title, d.source, d.text)
            for r in self
            for hit in r.hits
            for d in [hit.document]
        ]
        columns = ["qid", "query", "docno", "rank", "score", "title", "source", "text"]
        return pd.DataFrame(rows, columns=columns)

    def to_trec(self, path: str | Path, tag: str = "sage_nb") -> Path:
        """Write a TREC run file; returns its path."""
        write_run(self.results, Path(path), tag)
        return Path(path)

    def __repr__(self) -> str:
        return f"<Run of {self.pipeline}: {self.done} of {self._total} questions, {self.ms_per_question:.3g} ms each>"

    def _repr_html_(self) -> str:
        """The first questions with their first hits."""
        rows: list[list[str | float | markup.Html]] = []
        for result in self._done[:SHOWN_QUESTIONS]:
            for hit in result.hits[:SHOWN_HITS]:
                first = markup.shortened(result.query.text) if hit.rank == 1 else ""
                name = hit.document.title or hit.document.id
                rows.append([first, str(hit.rank), name, hit.document.source, hit.score])
        caption = f"{self.done} of {self._total} questions · {self.ms_per_question:.3g} ms each · {self.pipeline}"
        return markup.table(["question", "", "passage", "source", "score"], rows, caption)

    def _advance(self) -> None:
        begun = time.perf_counter()
        try:
            self._done.extend(next(self._batches))
        finally:
            self.seconds += time.perf_counter() - begun
