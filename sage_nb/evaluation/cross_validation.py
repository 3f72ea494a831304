"""Choosing the best of an experiment's pipelines, and what that gains on questions that it was not chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.evaluation.comparison import LEVEL
from sage_nb.evaluation.experiment import Experiment
from sage_nb.evaluation.significance import TESTS, Figures
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.retrieval.stage import Stage

HEADER = ("fold", "questions", "chosen", "train", "held out", "baseline", "gain")


@dataclass(frozen=True)
class Held:
    """A fold: what was best on the others' questions; its mean there and on these, beside the baseline's."""

    chosen: str
    questions: tuple[str, ...]
    train: float
    held_out: float
    baseline: float


@dataclass(frozen=True)
class CrossValidation:
    """What choosing by a measure has come to.

    `chosen` is what all questions together make best; `held_out` and `before` are means over all questions, of what
    was chosen without them and of the baseline, `p` is of the difference between the two. `pipeline` is the one to use:
    the chosen, where choosing gains more than chance does, else the baseline.
    """

    pipeline: Stage
    chosen: str
    baseline: str
    measure: str
    folds: tuple[Held, ...]
    before: float
    held_out: float
    p: float

    @property
    def gain(self) -> float:
        """Of the measure, on held-out questions."""
        return self.held_out - self.before

    @property
    def holds(self) -> bool:
        """Whether there is one, by more than chance."""
        return self.gain > 0 and self.p < LEVEL and self.chosen != self.baseline

    @property
    def verdict(self) -> str:
        """In a sentence, what to use, and why."""
        change = f"{self.measure} {self.before:.4f} → {self.held_out:.4f} on held-out questions (p = {self.p:.2g})"
        if self.holds:
            return f"use {self.chosen}: {change}"
        if self.chosen == self.baseline:
            return f"stay with {self.baseline}, which is the best: {change}"
        why = "choosing gains nothing" if self.gain <= 0 else "the gain may be chance"
        return f"stay with {self.baseline}, for {why}: {change}"

    def __str__(self) -> str:
        return "\n".join([self.verdict, text_table(list(HEADER), self._rows())])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return markup.table(list(HEADER), self._rows(), caption=self.verdict)

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(number),
                str(len(fold.questions)),
                fold.chosen,
                *(f"{value:.4f}" for value in (fold.train, fold.held_out, fold.baseline)),
                f"{fold.held_out - fold.baseline:+.4f}",
            ]
            for number, fold in enumerate(self.folds, start=1)
        ]


def cross_validate(
    seen: Experiment, measure: str | None = None, *, folds: int = 5, baseline: str | None = None
) -> CrossValidation:
    """Choose among the pipelines of an experiment or a sweep, judging none by the questions that it was chosen by.

    The best of a dozen variants looks better than it is: on the questions at hand, it had luck, too. So each of `folds`
    parts of the questions, dealt by chance but the same each time, is answered by what is best on the other parts, by
    `measure` (the first, if none is named). What comes of that is compared with the `baseline` (the experiment's, else
    its first pipeline) by the experiment's test. Of equals the baseline is chosen, else the first. Nothing is run anew.

    Raises BadValueError where there are fewer questions than folds, UnknownNameError for other names.

    >>> from sage_nb.evaluation.experiment import experiment
    >>> from sage_nb.records.values import Document, Hit, Result
    >>> def found(result, names):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate(names, start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> def good(result):
    ...     return found(result, "abc")
    >>> def bad(result):
    ...     return found(result, "cba")
    >>> questions = {f"q{n}": "who?" for n in range(20)}
    >>> seen = experiment({"bad": bad, "good": good}, questions, dict.fromkeys(questions, {"a": 1}), measures=["RR"])
    >>> print(cross_validate(seen).verdict)
    use good: RR 0.3333 → 1.0000 on held-out questions (p = 0.0001)
    """
    by = seen.measures[0] if measure is None else measure
    against = baseline or seen.baseline or seen.names[0]
    if by not in seen.measures:
        raise UnknownNameError.of("measure of the experiment", str(by), seen.measures)
    if against not in seen.names:
        raise UnknownNameError.of("baseline", str(against), seen.names)
    questions = list(seen.values[against][by])
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= len(questions):
        raise BadValueError(
            f"folds={folds!r} must be 2 or more, and at most the {len(questions)} questions; give more questions"
        )
    order = [against, *(name for name in seen.names if name != against)]
    columns = {name: np.array([seen.values[name][by][question] for question in questions]) for name in order}
    parts = np.array_split(np.random.default_rng(0).permutation(len(questions)), folds)
    held, whole = [], np.zeros(len(questions))
    for part in parts:
        chosen = _best({name: np.delete(each, part) for name, each in columns.items()})
        whole[part] = columns[chosen][part]
        means = (np.delete(columns[chosen], part).mean(), whole[part].mean(), columns[against][part].mean())
        held.append(Held(chosen, tuple(questions[at] for at in sorted(part)), *map(float, means)))
    found, before = _best(columns), columns[against]
    p = TESTS[seen.test](before.tolist(), whole.tolist())
    made = CrossValidation(
        seen.pipelines[found], found, against, by, tuple(held), float(before.mean()), float(whole.mean()), p
    )
    return made if made.holds else replace(made, pipeline=seen.pipelines[against])


def _best(columns: Mapping[str, Figures]) -> str:
    return max(columns, key=lambda name: round(float(columns[name].mean()), 9))
