"""The results of a pipeline, question by question: looked up, tabulated, written; of a run at work or one kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_nb.errors import UnknownNameError
from sage_nb.records import markup
from sage_nb.records.trec import write_run
from sage_nb.records.values import Answer, Query, Result

if TYPE_CHECKING:
    import pandas as pd

SHOWN_QUESTIONS, SHOWN_HITS = 5, 3


class Answered(ABC):
    """Questions with their results; `pipeline` is the expression that was asked."""

    def __init__(self, pipeline: str, queries: Sequence[Query]) -> None:
        self.pipeline, self.queries = pipeline, tuple(queries)

    @abstractmethod
    def answer(self, query: Query) -> Result:
        """The result of one of the questions, as soon as it is there."""

    @property
    @abstractmethod
    def so_far(self) -> list[Result]:
        """The results there are."""

    @property
    @abstractmethod
    def results(self) -> list[Result]:
        """All results."""

    @property
    @abstractmethod
    def status(self) -> str:
        """running, restarting, finished, failed, cancelled or paused."""

    @property
    @abstractmethod
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """What each stage did."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Wall-clock seconds from the start to the last answer."""

    def __iter__(self) -> Iterator[Result]:
        """Results in the order of their questions, each as soon as it is there."""
        return (self.answer(query) for query in self.queries)

    def __len__(self) -> int:
        """How many questions."""
        return len(self.queries)

    def __getitem__(self, query: str) -> Result:
        """The result of the question with that id, once it is there."""
        found = next((each for each in self.queries if each.id == query), None)
        if found is None:
            raise UnknownNameError.of("question", query, [each.id for each in self.queries])
        return self.answer(found)

    @property
    def done(self) -> int:
        """How many questions are answered so far."""
        return len(self.so_far)

    @property
    def failed(self) -> list[Result]:
        """Those of the results so far whose question an operator failed on; `error` says which and how."""
        return [result for result in self.so_far if result.error]

    @property
    def ms_per_question(self) -> float:
        """Milliseconds from the start to the last answer, over the questions answered."""
        return 1000 * self.seconds / max(1, self.done)

    @property
    def answers(self) -> dict[str, Answer]:
        """What `answer()` made of the results so far, by the question's id; without those that have none."""
        return {result.query.id: result.answer for result in self.so_far if result.answer is not None}

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
        return f"<{type(self).__name__} of {self.pipeline}: {self.facts}>"

    def _repr_html_(self) -> str:
        """The first questions with their first hits."""
        rows: list[list[str | float | markup.Html]] = []
        for result in self.so_far[:SHOWN_QUESTIONS]:
            if result.answer is not None:
                rows.append([markup.shortened(result.query.text), "", result.answer.marked, "", ""])
            for hit in result.hits[:SHOWN_HITS]:
                first = markup.shortened(result.query.text) if hit.rank == 1 and result.answer is None else ""
                name = hit.document.title or hit.document.id
                rows.append([first, str(hit.rank), name, hit.document.source, hit.score])
        caption = f"{self.facts} · {self.pipeline}"
        return markup.table(["question", "", "passage", "source", "score"], rows, caption)

    @property
    def facts(self) -> str:
        """How far it is, in a line."""
        failures = self.failed
        failing = f", {len(failures)} failed (the first: {failures[0].error})" if failures else ""
        return f"{self.done} of {len(self)} questions, {self.ms_per_question:.3g} ms each{failing}"
