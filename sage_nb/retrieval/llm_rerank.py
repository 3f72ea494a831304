"""Rerank by a generator: each passage by itself is graded for the question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan, nan
from statistics import fmean
from typing import Any

import msgspec

from sage_nb.errors import GeneratorError
from sage_nb.models.generator import Conversation, Generator, as_generator
from sage_nb.records.markup import shortened
from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k, check_whole
from sage_nb.retrieval.prompt import prompt as prompt_called
from sage_nb.retrieval.ranking import Retrieving, behind, placed
from sage_nb.retrieval.recall import given
from sage_nb.retrieval.rerank import RERANKED
from sage_nb.retrieval.scores import PAIRS, Pair, PairScores
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.runtime.cellcache.code import Unknown
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Context, MapFunction

BEST = 3.0
_ASIDE = re.compile(r"<think>.*?(?:</think>|\Z)|(?:/|\bout of)\s*3\b", re.DOTALL)  # thoughts, and "2 out of 3"
_NAMED = re.compile(r"(?:grade|score|relevance)\W{0,4}(?:is\W{1,3})?([0-3])(?!\w|[.,]\d|[\u2013-]\d)", re.IGNORECASE)
_ALONE = re.compile(r"(?<![\w.,\u2013-])([0-3])(?!\w|[.,]\d|[\u2013-]\d)")
_WORD = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@stage("llm_rerank")
@dataclass(frozen=True, repr=False)
class LlmRerank(Operation):
    """The best `k` of a ranking by the grades of a generator, which is shown the first `top` of it."""

    generator: Generator
    k: int = 10
    top: int | None = None
    prompt: str = "llm_rerank"

    def __post_init__(self) -> None:
        check_k(self.k, "llm_rerank()")
        if self.top is not None:
            check_whole(self.top, "top= of llm_rerank(), hits,")
        prompt_called(self.prompt).checked("question", "passage")

    def __repr__(self) -> str:
        top = "" if self.top is None else f", top={self.top}"
        own = "" if self.prompt == "llm_rerank" else f", prompt={self.prompt!r}"
        return f"llm_rerank({self.generator!r}, k={self.k}{top}{own})"

    @property
    def needs(self) -> Kind:
        """A ranking to reorder."""
        return "ranking"

    @property
    def floor(self) -> float | None:
        """The least grade."""
        return 0.0 if self.top is None else None

    @property
    def runs_model(self) -> bool:
        """The generator's, where that is here."""
        return True

    @property
    def batch(self) -> tuple[int, float]:
        """A few questions: each has many passages to ask about."""
        return RERANKED

    def beside(self) -> Mapping[str, Any]:
        """The words of its prompt."""
        return {"words": prompt_called(self.prompt).text}

    def function(self) -> Retrieving:
        """A `Grading`."""
        return Grading(self)


