"""Measures of answers: against reference answers, against the passages they cite, by a judge."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sage_nb.errors import BadValueError
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.assessing import Judge, attributions, grades
from sage_nb.retrieval.citations import Attribution
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.together import Runner

References = Mapping[str, tuple[str, ...]]

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_CITED = re.compile(r"\[(?:\d{1,3}|\?)\]")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_of(text: str) -> list[str]:
    """The words that two answers are compared by: lower case, without punctuation, articles and citation marks.

    As SQuAD's evaluation does it (Rajpurkar et al., EMNLP 2016). English.

    >>> words_of("The Eiffel-Tower [1].")
    ['eiffeltower']
    """
    return _ARTICLE.sub(" ", _CITED.sub(" ", text.lower()).translate(_PUNCTUATION)).split()


def exact(answer: str, references: Sequence[str]) -> float:
    """1 where the words are those of one of the references, else 0.

    >>> exact("In Paris.", ["Paris", "in Paris"]), exact("Paris, France", ["Paris"])
    (1.0, 0.0)
    """
    return float(any(words_of(answer) == words_of(each) for each in references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The harmonic mean of the share of an answer's words that the reference has, and the other way round; of the best.

    >>> round(token_f1("the tower in Paris", ["Paris", "a tower of Paris"]), 4)
    0.6667
    """
    return max(_f1(Counter(words_of(answer)), Counter(words_of(each))) for each in references)


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total())


def citation_precision(of: Attribution) -> float:
    """The share of citations that say something for their claims; 0 where there are none."""
    return of.supporting / of.citations if of.citations else 0.0


def citation_recall(of: Attribution) -> float:
    """The share of claims that what they cite supports; 0 where nothing is claimed."""
    return of.attributed / of.claims if of.claims else 0.0


def faithfulness(of: Attribution) -> float:
    """The share of claims that some passage supports; 1 where nothing is claimed, for then nothing is made up."""
    return of.faithful / of.claims if of.claims else 1.0


BY_REFERENCES: dict[str, Callable[[str, Sequence[str]], float]] = {"EM": exact, "TokenF1": token_f1}
BY_PASSAGES: dict[str, Callable[[Attribution], float]] = {
    "CitationPrecision": citation_precision,
    "CitationRecall": citation_recall,
    "Faithfulness": faithfulness,
}
JUDGE = "Judge"
ANSWER_MEASURES = (*BY_REFERENCES, *BY_PASSAGES, JUDGE)
WANT_REFERENCES = (*BY_REFERENCES, JUDGE)


def as_references(given: object) -> dict[str, tuple[str, ...]]:
    """Reference answers by question: a text, or several that are as good.

    >>> as_references({"q1": "Paris", "q2": ["1905", "in 1905"]})
    {'q1': ('Paris',), 'q2': ('1905', 'in 1905')}
    """
    if not isinstance(given, Mapping):
        raise BadValueError(f"answers= of experiment() are texts by the question's id, got {given!r:.80}")
    found = {}
    for name, each in given.items():
        texts = (each,) if isinstance(each, str) else tuple(each) if isinstance(each, Sequence) else ()
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise BadValueError(f"the answer of question {name!r} is a text or a list of texts, got {each!r:.80}")
        found[str(name)] = texts
    return found


@dataclass(frozen=True)
class Assessor:
    """Measures answers; `references` are by question, `judge` is a generator that grades, in the settings of `env`."""

    measures: tuple[str, ...]
    references: References
    judge: Judge | None = None
    env: Runner | None = None

    def values(self, pipeline: Stage, results: Sequence[Result]) -> tuple[dict[str, dict[str, float]], list[str]]:
        """By measure and question, an answer that is not there as 0; and what a reader should know.

        Where a measure wants references, only the questions that have some count.
        """
        said = {each.query.id: each.answer.text for each in results if each.answer is not None}
        told = [each.query for each in results if each.query.id in self.references]
        values: dict[str, dict[str, float]] = {}
        remarks = [] if said or not self.measures else ["no answers: it does not end in answer()"]
        if BY_PASSAGES.keys() & set(self.measures):
            found = zip(results, attributions(pipeline, results), strict=True)
            held = {result.query.id: attribution for result, attribution in found}
        for name in self.measures:
            if name in BY_REFERENCES:
                score = BY_REFERENCES[name]
                values[name] = {q.id: score(said[q.id], self.references[q.id]) if q.id in said else 0.0 for q in told}
            elif name in BY_PASSAGES:
                share = BY_PASSAGES[name]
                values[name] = {each: share(held[each]) if each in said else 0.0 for each in held}
            else:
                values[name], ungraded = self._judged(told, said)
                remarks += ungraded
        return values, remarks

    def _judged(self, told: Sequence[Query], said: Mapping[str, str]) -> tuple[dict[str, float], list[str]]:
        asked = {q.id: (q.text, "\n".join(self.references[q.id]), said[q.id]) for q in told if q.id in said}
        found = dict(zip(asked, grades(list(asked.values()), self.judge or "", self.env), strict=True))
        lost = [each for each in found.values() if not isinstance(each, float)]
        values = {q.id: grade if isinstance(grade := found.get(q.id), float) else 0.0 for q in told}
        return values, [f"{len(lost)} answers have no grade and count 0, the first: {lost[0]}"] if lost else []
