"""Measures of a ranking against judgments, by ir-measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sage_nb.errors import BadValueError
from sage_nb.records.values import Result

MEASURES = ("nDCG@10", "R@100", "RR")
Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Scores:
    """`mean` of each measure over the judged questions, and its value for each question."""

    mean: Mapping[str, float]
    by_question: Mapping[str, Mapping[str, float]]


def evaluate(results: Iterable[Result], qrels: Qrels, measures: Sequence[str] = MEASURES) -> Scores:
    """Score results against judgments; measures by ir-measures' names ("nDCG@10", "R@100", "RR", "AP").

    Questions without a judgment do not count; judged ones without a result count 0.

    >>> from sage_nb.records.values import Document, Hit, Query
    >>> found = Result(Query("q", "x"), (Hit(Document("b", ""), 1, 2.0), Hit(Document("a", ""), 2, 1.0)))
    >>> evaluate([found], {"q": {"a": 1}}, ["RR"]).mean
    {'RR': 0.5}
    """
    return measured(
        {result.query.id: falling([hit.document.id for hit in result]) for result in results}, qrels, measures
    )


def measured(run: Mapping[str, Mapping[str, float]], qrels: Qrels, measures: Sequence[str]) -> Scores:
    """As `evaluate`, for rankings given as scores of documents, by question."""
    import ir_measures

    wanted = {name: measure_called(name) for name in measures}
    judged = {question: _grades(qrels[question]) for question in run if question in qrels}
    if not judged:
        raise BadValueError("none of these questions has a judgment in the qrels; check that their ids agree")
    values = ir_measures.iter_calc(list(wanted.values()), judged, {question: run[question] for question in judged})
    names = {measure: name for name, measure in wanted.items()}
    table: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in measures}
    for metric in values:
        table[names[metric.measure]][metric.query_id] = metric.value
    means = {name: sum(each.values()) / len(judged) for name, each in table.items()}
    return Scores(means, table)


def falling(documents: Sequence[str]) -> dict[str, float]:
    """Scores that fall with the rank, so that ties are read in the order given; a document's best place counts.

    >>> falling(["b", "a", "b"])
    {'b': 3.0, 'a': 2.0}
    """
    scores: dict[str, float] = {}
    for place, name in enumerate(documents):
        scores.setdefault(name, float(len(documents) - place))
    return scores


def _grades(given: Mapping[str, int]) -> dict[str, int]:
    """Grades as ir-measures takes them; whole numbers of other types (a float, numpy's) are whole numbers."""
    if wrong := [name for name, grade in given.items() if grade != int(grade)]:
        raise BadValueError(f"the grade of {wrong[0]!r} must be a whole number, got {given[wrong[0]]!r}; round it")
    return {name: int(grade) for name, grade in given.items()}


def measure_called(name: str) -> object:
    """ir-measures' own measure of that name.

    Raises BadValueError where there is none; where trec_eval has it, that says what it is called here.

    >>> measure_called("nDCG@10")
    nDCG@10
    >>> measure_called("ndcg_cut_10")
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: unknown measure 'ndcg_cut_10'; its name here is nDCG@10
    """
    import ir_measures

    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as unknown:
        known = _of_trec_eval(name)
        mend = f"its name here is {known}" if known else "name one of ir-measures', such as nDCG@10, R@100, RR, AP"
        raise BadValueError(f"unknown measure {name!r}; {mend}") from unknown


def _of_trec_eval(name: str) -> str:
    """What a measure is called here whose name is trec_eval's; "" where it is nobody's."""
    import ir_measures

    try:
        return ", ".join(map(str, ir_measures.parse_trec_measure(name)))
    except ValueError:
        return ""
