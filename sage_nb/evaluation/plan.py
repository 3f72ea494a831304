"""What an experiment is asked to do, read and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.evaluation.answers import ANSWER_MEASURES, BY_REFERENCES, JUDGE, WANT_REFERENCES, Assessor, as_references
from sage_nb.evaluation.measures import Qrels, measure_called
from sage_nb.evaluation.significance import TESTS
from sage_nb.records.values import Query
from sage_nb.retrieval.assessing import Judge
from sage_nb.retrieval.stage import Stage, as_stage
from sage_nb.retrieval.together import Runner

MEASURES = ("nDCG@10", "R@100", "RR", "AP")


class Comparing(TypedDict, total=False):
    """The options of `experiment`."""

    measures: Sequence[str]
    baseline: str | None
    test: Literal["randomisation", "t"]
    correction: Literal["holm"] | None
    answers: Mapping[str, str | Sequence[str]]
    judge: Judge | None
    env: Runner | None
    cell: str | None


OPTIONS = frozenset(Comparing.__annotations__)


@dataclass(frozen=True)
class Plan:
    """The options of an experiment, those that are left out as they are by default; `qrels` are for `rankings`."""

    measures: tuple[str, ...]
    baseline: str | None
    test: str
    correction: str | None
    qrels: Qrels
    assessor: Assessor
    cell: str | None

    @property
    def rankings(self) -> list[str]:
        """The measures of rankings: ir-measures'."""
        return [name for name in self.measures if name not in ANSWER_MEASURES]

    def counts(self, query: Query) -> bool:
        """Whether some measure judges the question."""
        wanted = set(self.assessor.measures)
        return (
            bool(self.rankings and self.qrels.get(query.id))
            or bool(wanted - set(WANT_REFERENCES))
            or bool(wanted and query.id in self.assessor.references)
        )

    def judged(self, queries: Sequence[Query]) -> list[Query]:
        """The questions that count; each measure that wants to be told what is right must be told of one at least."""
        for what, known, wanted in self._keys():
            if wanted and not any(known.get(query.id) for query in queries):
                raise BadValueError(
                    f"none of the {len(queries)} questions has {what}, which {wanted[0]} wants; check that their ids "
                    f"agree (the first question is {queries[0].id!r}, the first there {next(iter(known), 'none')!r})"
                )
        return [query for query in queries if self.counts(query)]

    def _keys(self) -> Iterator[tuple[str, Mapping[str, object], Sequence[str]]]:
        yield "a judgment in the qrels", self.qrels, self.rankings
        asked = [name for name in self.assessor.measures if name in WANT_REFERENCES]
        yield "a reference in answers=", self.assessor.references, asked


def planned(stages: Mapping[str, Stage], qrels: Qrels | None, how: Comparing) -> Plan:
    """The options checked.

    Raises BadValueError or UnknownNameError, with what would have been right.
    """
    if unknown := [name for name in how if name not in OPTIONS]:
        raise UnknownNameError.of("option of experiment()", unknown[0], OPTIONS)
    references, judgments = as_references(how.get("answers", {})), _judgments(qrels)
    default = [*(MEASURES if judgments or not references else ()), *(BY_REFERENCES if references else ())]
    measures = _measures(how.get("measures", default))
    baseline, test, correction = how.get("baseline"), how.get("test", "randomisation"), how.get("correction", "holm")
    if baseline is not None and baseline not in stages:
        raise UnknownNameError.of("baseline", str(baseline), stages)
    if test not in TESTS:
        raise UnknownNameError.of("test", str(test), TESTS)
    if correction not in ("holm", None):
        raise UnknownNameError.of("correction", str(correction), ["holm", "None"])
    if (JUDGE in measures) != (how.get("judge") is not None):
        raise BadValueError('the measure "Judge" and judge=, a generator that grades answers, go together; give both')
    own = tuple(name for name in measures if name in ANSWER_MEASURES)
    if not isinstance(cell := how.get("cell"), str | None) or cell == "":
        raise BadValueError(f"cell= of experiment() is a name to keep results under, a text, got {cell!r:.80}")
    assessor = Assessor(own, references, how.get("judge"), how.get("env"))
    return Plan(measures, baseline, test, correction, judgments, assessor, cell)


def _judgments(given: object) -> Qrels:
    if not isinstance(given, Mapping | None):
        raise BadValueError(
            f"qrels are grades by document by question, as in {{'q1': {{'d1': 1}}}}, got {type(given).__name__}; "
            "read_qrels(path) reads a file, {q: dict(zip(of.docno, of.label)) for q, of in df.groupby('qid')} a frame"
        )
    return given or {}


def _measures(given: Sequence[str]) -> tuple[str, ...]:
    names = () if isinstance(given, str) else tuple(given)
    if not names or len(set(names)) < len(names):
        raise BadValueError(f"measures= of experiment() is a list of different names, got {given!r:.80}")
    for name in names:
        if name not in ANSWER_MEASURES:
            _check(name)
    return names


def _check(name: str) -> None:
    try:
        measure_called(name)
    except BadValueError as error:
        raise BadValueError(f"{error}; or one of answers: {', '.join(ANSWER_MEASURES)}") from error


def stages_of(pipelines: object) -> dict[str, Stage]:
    """Pipelines by name, functions made stages."""
    if not isinstance(pipelines, Mapping) or not pipelines:
        raise BadValueError(
            f"an experiment takes pipelines by name, as in {{'bm25': book.lexical()}}, got {pipelines!r:.80}"
        )
    if wrong := [name for name in pipelines if not isinstance(name, str) or not name.strip()]:
        raise BadValueError(f"a pipeline's name is a text, got {wrong[0]!r}")
    return {name: as_stage(stage, f"the pipeline {name!r}") for name, stage in pipelines.items()}
