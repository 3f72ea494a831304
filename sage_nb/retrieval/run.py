"""The answers to many questions, as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Unpack

from sage_nb.errors import SageError, UnknownNameError
from sage_nb.records import markup
from sage_nb.records.trec import write_run
from sage_nb.records.values import Query, Result
from sage_nb.runtime.environment import Environment
from sage_nb.runtime.job import Job
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.sink import IdempotentSink

if TYPE_CHECKING:
    import pandas as pd

SHOWN_QUESTIONS, SHOWN_HITS = 5, 3
LOOK = 0.05  # seconds between looks at a job that may have ended without an answer


class Pipeline(Protocol):
    """What a run is of."""

    def search(self, text: str) -> Result:
        """Ask one question."""
        ...

    def on_stream(self, stream: Stream, /, **how: Unpack[How]) -> Stream:
        """Its operators."""
        ...


class Answers(IdempotentSink[Result]):
    """Results under the ids of their questions; one that comes again takes its own place."""

    at_home = True

    def __init__(self) -> None:
        self._held: dict[str, Result] = {}
        self._changed = threading.Condition()
        self.begun = self.last = time.perf_counter()

    def __deepcopy__(self, memo: dict[int, Any]) -> Answers:
        return self  # one place for all subtasks

    def __len__(self) -> int:
        """How many are there."""
        return len(self._held)

    def write_batch(self, values: Sequence[Result], /) -> None:
        """Keep them, and wake who waits."""
        with self._changed:
            self._held.update((result.query.id, result) for result in values)
            self.last = time.perf_counter()
            self._changed.notify_all()

    def get(self, query: str, wait: float = 0.0) -> Result | None:
        """The result for a question's id; None where it is not there, nor comes within `wait` seconds."""
        with self._changed:
            if query not in self._held and wait:
                self._changed.wait(wait)
            return self._held.get(query)


class Run:
    """Results in the order of their questions, had as they come: the job that computes them runs by itself."""

    def __init__(self, stage: Pipeline, queries: Sequence[Query], answers: Answers, job: Job) -> None:
        self.stage = stage
        self.pipeline = repr(stage)
        self.job = job
        self._queries = list(queries)
        self._answers = answers

    @classmethod
    def begun(cls, stage: Pipeline, queries: Sequence[Query], env: Environment, **how: Unpack[How]) -> Run:
        """Start a run with the settings of `env`, but for its folder; `how` is for each of the pipeline's operators."""
        scratch, answers = env.anew(), Answers()
        asked = scratch.from_collection([Result(query) for query in queries], name="questions")
        asked.apply(stage, **how).sink(answers, name="answers", parallelism=1)
        return cls(stage, queries, answers, scratch.submit())

    def __iter__(self) -> Iterator[Result]:
        for query in self._queries:
            yield self._answer(query)

    def __len__(self) -> int:
        """How many questions."""
        return len(self._queries)

    def __getitem__(self, query: str) -> Result:
        """The result of the question with that id."""
        found = next((each for each in self._queries if each.id == query), None)
        if found is None:
            raise UnknownNameError.of("question", query, [each.id for each in self._queries])
        return self._answer(found)

    @property
    def done(self) -> int:
        """How many questions are answered so far."""
        return len(self._answers)

    @property
    def results(self) -> list[Result]:
        """All results, once the run has ended.

        Raises what made the run fail. The stop button ends the run.
        """
        answered = list(self)
        self.job.wait()
        return answered

    @property
    def failed(self) -> list[Result]:
        """Those of the results so far whose question an operator failed on; `error` says which and how."""
        return [result for result in self._so_far() if result.error]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds from the start to the last answer so far."""
        return self._answers.last - self._answers.begun

    @property
    def ms_per_question(self) -> float:
        """Milliseconds from the start to the last answer, over the questions answered."""
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
        return f"<Run of {self.pipeline}: {self._facts()}>"

    def _repr_html_(self) -> str:
        """The first questions with their first hits."""
        rows: list[list[str | float | markup.Html]] = []
        for result in self._so_far()[:SHOWN_QUESTIONS]:
            for hit in result.hits[:SHOWN_HITS]:
                first = markup.shortened(result.query.text) if hit.rank == 1 else ""
                name = hit.document.title or hit.document.id
                rows.append([first, str(hit.rank), name, hit.document.source, hit.score])
        caption = f"{self._facts()} · {self.pipeline}"
        return markup.table(["question", "", "passage", "source", "score"], rows, caption)

    def _facts(self) -> str:
        failures = len(self.failed)
        failing = f", {failures} failed (the first: {self.failed[0].error})" if failures else ""
        return f"{self.done} of {len(self)} questions, {self.ms_per_question:.3g} ms each{failing}"

    def _so_far(self) -> list[Result]:
        found = (self._answers.get(query.id) for query in self._queries)
        return [result for result in found if result is not None]

    def _answer(self, query: Query) -> Result:
        try:
            while (result := self._answers.get(query.id, LOOK)) is None:
                if self.job.status not in ("running", "restarting"):
                    return self._last_look(query)
        except KeyboardInterrupt:
            self.job.pause()
            raise
        return result

    def _last_look(self, query: Query) -> Result:
        """The job has ended: the answer has come meanwhile, or will not."""
        status = self.job.wait()
        result = self._answers.get(query.id)
        if result is None:
            raise SageError(f"the run was {status} before it came to question {query.id!r}; run it again")
        return result
