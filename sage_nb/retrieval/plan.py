"""What a run would do before it does it: which questions each stage knows already, and how long the others may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.values import Query
from sage_nb.retrieval.changes import changes, step_facts
from sage_nb.retrieval.history import RunFacts
from sage_nb.retrieval.path import Mark, Path
from sage_nb.retrieval.recall import Cell, Memory
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.stage import Stage

QUICK = "quick to compute"
HEADER = ("stage", "state", "cached", "to compute", "why", "about")


@dataclass(frozen=True)
class StagePlan:
    """A stage: questions whose result is `cached`, those that are `new`, why, and seconds for these, if known.

    `unkept` says why its results are not kept, "" where they are.
    """

    stage: str
    cached: int
    new: int
    why: str
    seconds: float | None
    unkept: str = ""

    @property
    def state(self) -> str:
        """cached, partly cached, not kept, stale (it was run before, with something else) or new."""
        if not self.new:
            return "cached"
        if self.unkept:
            return "not kept"
        if self.cached:
            return "partly cached"
        return "new" if self.why in ("", "new") else "stale"


@dataclass(frozen=True)
class RunPlan:
    """The stages of a pipeline in the order of the graph, for so many questions."""

    pipeline: str
    questions: int
    stages: tuple[StagePlan, ...]

    @property
    def seconds(self) -> float | None:
        """About how long, where that can be told of every stage."""
        told = [each.seconds for each in self.stages]
        return None if None in told else sum(each for each in told if each is not None)

    def __str__(self) -> str:
        return f"{self._summary()}\n{text_table(list(HEADER), self._rows())}"

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return markup.table(list(HEADER), self._rows(), caption=self._summary())

    def _rows(self) -> list[list[str]]:
        return [
            [each.stage, each.state, str(each.cached), str(each.new), each.why, _about(each.seconds)]
            for each in self.stages
        ]

    def _summary(self) -> str:
        about = "" if self.seconds is None else f", about {_about(self.seconds)}"
        return f"{self.pipeline}: {self.questions} questions{about}"


def planned(pipeline: Stage, queries: Sequence[Query], cell: Cell, last: RunFacts | None) -> RunPlan:
    """What `pipeline` would do with the questions, given what the cell's cache holds; `last` is its run before."""
    new = changes(last.steps, step_facts(pipeline)) if last else {}
    pace = _pace(last)
    rows = [
        StagePlan(
            label,
            len(queries) - count,
            count,
            "; ".join(new.get(label, [])) or unkept,
            0.0 if not count else None if label not in pace else pace[label] * count,
            unkept,
        )
        for label, count, unkept in _counts(pipeline, queries, cell)
    ]
    return RunPlan(repr(pipeline), len(queries), tuple(rows))


def _counts(pipeline: Stage, queries: Sequence[Query], cell: Cell) -> Iterator[tuple[str, int, str]]:
    """Label, questions to compute, and why nothing of it can be kept."""
    path, marks, paths, steps = Path.kept(), [], [Path.kept()], pipeline.steps
    for step in steps:
        path = path.then(step)
        paths.append(path)
        marks.append(path.mark(step.label, kept=step.keeps or step is steps[-1]))
    asked = list(queries)
    computed: list[list[Query]] = []  # of each step, the last first: what none behind it knows
    for mark in reversed(marks):
        asked = _unknown(mark, asked, cell)
        computed.append(asked)
    for step, before, after, left in zip(steps, paths, paths[1:], reversed(computed), strict=False):
        for part in step.branches:
            yield from _branch(part, step.inward(before), left, cell)
        yield step.label, len(left), after.unknown or ("" if step.keeps else QUICK)


def _branch(part: Stage, path: Path, asked: Sequence[Query], cell: Cell) -> Iterator[tuple[str, int, str]]:
    for step in part.steps:
        before, path = path, path.then(step)
        for inner in step.branches:
            yield from _branch(inner, step.inward(before), asked, cell)
        left = _unknown(path.mark(step.label, kept=step.keeps), asked, cell)
        yield step.label, len(left), path.unknown or ("" if step.keeps else QUICK)


def _unknown(mark: Mark, queries: Sequence[Query], cell: Cell) -> list[Query]:
    if mark.key is None or not queries:
        return list(queries)
    known = Memory(mark, cell, COLLECTIONS).known(queries)
    return [query for query in queries if query.id not in known]


def _pace(last: RunFacts | None) -> Mapping[str, float]:
    """Seconds a question, by stage, in the run before."""
    stages = last.stages if last else {}
    return {name: each["seconds"] / each["computed"] for name, each in stages.items() if each["computed"]}


def _about(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f} s"
