"""The answers to many questions, as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

from typing_extensions import Unpack

from sage_nb.errors import BadValueError, SageError
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.answered import Answered
from sage_nb.retrieval.history import History, KeptRun
from sage_nb.retrieval.recall import Cell, Passing, Remembered, recalled, result_of
from sage_nb.retrieval.stages import StageCounts, stages_of
from sage_nb.runtime.environment import Environment, LocalEnvironment
from sage_nb.runtime.job import Job
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.sink import IdempotentSink

Submit = Callable[[Sequence[Query]], Job]  # begins a job that asks some of a run's questions
LOOK = 0.05  # seconds between looks at a job that may have ended without an answer


class Pipeline(Remembered, Protocol):
    """What a run is of."""

    def search(self, text: str) -> Result:
        """Ask one question."""
        ...

    def on_stream(self, stream: Stream, /, **how: Unpack[How]) -> Stream:
        """Its operators."""
        ...


class Answers(IdempotentSink[Passing]):
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

    def write_batch(self, values: Sequence[Passing], /) -> None:
        """Keep them, and wake who waits."""
        with self._changed:
            self._held.update((value.query.id, value) for value in map(result_of, values))
            self.last = time.perf_counter()
            self._changed.notify_all()

    def of(self, query: Query) -> Result:
        """The result for a question, once all is done.

        Raises SageError where there is none.
        """
        if query.id not in self._held:
            raise SageError(f"question {query.id!r} came to no end; see that each operator gives a result for it")
        return self._held[query.id]

    def get(self, query: str, wait: float = 0.0) -> Result | None:
        """The result for a question's id; None where it is not there, nor comes within `wait` seconds."""
        with self._changed:
            if query not in self._held and wait:
                self._changed.wait(wait)
            return self._held.get(query)


class Run(Answered):
    """Results in the order of their questions, had as they come: the job that computes them runs by itself.

    `await run` waits for all of them without holding up the event loop.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document, Hit
    >>> from sage_nb.retrieval.stage import Applied
    >>> def first(result):
    ...     return Result(result.query, (Hit(Document("d1", "Barriers align."), 1, 2.5),))
    >>> run = Applied(first).run(["what is a barrier?", "who aligns?"])
    >>> [result.hits[0].document.id for result in run.results]
    ['d1', 'd1']
    >>> run.status, run.done, run.failed, run.answers, len(run.so_far)
    ('finished', 2, [], {}, 2)
    >>> run.answer(run.queries[0]) == run["q1"]
    True
    >>> run.stages["first"]["out"], run.facts.startswith("2 of 2 questions")
    (2, True)
    >>> 0 < run.seconds, 0 < run.ms_per_question
    (True, True)
    >>> run.to_pandas()[["qid", "docno", "rank"]].to_numpy().tolist()
    [['q1', 'd1', 1], ['q2', 'd1', 1]]
    >>> with TemporaryDirectory() as folder:
    ...     run.to_trec(f"{folder}/run.txt").read_text().splitlines()[0]
    'q1 Q0 d1 1 2.5 sage_nb'
    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> len(Run.begun(Applied(first), [Query("q7", "who?")], LocalEnvironment("mine")).results)
    1
    >>> Run.alone(Applied(first), Query("q8", "who?"), LocalEnvironment("mine")).hits[0].document.id
    'd1'
    >>> run.resume()
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: every question is answered; there is nothing to resume
    """

    def __init__(
        self, stage: Pipeline, queries: Sequence[Query], answers: Answers, job: Job, submit: Submit | None = None
    ) -> None:
        super().__init__(repr(stage), queries)
        self.stage = stage
        self.job = job
        self._answers, self._submit = answers, submit

    @classmethod
    def begun(cls, stage: Pipeline, queries: Sequence[Query], env: Environment, **how: Unpack[How]) -> Run:
        """Start a run with the settings of `env`, but for its folder; `how` is for each of the pipeline's operators."""
        answers = Answers()

        def submit(left: Sequence[Query]) -> Job:
            scratch = env.anew()
            asked = scratch.from_collection([Result(query) for query in left], name="questions")
            _answered(stage, asked, env, how).sink(answers, name="answers", parallelism=1)
            return scratch.submit()

        return cls(stage, queries, answers, submit(queries), submit)

    @classmethod
    def alone(cls, stage: Pipeline, query: Query, env: LocalEnvironment) -> Result:
        """The result of one question, by the operators of a run that fails where one of them does.

        A chain of them works in this thread: the threads of a job took 4 ms, more than many a question.
        """
        answers, alone = Answers(), env.anew()
        asked = alone.from_collection([Result(query)], name="questions", on_error="fail")
        _answered(stage, asked, env, {"on_error": "fail"}).sink(answers, name="answers", on_error="fail")
        if not alone.work_through():
            return cls(stage, [query], answers, alone.submit()).results[0]
        return answers.of(query)

    def resume(self) -> Run:
        """Go on with the questions that are not answered yet, where the run was stopped: itself, with a new `job`.

        Raises BadValueError where it works still, or has answered all of them.
        """
        left = [query for query in self.queries if self._answers.get(query.id) is None]
        if self.status in ("running", "restarting"):
            raise BadValueError(f"the run is {self.status}; there is nothing to resume before it is stopped")
        if not left:
            raise BadValueError("every question is answered; there is nothing to resume")
        if self._submit is None:
            raise BadValueError("the run shares its job with others and cannot go on alone; begin them all again")
        self.job = self._submit(left)
        return self

    @staticmethod
    def load(which: str) -> KeptRun:
        """A run of the past, by its id, or the newest of a name; see `%sage runs`.

        Raises UnknownNameError where there is none.

        >>> Run.load("no such run")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        sage_nb.errors.UnknownNameError: unknown run 'no such run'
        """
        return History.at_home().load(which)

    def __await__(self) -> Generator[Any, None, Run]:
        """As `results`, for other cells to run meanwhile; raises what made the run fail."""
        yield from self.job.__await__()
        return self

    @property
    def so_far(self) -> list[Result]:
        """The results there are."""
        found = (self._answers.get(query.id) for query in self.queries)
        return [result for result in found if result is not None]

    @property
    def results(self) -> list[Result]:
        """All results, once the run has ended.

        Raises what made the run fail. The stop button ends the run.
        """
        answered = list(self)
        self.job.wait()
        return answered

    @property
    def status(self) -> str:
        """running, restarting, finished, failed, cancelled or paused."""
        return self.job.status

    @property
    def stages(self) -> Mapping[str, StageCounts]:
        """What each stage has done: questions in, out, cached and computed, texts its model was given, seconds."""
        return stages_of(self.job.metrics())

    @property
    def seconds(self) -> float:
        """Wall-clock seconds from the start to the last answer so far."""
        return self._answers.last - self._answers.begun

    def answer(self, query: Query) -> Result:
        """Its result, as soon as it is there. The stop button ends the run."""
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


def _answered(stage: Pipeline, asked: Stream, env: Environment, how: How) -> Stream:
    """The pipeline's operators behind its questions; those of a cell, where `env` has one."""
    return asked.apply(stage, **how) if env.resource(Cell) is None else recalled(stage, asked, how)
