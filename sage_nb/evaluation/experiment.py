"""Experiments: pipelines compared on judged questions, run as one graph, with what the differences are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from sage_nb.evaluation import report
from sage_nb.evaluation.comparison import Comparison, Values, compared, intervals
from sage_nb.evaluation.measures import Qrels, evaluate
from sage_nb.evaluation.plan import Comparing, Plan, planned, stages_of
from sage_nb.records.values import Query
from sage_nb.retrieval.answered import Answered
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.together import Together, together

if TYPE_CHECKING:
    import pandas as pd


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


def experiment(
    pipelines: Mapping[str, Stage], queries: object, qrels: Qrels | None = None, **how: Unpack[Comparing]
) -> Experiment:
    """Compare pipelines, given by name, on judged questions.

    All run as one graph: equal parts of their expressions, wherever they stand, are computed once. Questions without
    judgment are left out; one that a pipeline fails on counts 0 for it, and a remark says so.

    - `measures`: of rankings, by ir-measures' names (default: nDCG@10, R@100, RR, AP); of answers, EM and TokenF1
      (against `answers`, as in SQuAD: Rajpurkar et al., EMNLP 2016; the default where these are given), CitationRecall
      (the share of an answer's claims that what they cite supports) and CitationPrecision (the share of citations that
      say something for their claim; both as in ALCE: Gao et al., EMNLP 2023), Faithfulness (the share of claims that
      some passage supports which was read). Support is measured as by `retrieval.citations.Checking`. Judge is below.
    - `baseline`: the name of the pipeline that the others are compared with; else nothing is tested.
    - `test`: "randomisation" (Fisher's, paired) or "t" (Student's, paired), on the values of the questions.
    - `correction`: "holm" over the pipelines compared, measure by measure; None for none.
    - `answers`: reference answers by question, a text or several that are as good.
    - `judge`: a generator that grades answers against them by the prompt "judge", 0 to 1, for the measure Judge.
    - `env`: the environment that they run in.
    - `cell`: a name. What stages give is then looked for in the cache of `%%sage` cells, and kept there under it: run
      again, or with one pipeline more, an experiment computes only what is new.

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


def conducted(pipelines: Mapping[str, Stage], queries: object, qrels: Qrels | None, how: Comparing) -> dict[str, Any]:
    """The fields of an Experiment, its runs made."""
    return Begun.of(pipelines, queries, qrels, how).fields()


@dataclass(frozen=True)
class Begun:
    """An experiment whose runs are under way; `left_out` questions are judged by nothing."""

    stages: Mapping[str, Stage]
    plan: Plan
    asked: Sequence[Query]
    left_out: int
    together: Together
    cell: Cell | None = None

    @classmethod
    def of(cls, pipelines: Mapping[str, Stage], queries: object, qrels: Qrels | None, how: Comparing) -> Begun:
        """Checked, and begun."""
        stages = stages_of(pipelines)
        plan, given = planned(stages, qrels, how), as_queries(queries)
        asked, cell = plan.judged(given), Cell.at_home(plan.cell) if plan.cell else None
        return cls(stages, plan, asked, len(given) - len(asked), together(stages, asked, plan.assessor.env, cell), cell)

    def finished(self) -> Experiment:
        """The experiment, once all runs have ended; raises what made one fail."""
        return Experiment(**self.fields())

    def fields(self) -> dict[str, Any]:
        """Those of an Experiment."""
        plan, runs = self.plan, self.together.runs
        values, said = {}, [*_odd(self)]
        for name, run in runs.items():
            values[name], remarks = _measured(plan, self.stages[name], run)
            said += [f"{name}: {each}" for each in (*_troubles(run), *remarks)]
        said += _recalled(runs)
        if self.cell is not None:
            said += self.cell.cache.notes
            self.cell.cache.close()
        return {
            "pipelines": self.stages,
            "questions": {query.id: query for query in self.asked},
            "qrels": {query.id: plan.qrels.get(query.id, {}) for query in self.asked},
            "measures": plan.measures,
            "values": values,
            "intervals": intervals(values),
            "comparisons": compared(values, plan.baseline, plan.test, plan.correction),
            "costs": {name: _cost(run) for name, run in runs.items()},
            "runs": runs,
            "baseline": plan.baseline,
            "test": plan.test,
            "correction": plan.correction,
            "stages_asked": self.together.stages_asked,
            "stages_run": self.together.stages_run,
            "remarks": tuple(said),
        }


def _measured(plan: Plan, stage: Stage, run: Run) -> tuple[dict[str, Mapping[str, float]], list[str]]:
    """A pipeline's values in the order of the measures, and what a reader should know of them."""
    results = run.results
    of_rankings = evaluate(results, plan.qrels, plan.rankings).by_question if plan.rankings else {}
    of_answers, remarks = plan.assessor.values(stage, results)
    both = {**of_rankings, **of_answers}
    return {name: both[name] for name in plan.measures}, remarks


def _cost(run: Run) -> dict[str, float]:
    """What a pipeline's own stages took and gave to models."""
    stages = run.stages.values()
    known = bool(stages) and all(each["computed"] or not each["cached"] for each in stages)
    seconds = sum(each["took"] / each["computed"] for each in stages if each["computed"])
    return {
        "ms per question": 1000 * seconds if known else nan,
        "model calls": sum(each["model_calls"] for each in stages),
        "pairs scored": sum(each["pairs_scored"] for each in stages),
    }


def _odd(begun: Begun) -> Iterator[str]:
    """Of the questions those that nothing judges, and those that cannot be answered."""
    if begun.left_out:
        yield f"{begun.left_out:,} questions without judgment were left out"
    judged = begun.plan.qrels if begun.plan.rankings else {}
    grades = {query.id: judged.get(query.id, {}).values() for query in begun.asked}
    if bare := [name for name, each in grades.items() if each and not any(grade > 0 for grade in each)]:
        yield f"{len(bare)} questions, {bare[0]!r} the first, have no relevant document: most measures of them are 0"


def _recalled(runs: Mapping[str, Run]) -> Iterator[str]:
    """How much a cache has spared, which costs do not count."""
    held = sum(not run.stages for run in runs.values())
    stages = {name: each for run in runs.values() for name, each in run.stages.items()}
    spared = sum(bool(each["cached"] or each["items_known"]) for each in stages.values())
    found = [f"{held} of {len(runs)} pipelines"] * (held > 0) + [f"{spared} of {len(stages)} stages"] * (spared > 0)
    if found:
        had = f"{' and '.join(found)} had results from the cache"
        yield f"{had}: model calls and pairs scored are those of this run alone"


def _troubles(run: Run) -> Iterator[str]:
    """Questions that failed, or were served without a part."""
    if failed := run.failed:
        yield f"{len(failed)} questions failed and count 0, the first: {failed[0].error}"
    if partial := [result for result in run.so_far if result.missing and not result.error]:
        yield f"{len(partial)} questions were served without {', '.join(partial[0].missing):.200}"
