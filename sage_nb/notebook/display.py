"""What a cell shows while it runs and afterwards: HTML, and the same facts as text; drawn from the job's metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sage_nb.notebook.session import CellRun
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.drawing import Arrow, Box, drawing
from sage_nb.records.values import Result
from sage_nb.retrieval.stages import OURS, SERVING
from sage_nb.runtime.job import Job
from sage_nb.runtime.metrics import OperatorMetrics
from sage_nb.runtime.panel import duration

QUESTIONS = 5
BAR = 30  # characters of the bar in a text
WORKING = ("running", "restarting")
ALWAYS = ("in", "out", "seconds")
COUNTS = ("in", "out", "cached", "computed", "filtered", "dead_lettered", "model_calls", "seconds")


@dataclass(frozen=True)
class RunView:
    """A run: while it works its stages, a bar and the first results; then a line, with the rest folded away."""

    begun: CellRun
    top: int = 5

    @property
    def job(self) -> Job:
        """The run's."""
        return self.begun.run.job

    def settle(self) -> None:
        """Wait until the run is kept, so that a note of trouble with that is shown."""
        self.begun.kept.wait(5.0)

    def __repr__(self) -> str:
        run = self.begun.run
        lines = [f"{self._bar()} {self.summary}" if self._working else self.summary]
        header, rows = _counted(run.stages)
        lines += [text_table(header, [[str(cell) for cell in row] for row in rows]), *self._remarks()]
        return "\n".join([*lines, *(str(result.top(self.top)) for result in run.so_far[:QUESTIONS])])

    def _repr_html_(self) -> str:
        """A caption with the run's facts, the stages drawn, then a table a question."""
        run, working = self.begun.run, self._working
        facts = f"<div class='sage-quiet mathjax_ignore' aria-live='polite'>{markup.escape(self.summary).text}</div>"
        bar = f"<progress style='width:100%' max='{len(run)}' value='{run.done}'></progress>" if working else ""
        remarks = "".join(
            f"<div class='sage-quiet mathjax_ignore'>{markup.escape(each).text}</div>" for each in self._remarks()
        )
        stages = _drawn(run.job.metrics().operators) + markup.table(*_counted(run.stages))
        folded = f"<details{' open' if working else ''}><summary>stages</summary>{stages}</details>"
        tables = "".join(_question(result.top(self.top)) for result in run.so_far[:QUESTIONS])
        left = run.done - QUESTIONS
        more = f"<div class='sage-quiet mathjax_ignore'>… and {left} more questions</div>" if left > 0 else ""
        return f"{markup.STYLE}{facts}{bar}{remarks}{folded}{tables}{more}"

    @property
    def summary(self) -> str:
        """How far the run is, in a line."""
        run, name = self.begun.run, self.begun.name
        facts = [f"{run.done} of {len(run)} questions", *self._pace(), run.pipeline]
        if run.status in ("cancelled", "paused"):
            facts.insert(1, "stopped; what was computed is kept: run the cell again to go on")
        elif run.status == "failed":
            facts.insert(1, "failed")
        return f"{name}: {' · '.join(facts)}"

    @property
    def _working(self) -> bool:
        return self.begun.run.status in WORKING

    def _pace(self) -> Iterator[str]:
        run = self.begun.run
        if not self._working:
            yield f"{duration(run.seconds)}, {run.ms_per_question:.3g} ms each"
        elif run.done:
            rate = run.done / max(run.seconds, 1e-9)
            yield f"{rate:,.3g}/s"
            yield f"about {duration((len(run) - run.done) / rate)} left"

    def _bar(self) -> str:
        run = self.begun.run
        full = BAR * run.done // max(1, len(run))
        return f"[{'#' * full}{'.' * (BAR - full)}]"

    def _remarks(self) -> list[str]:
        """What was computed anew and why, what cannot be kept, which questions failed or were served without a part."""
        begun = self.begun
        said = [*_renewed(begun), *begun.remarks]
        failed = begun.run.failed
        if failed:
            said.append(f"{len(failed)} questions failed, the first: {failed[0].query.text!r:.80}: {failed[0].error}")
        partial = [result for result in begun.run.so_far if result.missing]
        if partial:
            first = f"{partial[0].query.text!r:.80}: {', '.join(partial[0].missing):.200}"
            said.append(f"{len(partial)} of {begun.run.done} questions were served without a part, the first: {first}")
        return said


def _renewed(begun: CellRun) -> Iterator[str]:
    """As in "rerank(k=10): k 50 → 100; 10 of 100 computed, 500 of 1,000 pairs new"."""
    if not begun.news:
        return
    for name, counts in begun.run.stages.items():
        why = "; ".join(begun.news.get(name, []))
        if counts["computed"] and (why or counts["cached"] or counts["items_known"]):
            items = counts["model_calls"] + counts["items_known"]
            new = f", {counts['model_calls']:,} of {items:,} texts and pairs new" if counts["items_known"] else ""
            reason = why or ("new questions" if counts["cached"] else "what it reads is new")
            yield f"{short(name)}: {reason}; {counts['computed']:,} of {counts['in']:,} computed{new}"


def _counted(stages: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str | float | markup.Html]]]:
    shown = [name for name in COUNTS if name in ALWAYS or any(each[name] for each in stages.values())]
    rows: list[list[str | float | markup.Html]] = [
        [short(stage), *(round(each[name], 3) for name in shown)] for stage, each in stages.items()
    ]
    return ["stage", *(name.replace("_", " ") for name in shown)], rows


def _drawn(operators: Sequence[OperatorMetrics]) -> str:
    """The stages as boxes, what only serves them left out, with what has come out of each below its name."""
    first = {each.uid: each for each in operators if each.subtask == 0}
    hidden = {uid for uid, each in first.items() if each.kind in SERVING or uid in OURS[2:]}
    boxes, arrows = [], []
    for uid, each in first.items():
        if uid in hidden:
            continue
        same = [one for one in operators if one.uid == uid]
        boxes.append(Box(uid, short(each.name), _below(same)))
        arrows += [Arrow(read, uid) for read in dict.fromkeys(_read(each, first, hidden))]
    return drawing(boxes, arrows, "the stages of this run")


def _below(same: Sequence[OperatorMetrics]) -> str:
    done = sum(each.emitted if each.kind != "sink" else each.passed for each in same)
    cached = sum(int(each.own.get("cached", 0)) for each in same)
    rate = sum(each.received_per_s for each in same)
    facts = [f"{done:,}", *([f"{cached:,} cached"] if cached else []), *([f"{rate:,.0f}/s"] if rate >= 1 else [])]
    return " · ".join(facts)


def _read(each: OperatorMetrics, first: Mapping[str, OperatorMetrics], hidden: set[str]) -> Iterator[str]:
    for uid in each.reads:
        if uid in hidden:
            yield from _read(first[uid], first, hidden)
        else:
            yield uid


def short(stage: str) -> str:
    """A stage's name without what goes without saying.

    >>> short("Collection('book').lexical(k=50)")
    'book.lexical(k=50)'
    """
    return re.sub(r"Collection\('([^']+)'\)", lambda found: found[1].rpartition("/")[2], stage)


def _question(result: Result) -> str:
    return f"<div style='margin-top:.8em'>{result._repr_html_()}</div>"
