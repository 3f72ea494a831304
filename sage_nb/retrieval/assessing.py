"""What models say of answers: whether their passages support them, and whether they say what a reference does."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import numpy as np

from sage_nb.errors import GeneratorError
from sage_nb.index.dense import Vectors
from sage_nb.models.generator import Conversation, Generator, as_generator
from sage_nb.records.values import Result
from sage_nb.retrieval.answer import NOTHING, Reply
from sage_nb.retrieval.citations import Attribution, Checking, Draft
from sage_nb.retrieval.identity import digest_of
from sage_nb.retrieval.llm_rerank import BEST, grade_of
from sage_nb.retrieval.prompt import prompt
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.scores import PairScores
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.context import OwnMetrics
from sage_nb.runtime.environment import Environment
from sage_nb.stream.fingerprint import fingerprint

Judge = Generator | str  # who grades, or its name
READ = 10  # hits that an answer is held against, where it is not known how many were read for it


def attributions(pipeline: Stage, results: Sequence[Result]) -> list[Attribution]:
    """How the answers of a pipeline stand to the hits that were read for them.

    The measure is that of `retrieval.citations.Checking`, by the bundled encoder. An answer that only says that there
    is none, or is none, claims and cites nothing.
    """
    read = next((step.k for step in reversed(pipeline.steps) if isinstance(step, Reply)), READ)
    drafts = [(_draft(result, read), result.hits[:read]) for result in results]
    return Checking(_encoded).attribute(drafts)


def grades(
    asked: Sequence[tuple[str, str, str]], judge: Judge, env: Environment | None = None
) -> list[float | GeneratorError]:
    r"""The grade of each (question, reference, answer) by a generator, from 0 to 1; or why there is none.

    Grades are kept in the cache of `env`'s cell, if it has one, by generator, prompt, and all three texts.

    >>> from sage_nb.models.generator import generator
    >>> @generator("strict")
    ... def strict(conversation):
    ...     return "3" if "Answer:\nin 1905" in conversation[-1].content else "1"
    >>> grades([("When?", "1905", "in 1905"), ("When?", "1905", "long ago")], "strict")
    [1.0, 0.3333333333333333]
    """
    told = prompt("judge").checked("question", "reference", "answer")
    generator = as_generator(judge)
    conversations: dict[str, Conversation] = {}
    for question, reference, answer in asked:
        key = fingerprint((question, reference, answer))
        conversations[key] = told.filled(question=question, reference=reference, answer=answer)
    why: dict[str, GeneratorError] = {}

    def graded(pairs: Sequence[tuple[str, str]]) -> list[float]:
        writer = generator.opened()
        try:
            written = writer.attempts([conversations[key] for key, _ in pairs])
        finally:
            writer.close()
        return [_grade(key, each, why) for (key, _), each in zip(pairs, written, strict=True)]

    cell, model = env.resource(Cell) if env else None, digest_of(generator)
    pairs = [(fingerprint(each), "") for each in asked]
    different = list(dict.fromkeys(pairs))
    if cell and model:
        known = PairScores(cell, fingerprint((model, told.text)), f"judge {generator.name}", OwnMetrics())
        found = known.scored(different, graded)
    else:
        found = graded(different)
    by = {key: score for (key, _), score in zip(different, found, strict=True)}
    return [why[key] if isnan(by[key]) else by[key] / BEST for key, _ in pairs]


def _grade(key: str, written: str | GeneratorError, why: dict[str, GeneratorError]) -> float:
    if isinstance(written, GeneratorError):
        why[key] = written
        return float("nan")
    grade = grade_of(written)
    if isnan(grade):
        why[key] = GeneratorError(f"the judge wrote {written[:60]!r}, which is no grade from 0 to 3")
    return grade


def _draft(result: Result, read: int) -> Draft:
    """What is said in an answer; nothing, where it says that there is nothing to say."""
    text = result.answer.text if result.answer else ""
    draft = Draft.of(text, min(read, len(result.hits)))
    if draft.declines or text.startswith(NOTHING):
        return Draft(text, ())
    return Draft(text, draft.claims, (*draft.invented, *(0,) * text.count("[?]")))


def _encoded(texts: Sequence[str]) -> Vectors:
    return np.asarray(MODELS.encoder().encode(texts), np.float32)
