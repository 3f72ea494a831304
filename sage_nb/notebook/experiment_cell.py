"""The `%%sage_experiment` cell without IPython: its pipelines, its options, what it shows while it runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage_nb.errors import BadValueError, SageError
from sage_nb.evaluation.experiment import Begun, Experiment
from sage_nb.notebook.cell import CellError, Namespace, evaluate, questions_of, vocabulary
from sage_nb.notebook.continuation import join_lines
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import Session
from sage_nb.records import markup
from sage_nb.records.beir import read_beir
from sage_nb.records.columns import text_table
from sage_nb.records.trec import read_qrels
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.job import Job

HEADER = ("pipeline", "answered", "of", "failed")
NONE = "the %%sage_experiment cell gives no pipelines; write one a line, as in bm25 = book.lexical(k=100)"


@dataclass(frozen=True)
class ExperimentOptions:
    """The options of a `%%sage_experiment` cell; `run` are those that it has in common with `%%sage`."""

    run: CellOptions
    qrels: str | None = None
    answers: str | None = None
    measures: str | None = None
    baseline: str | None = None
    test: str = "randomisation"
    correction: str = "holm"
    judge: str | None = None

    def __post_init__(self) -> None:
        if self.run.on is None:
            raise BadValueError("%%sage_experiment needs questions: name them with --on")


def variants_of(source: str, namespace: Namespace) -> dict[str, Stage]:
    r"""The cell's pipelines: those that its lines give names to, in their order, or the dict that it ends with.

    A name that begins with _ is none of them: it is a part of others.

    >>> from sage_nb.retrieval.stage import Applied
    >>> list(variants_of("_first = found\nten = _first % 10\nfive = ten\n>> min_score(1)", {"found": Applied(len)}))
    ['ten', 'five']
    """
    named = _named(source)
    listed = "" if named is None else f"\n{{{', '.join(f'{name!r}: {name}' for name in named)}}}"
    found = evaluate(source + listed, namespace, vocabulary())
    if not isinstance(found, Mapping):
        what = type(found).__name__
        raise CellError(f"the %%sage_experiment cell ends with a {what}; end it with a dict, or give each line a name")
    pipelines = {name: each for name, each in found.items() if named is None or isinstance(each, Stage)}
    if not pipelines:
        raise CellError(NONE)
    return pipelines


def _named(source: str) -> list[str] | None:
    """The names that lines of the cell, not of blocks in it, give to something; None where it ends with an expression.

    And where it is not Python: whoever runs it will tell.
    """
    try:
        body = ast.parse(join_lines(source).text).body
    except SyntaxError:
        return None
    if body and isinstance(body[-1], ast.Expr):
        return None
    targets = (each.targets[0] for each in body if isinstance(each, ast.Assign) and len(each.targets) == 1)
    names = (target.id for target in targets if isinstance(target, ast.Name))
    return list(dict.fromkeys(name for name in names if not name.startswith("_")))


def begin_experiment(
    session: Session, pipelines: Mapping[str, Stage], options: ExperimentOptions, namespace: Namespace
) -> Begun:
    """The cell's experiment, under way, with the cache of its session."""
    on = options.run.on or ""
    collection = _collection(on, namespace)
    queries = collection.queries if collection else questions_of(on, namespace)
    qrels = _qrels(options.qrels, namespace) if options.qrels else collection.qrels if collection else None
    how: Any = {"baseline": options.baseline, "test": options.test, "env": session.environment(options.run)}
    how["correction"] = None if options.correction == "none" else options.correction
    if options.measures is not None:
        how["measures"] = [each for each in options.measures.replace(",", " ").split() if each]
    if options.answers is not None:
        how["answers"] = _value(options.answers, "answers", namespace)
    if options.judge is not None:
        how["judge"] = namespace.get(options.judge, options.judge)
    try:
        return Begun.of(pipelines, queries, qrels, how)
    except SageError as wrong:
        raise CellError(str(wrong)) from wrong


def _collection(on: str, namespace: Mapping[str, Any]) -> Any:
    """A test collection that `--on` names: what `read_beir` gave, or its folder."""
    if on in namespace:
        given = namespace[on]
        return given if hasattr(given, "queries") and hasattr(given, "qrels") else None
    return read_beir(on) if Path(on).is_dir() else None


def _qrels(given: str, namespace: Mapping[str, Any]) -> Any:
    if given not in namespace and Path(given).is_file():
        return read_qrels(given)
    found = _value(given, "qrels", namespace)
    return found.qrels if hasattr(found, "qrels") else found


def _value(name: str, option: str, namespace: Mapping[str, Any]) -> Any:
    if name not in namespace:
        raise CellError(f"--{option} {name}: there is no such name or file; name a dict by the questions' ids")
    return namespace[name]


@dataclass
class ExperimentShown:
    """An experiment in its cell: how far its runs are, then its table."""

    begun: Begun
    made: Experiment | None = None
    failure: SageError | None = field(default=None, repr=False)

    @property
    def job(self) -> Job:
        """Of all runs."""
        return self.begun.together.job

    def settle(self) -> None:
        """Measure what the runs gave, once they have ended."""
        if self.job.status not in ("finished", "failed"):
            return
        try:
            self.made = self.begun.finished()
        except SageError as wrong:
            self.failure = wrong

    def __repr__(self) -> str:
        if self.made is not None:
            return str(self.made)
        return f"{self._caption()}\n{text_table(HEADER, self._rows())}"

    def _repr_html_(self) -> str:
        """The table of the experiment, or of its runs."""
        if self.made is not None:
            return self.made._repr_html_()
        return markup.table(HEADER, self._rows(), self._caption())

    def _caption(self) -> str:
        runs = self.begun.together
        facts = [f"{len(runs.runs)} pipelines, {runs.stages_asked} stages asked, {runs.stages_run} to run"]
        if self.job.status in ("cancelled", "paused"):
            facts.append("stopped; what was computed is kept: run the cell again to go on")
        return " · ".join(facts)

    def _rows(self) -> list[list[str]]:
        runs = self.begun.together.runs.items()
        return [[name, f"{run.done:,}", f"{len(run):,}", f"{len(run.failed):,}"] for name, run in runs]