class Grading(MapFunction[Result, Result]):
    """The running half of `LlmRerank`."""

    def __init__(self, stage: LlmRerank) -> None:
        self.stage, self._prompt = stage, prompt_called(stage.prompt)
        told = stage.identity()
        parts = None if isinstance(told, Unknown) else (told.parts["generator"], told.parts["words"])
        self._grader = fingerprint(parts) if parts else ""

    def open(self, context: Context, /) -> None:
        """Open the generator; raises GeneratorError, or MissingExtraError, where that cannot be done."""
        self._writer = self.stage.generator.opened()
        self._metrics = context.metrics
        cell = given(context)
        grades = PairScores(cell, self._grader, repr(self.stage), context.metrics) if cell and self._grader else None
        self._known = grades

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """The generator is asked for all pairs of the batch at once, as far as a cache does not hold their grades."""
        asked = [[(r.query.text, passage_of(hit)) for hit in r.hits[: self.stage.top]] for r in batch]
        pairs = list(dict.fromkeys(pair for each in asked for pair in each))
        reasons: dict[Pair, str] = {}
        grade = partial(self._grades, reasons)
        grades = dict(zip(pairs, self._known.scored(pairs, grade) if self._known else grade(pairs), strict=True))
        return [
            self._reranked(result, [grades[pair] for pair in own], [reasons[pair] for pair in own if pair in reasons])
            for result, own in zip(batch, asked, strict=True)
        ]

    def close(self) -> None:
        """Close the generator."""
        self._writer.close()

    def _grades(self, reasons: dict[Pair, str], pairs: Sequence[Pair]) -> list[float]:
        """A grade for each pair; NaN where there is none, and then why."""
        told: list[Conversation] = [self._prompt.filled(question=asked, passage=passage) for asked, passage in pairs]
        self._metrics.count(PAIRS, len(told))
        with self._metrics.model_time(len(told)):
            written = self._writer.attempts(told) if told else []
        grades = [nan if isinstance(each, GeneratorError) else grade_of(each) for each in written]
        for pair, each, grade in zip(pairs, written, grades, strict=True):
            if isnan(grade):
                reasons[pair] = str(each) if isinstance(each, GeneratorError) else f"it wrote {shortened(each, 60)!r}"
        return grades

    def _reranked(self, result: Result, grades: Sequence[float], reasons: Sequence[str]) -> Result:
        """The hits by their grades, those without one as of the mean; as they were, where there is none at all."""
        if reasons:
            said = f"llm_rerank: no grade for {len(reasons)} of {len(grades)} passages, the first: {reasons[0]}"
            result = msgspec.structs.replace(result, missing=(*result.missing, said))
        read = [grade for grade in grades if not isnan(grade)]
        if not read:
            return result.top(self.stage.k)
        graded = [fmean(read) if isnan(grade) else grade for grade in grades]
        order = sorted(zip(result.hits, graded, strict=False), key=lambda pair: -pair[1])
        made = placed(result, "llm_rerank", order)
        if len(grades) < len(result.hits):
            made = behind(made, result.hits[len(grades) :], result.hits[len(grades) - 1])
        return made.top(self.stage.k)


def llm_rerank(generator: Generator | str, k: int = 10, *, top: int | None = None, prompt: str = "llm_rerank") -> Stage:
    """The best `k` of a ranking by a generator, which grades each passage for the question, 0 to 3.

    A passage at a time, so that a grade depends on no other: Zhuang et al., "Beyond Yes and No: Improving Zero-Shot LLM
    Rankers via Scoring Fine-Grained Relevance Labels", NAACL 2024; the grades are those of TREC's judges, as in Thomas
    et al., "Large Language Models Can Accurately Predict Searcher Preferences", SIGIR 2024. Equal grades stay in their
    order. It costs a call a passage: `top=20` asks for the first 20 only and leaves the others behind them. Grades are
    kept by generator, prompt, question and passage.

    A passage whose grade cannot be had or read counts as the mean of the question's others; where none can, the order
    stays as it was. The result names that in `missing`, and is asked again next time. `prompt` is the name of another
    one, or a file, with the places $question and $passage, that asks for such grades or for yes or no.

    >>> from sage_nb.models.generator import generator
    >>> from sage_nb.records.values import Document, Query
    >>> from sage_nb.retrieval.stage import Applied
    >>> @generator("likes bees")
    ... def judge(conversation):
    ...     return "3" if "bees" in conversation[-1].content else "0"
    >>> def found(result):
    ...     hits = [Hit(Document(text, text), rank, 1 / rank) for rank, text in enumerate(["ants", "bees"], start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> [(hit.document.id, hit.score) for hit in (Applied(found) >> llm_rerank("likes bees")).search("who hums?")]
    [('bees', 3.0), ('ants', 0.0)]
    """
    return LlmRerank(as_generator(generator), k, top, prompt)


def grade_of(text: str) -> float:
    """The grade that a generator wrote, 0 to 3, yes for 3 and no for 0; NaN where none, or not one, can be read.

    >>> [grade_of(each) for each in ("2", "Grade: 3.", "<think>0? 1?</think>**1**", "Yes, it does", "2 out of 3")]
    [2.0, 3.0, 1.0, 3.0, 2.0]
    >>> [grade_of(each) for each in ("I cannot say", "between 1 and 2", "7", "2.5", "")]
    [nan, nan, nan, nan, nan]
    """
    said = _ASIDE.sub("", text)
    found = set(_NAMED.findall(said)) or set(_ALONE.findall(said))
    if len(found) == 1:
        return float(found.pop())
    word = _WORD.match(said)
    if word and not found:
        return BEST if word[1].lower() == "yes" else 0.0
    return nan


def passage_of(hit: Hit) -> str:
    """What is judged: title, and what is kept of the text."""
    return f"{hit.document.title}\n{hit.text}".strip()
