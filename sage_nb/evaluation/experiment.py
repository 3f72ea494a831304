"""Experiments: pipelines compared on judged questions, run as one graph, with what the differences are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from typing_extensions import Unpack

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.evaluation import report
from sage_nb.evaluation.measures import Qrels, evaluate, measure_called
from sage_nb.evaluation.significance import TESTS, bootstrap, holm
from sage_nb.records.values import Query
from sage_nb.retrieval.answered import Answered
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage, as_stage
from sage_nb.retrieval.together import Runner, together

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("nDCG@10", "R@100", "RR", "AP")
LEVEL = 0.05  # the greatest p at which a difference is marked

Values = Mapping[str, Mapping[str, float]]  # by measure, then by question


class Comparing(TypedDict, total=False):
    """The options of `experiment`."""

    measures: Sequence[str]
    baseline: str | None
    test: Literal["randomisation", "t"]
    correction: Literal["holm"] | None
    env: Runner | None


OPTIONS = frozenset(Comparing.__annotations__)


@dataclass(frozen=True)
class Comparison:
    """A pipeline against the baseline by one measure: mean difference, p, p as corrected, questions won and lost."""

    difference: float
    p: float
    corrected: float
    wins: int
    ties: int
    losses: int

    @property
    def mark(self) -> str:
        """▲ or ▼ where it is better or worse by more than chance, else nothing.

        >>> Comparison(-0.1, 0.01, 0.02, 3, 0, 17).mark
        '▼'
        """
        return ("▲" if self.difference > 0 else "▼") if self.corrected < LEVEL else ""


@dataclass(frozen=True, repr=False, kw_only=True)
class Experiment:
    """Pipelines compared; everything is by their names, then by measures (as ir-measures writes them).

    `values` are of each question, `intervals` those of 95 % confidence for the mean, `comparisons` are with the
    baseline, where there is one. `costs` of a question are the time that a pipeline's stages took for it, those that it
    shares included (NaN where a cache held some stage's results, so that its time is not known); model calls and pairs
    scored are of this run. `stages_asked` are all that the expressions name, of which `stages_run` differ.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> def found(result, names):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate(names, start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> def early(result):
    ...     return found(result, "abc")
    >>> def late(result):
    ...     return found(result, "cba")
    >>> seen = experiment({"early": early, "late": late}, ["who?"], {"q1": {"a": 1}}, measures=["RR"])
    >>> seen.names, round(seen.means["late"]["RR"], 3)
    (('early', 'late'), 0.333)
    >>> seen.to_pandas()["RR"].round(3).tolist(), "toprule" in seen.to_latex()
    ([1.0, 0.333], True)
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     sorted(path.name for path in seen.to_trec(folder).iterdir())
    ['early.run', 'late.run']
    """

    pipelines: Mapping[str, Stage]
    questions: Mapping[str, Query]
    qrels: Qrels
    measures: tuple[str, ...]
    values: Mapping[str, Values]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    costs: Mapping[str, Mapping[str, float]]
    runs: Mapping[str, Answered]
    baseline: str | None
    test: str
    correction: str | None
    stages_asked: int
    stages_run: int
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pipelines, in the order given."""
        return tuple(self.pipelines)

    @cached_property
    def means(self) -> Mapping[str, Mapping[str, float]]:
        """The mean of each measure over the questions that it judges."""
        return {name: {m: sum(v.values()) / len(v) for m, v in by.items()} for name, by in self.values.items()}

    def __str__(self) -> str:
        return report.text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return report.html(self)

    def to_pandas(self, *, by_question: bool = False) -> pd.DataFrame:
        """A row a pipeline, with means, intervals ("low", "high"), "p" as corrected and costs; or also a question."""
        return report.frame_by_question(self) if by_question else report.frame(self)

    def to_latex(self) -> str:
        """The table for a paper that uses booktabs: the best of each measure bold, significance marked."""
        return report.latex(self)

    def to_trec(self, folder: str | Path) -> Path:
        """Write each ranking as a TREC run, `NAME.run`; returns the folder."""
        return report.trec(self, Path(folder))


def experiment(pipelines: Mapping[str, Stage], queries: object, qrels: Qrels, **how: Unpack[Comparing]) -> Experiment:
    """Compare pipelines, given by name, on judged questions.

    All run as one graph: equal parts of their expressions, wherever they stand, are computed once. Questions without
    judgment are left out; one that a pipeline fails on counts 0 for it, and a remark says so.

    - `measures`: names of ir-measures; by default nDCG@10, R@100, RR, AP.
    - `baseline`: the name of the pipeline that the others are compared with; else nothing is tested.
    - `test`: "randomisation" (Fisher's, paired) or "t" (Student's, paired), on the values of the questions.
    - `correction`: "holm" over the pipelines compared, measure by measure; None for none.
    - `env`: the environment that they run in.

    Raises BadValueError where no question is judged or a measure is not known, UnknownNameError for another baseline,
    and what stops a pipeline.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> def found(result, names):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate(names, start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> def good(result):
    ...     return found(result, "abc")
    >>> def bad(result):
    ...     return found(result, "cba")
    >>> questions = {f"q{n}": "who?" for n in range(20)}
    >>> qrels = dict.fromkeys(questions, {"a": 1})
    >>> seen = experiment({"bad": bad, "good": good}, questions, qrels, measures=["RR", "P@1"], baseline="bad")
    >>> seen.means["good"], round(seen.means["bad"]["RR"], 4)
    ({'RR': 1.0, 'P@1': 1.0}, 0.3333)
    >>> seen.comparisons["good"]["RR"].wins, seen.comparisons["good"]["RR"].mark
    (20, '▲')
    """
    return Experiment(**conducted(pipelines, queries, qrels, how))


def conducted(pipelines: Mapping[str, Stage], queries: object, qrels: Qrels, how: Comparing) -> dict[str, Any]:
    """The fields of an Experiment, its runs made."""
    stages = stages_of(pipelines)
    plan = checked(stages, how)
    given = as_queries(queries)
    asked = judged(given, qrels)
    begun = together(stages, asked, how.get("env"))
    values = {name: evaluate(run.results, qrels, plan.measures).by_question for name, run in begun.runs.items()}
    return {
        "pipelines": stages,
        "questions": {query.id: query for query in asked},
        "qrels": {query.id: qrels[query.id] for query in asked},
        "measures": plan.measures,
        "values": values,
        "intervals": {name: intervals(each) for name, each in values.items()},
        "comparisons": compared(values, plan),
        "costs": {name: cost(run) for name, run in begun.runs.items()},
        "runs": begun.runs,
        "baseline": plan.baseline,
        "test": plan.test,
        "correction": plan.correction,
        "stages_asked": begun.stages_asked,
        "stages_run": begun.stages_run,
        "remarks": tuple(remarks(begun.runs, asked, qrels, len(given) - len(asked))),
    }


@dataclass(frozen=True)
class Plan:
    """The options of an experiment, checked."""

    measures: tuple[str, ...]
    baseline: str | None
    test: str
    correction: str | None


def checked(stages: Mapping[str, Stage], how: Comparing) -> Plan:
    """The options, those that are left out as they are by default."""
    if unknown := [name for name in how if name not in OPTIONS]:
        raise UnknownNameError.of("option of experiment()", unknown[0], OPTIONS)
    measures = tuple(how.get("measures", MEASURES))
    baseline, test, correction = how.get("baseline"), how.get("test", "randomisation"), how.get("correction", "holm")
    if isinstance(how.get("measures"), str) or not measures or len(set(measures)) < len(measures):
        raise BadValueError(f"measures= of experiment() is a list of different names, got {how.get('measures')!r}")
    for name in measures:
        measure_called(name)
    if baseline is not None and baseline not in stages:
        raise UnknownNameError.of("baseline", str(baseline), stages)
    if test not in TESTS:
        raise UnknownNameError.of("test", str(test), TESTS)
    if correction not in ("holm", None):
        raise UnknownNameError.of("correction", str(correction), ["holm", "None"])
    return Plan(measures, baseline, test, correction)


def stages_of(pipelines: object) -> dict[str, Stage]:
    """Pipelines by name, functions made stages."""
    if not isinstance(pipelines, Mapping) or not pipelines:
        raise BadValueError(
            f"an experiment takes pipelines by name, as in {{'bm25': book.lexical()}}, got {pipelines!r:.80}"
        )
    if wrong := [name for name in pipelines if not isinstance(name, str) or not name.strip()]:
        raise BadValueError(f"a pipeline's name is a text, got {wrong[0]!r}")
    return {name: as_stage(stage, f"the pipeline {name!r}") for name, stage in pipelines.items()}


def judged(queries: Sequence[Query], qrels: Qrels) -> list[Query]:
    """Those that have judgments."""
    found = [query for query in queries if qrels.get(query.id)]
    if not found:
        raise BadValueError(
            f"none of the {len(queries)} questions has a judgment in the qrels; check that their ids agree "
            f"(the first question is {queries[0].id!r}, the first judgment is of {next(iter(qrels), 'none')!r})"
        )
    return found


def intervals(values: Values) -> dict[str, tuple[float, float]]:
    """For the mean of each measure."""
    table = np.array([list(each.values()) for each in values.values()]).T
    return {measure: (float(low), float(high)) for measure, (low, high) in zip(values, bootstrap(table), strict=True)}


def compared(values: Mapping[str, Values], plan: Plan) -> dict[str, dict[str, Comparison]]:
    """Each pipeline with the baseline."""
    if plan.baseline is None:
        return {}
    before, others = values[plan.baseline], [name for name in values if name != plan.baseline]
    found: dict[str, dict[str, Comparison]] = {name: {} for name in others}
    for measure in plan.measures:
        base = before[measure]
        after = {name: [values[name][measure][question] for question in base] for name in others}
        ps = {name: TESTS[plan.test](list(base.values()), each) for name, each in after.items()}
        corrected = holm(ps) if plan.correction else ps
        for name, each in after.items():
            gains = np.round(np.array(each) - np.array(list(base.values())), 9)
            wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
            found[name][measure] = Comparison(
                float(gains.mean()), ps[name], corrected[name], wins, len(gains) - wins - losses, losses
            )
    return found


def cost(run: Run) -> dict[str, float]:
    """What a pipeline's own stages took and gave to models."""
    stages = run.stages.values()
    known = all(each["computed"] or not each["cached"] for each in stages)
    seconds = sum(each["took"] / each["computed"] for each in stages if each["computed"])
    return {
        "ms per question": 1000 * seconds if known else nan,
        "model calls": sum(each["model_calls"] for each in stages),
        "pairs scored": sum(each["pairs_scored"] for each in stages),
    }


def remarks(runs: Mapping[str, Run], asked: Sequence[Query], qrels: Qrels, left_out: int) -> Iterator[str]:
    """What a reader of the table should know: what failed, or was served without a part; what cannot be found."""
    if left_out:
        yield f"{left_out:,} questions without judgment were left out"
    if bare := [query.id for query in asked if not any(grade > 0 for grade in qrels[query.id].values())]:
        yield f"{len(bare)} questions, {bare[0]!r} the first, have no relevant document: most measures of them are 0"
    for name, run in runs.items():
        if failed := run.failed:
            yield f"{name}: {len(failed)} questions failed and count 0, the first: {failed[0].error}"
        if partial := [result for result in run.so_far if result.missing and not result.error]:
            yield f"{name}: {len(partial)} questions were served without {', '.join(partial[0].missing):.200}"
