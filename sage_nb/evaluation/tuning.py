"""Fusion tuned on judged questions: weights, and if wished the rule, learned and checked by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import product
from operator import rshift
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError, SageError
from sage_nb.evaluation.measures import Qrels, falling, measured
from sage_nb.evaluation.significance import randomisation_test
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.values import Query
from sage_nb.retrieval.fusion import Ranking, get_fusion
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.ranking import ranking_of
from sage_nb.retrieval.stage import Cut, Fused, Stage, Then

SHARES = {2: 20, 3: 10}  # parts of a weight by the number of rankings: all weights that so many parts make are tried
COARSE = 10  # parts of a weight where there are more rankings: one is moved at a time
ROUNDS = 5  # in which each is moved once, at the most
LEVEL = 0.05  # the greatest p at which a gain is believed
HEADER = ("fold", "questions", "rule", "weights", "train", "held out", "untuned", "gain")

Figures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A rule of fusion with its weights."""

    rule: str
    weights: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.rule} {' : '.join(f'{weight:g}' for weight in self.weights)}"


@dataclass(frozen=True)
class Fold:
    """What was learned on the other folds' questions: its mean there, and on these, beside the untuned pipeline's."""

    choice: Choice
    questions: int
    train: float
    held_out: float
    untuned: float


@dataclass(frozen=True)
class FusionTuning:
    """What tuning a fusion has come to.

    `pipeline` is the one to use: tuned where that holds on questions it was not learned on, else as it was. `found` is
    what all questions together make best, whether it is used or not; `before` and `held_out` are means over all
    questions, `p` is of the difference between the two.
    """

    pipeline: Stage
    found: Choice
    measure: str
    folds: tuple[Fold, ...]
    before: float
    held_out: float
    p: float
    tuned: bool

    @property
    def gain(self) -> float:
        """Of the measure, on held-out questions."""
        return self.held_out - self.before

    @property
    def verdict(self) -> str:
        """In a sentence, whether it is tuned, and why."""
        change = f"{self.measure} {self.before:.4f} → {self.held_out:.4f} on held-out questions (p = {self.p:.2g})"
        if self.tuned:
            return f"tuned to {self.found}: {change}"
        if not (self.before or self.held_out or any(fold.train for fold in self.folds)):
            return (
                f"kept untuned, for no relevant document is found: {change}; check that the ids in the qrels are hits'"
            )
        if self.gain <= 0:
            return f"kept untuned, for tuning gains nothing: {change}"
        return f"kept untuned, for the gain may be chance: {change}"

    def __str__(self) -> str:
        return "\n".join([self.verdict, text_table(list(HEADER), [list(map(str, row)) for row in self._rows()])])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return markup.table(list(HEADER), self._rows(), caption=self.verdict)

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(number),
                str(fold.questions),
                fold.choice.rule,
                " : ".join(f"{weight:g}" for weight in fold.choice.weights),
                *(f"{value:.4f}" for value in (fold.train, fold.held_out, fold.untuned)),
                f"{fold.held_out - fold.untuned:+.4f}",
            ]
            for number, fold in enumerate(self.folds, start=1)
        ]


def tune_fusion(
    pipe: Stage, queries: object, qrels: Qrels, measure: str = "nDCG@10", *, rules: Sequence[str] = (), folds: int = 5
) -> FusionTuning:
    """Learn the weights of the fusion that a pipeline ends in, and with `rules` which of them, or its own, is best.

    Each part is run once; rankings are then fused in memory, with every weights of a grid over the simplex for two or
    three parts, by moving one weight at a time for more. Each of `folds` parts of the questions is answered with what
    the others make best, so that no question is judged by what was learned on it. The tuned pipeline is given back
    where that is better, and Fisher's randomisation test finds it better than chance (p < 0.05); else the untuned,
    and the report says so. Stages behind a fusion want its best, too: tune it alone, then put them behind.

    Raises BadValueError for a pipeline that does not end in a fusion, SageError where a part fails on a question.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> from sage_nb.retrieval.stage import fuse
    >>> def found(result, names):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate(names, start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> def good(result):
    ...     return found(result, "abc")
    >>> def bad(result):
    ...     return found(result, "cdba")
    >>> questions = {f"q{n}": "who?" for n in range(20)}
    >>> tuning = tune_fusion(fuse(good, bad), questions, dict.fromkeys(questions, {"a": 1}), "RR")
    >>> print(tuning.verdict)
    tuned to rrf 0.6 : 0.4: RR 0.5000 → 1.0000 on held-out questions (p = 0.0001)
    """
    judged = [query for query in as_queries(queries) if query.id in qrels]
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= len(judged):
        raise BadValueError(
            f"folds={folds!r} must be 2 or more, and at most the {len(judged)} judged questions; give more questions"
        )
    fusion = Parts.of(pipe, judged)
    search = Search(fusion, qrels, measure, rules)
    every = np.arange(len(judged))
    parts = np.array_split(np.random.default_rng(0).permutation(every), folds)
    chosen = [search.best(np.setdiff1d(every, part)) for part in parts]
    before, held_out = search.figures(fusion.given), np.zeros(len(judged))
    for part, choice in zip(parts, chosen, strict=True):
        held_out[part] = search.figures(choice)[part]
    p, found = randomisation_test(before.tolist(), held_out.tolist()), search.best(every)
    tuned = bool(held_out.mean() > before.mean() and p < LEVEL and found != fusion.given)
    return FusionTuning(
        pipeline=with_fusion(pipe, found) if tuned else pipe,
        found=found,
        measure=measure,
        folds=tuple(
            Fold(
                choice,
                len(part),
                float(np.delete(search.figures(choice), part).mean()),
                float(held_out[part].mean()),
                float(before[part].mean()),
            )
            for part, choice in zip(parts, chosen, strict=True)
        ),
        before=float(before.mean()),
        held_out=float(held_out.mean()),
        p=p,
        tuned=tuned,
    )


@dataclass(frozen=True)
class Parts:
    """The rankings that a pipeline fuses, by question, and how it does; `depth` is where it cuts what it has fused."""

    rankings: Mapping[str, Sequence[Ranking]]
    given: Choice
    depth: int | None

    @classmethod
    def of(cls, pipe: Stage, queries: Sequence[Query]) -> Parts:
        """Every part is run, behind what stands before the fusion."""
        *_, last = (each for each in pipe.steps if not isinstance(each, Cut))
        if not isinstance(last, Fused):
            raise BadValueError(
                f"tune_fusion() tunes a pipeline that ends in a fusion, and {pipe!r} ends in {last.label}; "
                f"give it what stands before that"
            )
        given = Choice(last.rule, last.weights)
        with_fusion(pipe, given)
        at = pipe.steps.index(last)
        runs = [reduce(rshift, [*pipe.steps[:at], part]).run(queries).results for part in last.parts]
        if failed := [result for results in runs for result in results if result.error]:
            raise SageError(f"{len(failed)} questions failed, the first: {failed[0].error}; mend that, then tune")
        rankings = {
            results[0].query.id: [
                ranking_of(*pair) for pair in zip(results, (p.floor for p in last.parts), strict=True)
            ]
            for results in zip(*runs, strict=True)
        }
        depth = min((cut.k for cut in pipe.steps[at + 1 :]), default=None)
        return cls(rankings, given, depth)

    def fused(self, choice: Choice) -> dict[str, dict[str, float]]:
        """The ranking that the pipeline would give with that choice, by question."""
        rule = get_fusion(choice.rule)
        run = {}
        for question, rankings in self.rankings.items():
            totals = rule(rankings, choice.weights)
            order = sorted(totals, key=lambda key: (-totals[key], key[1], key[0]))
            run[question] = falling([document for _, document in order[: self.depth]])
        return run


class Search:
    """Looks for the choice that is best on some of the questions; what was tried once is remembered."""

    def __init__(self, parts: Parts, qrels: Qrels, measure: str, rules: Sequence[str]) -> None:
        self._parts, self._qrels, self._measure = parts, qrels, measure
        self._rules = list(dict.fromkeys([parts.given.rule, *rules]))
        for rule in self._rules:
            get_fusion(rule)
        self._known: dict[Choice, Figures] = {}

    def figures(self, choice: Choice) -> Figures:
        """The measure of each question."""
        if choice not in self._known:
            values = measured(self._parts.fused(choice), self._qrels, [self._measure]).by_question[self._measure]
            self._known[choice] = np.array([values[question] for question in self._parts.rankings])
        return self._known[choice]

    def best(self, questions: npt.NDArray[np.int64]) -> Choice:
        """On these questions; of equals the given one, else the one that is nearest to it."""
        count = len(self._parts.given.weights)
        tried = [self._parts.given]
        for rule in self._rules:
            if count in SHARES:
                tried += [Choice(rule, weights) for weights in simplex(count, SHARES[count])]
            else:
                tried.append(self._climbed(Choice(rule, shares(self._parts.given.weights)), questions))
        return max(tried, key=lambda choice: self._worth(choice, questions))

    def _climbed(self, choice: Choice, questions: npt.NDArray[np.int64]) -> Choice:
        """The best that moving one weight at a time leads to."""
        for _ in range(ROUNDS):
            begun = choice
            for at in range(len(choice.weights)):
                moved = [Choice(choice.rule, with_share(choice.weights, at, n / COARSE)) for n in range(COARSE + 1)]
                choice = max([choice, *moved], key=lambda each: self._worth(each, questions))
            if choice == begun:
                break
        return choice

    def _worth(self, choice: Choice, questions: npt.NDArray[np.int64]) -> tuple[float, bool, float]:
        given = self._parts.given
        far = sum(abs(a - b) for a, b in zip(shares(given.weights), shares(choice.weights), strict=True))
        return round(float(self.figures(choice)[questions].mean()), 9), choice.rule == given.rule, -round(far, 9)


def simplex(count: int, parts: int) -> list[tuple[float, ...]]:
    """All weights of `count` rankings that are whole numbers of `parts` equal parts of 1.

    >>> simplex(2, 2)
    [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    wholes = (each for each in product(range(parts + 1), repeat=count) if sum(each) == parts)
    return [tuple(whole / parts for whole in each) for each in wholes]


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights in proportion, with the sum of 1.

    >>> shares((1.0, 3.0))
    (0.25, 0.75)
    """
    return tuple(round(weight / sum(weights), 4) for weight in weights)


def with_share(weights: Sequence[float], at: int, share: float) -> tuple[float, ...]:
    """One weight made a share of the whole, the others kept in proportion; alike where they had none.

    >>> with_share((0.5, 0.1, 0.4), 0, 0.0), with_share((1.0, 0.0, 0.0), 0, 0.5)
    ((0.0, 0.2, 0.8), (0.5, 0.25, 0.25))
    """
    others = [0.0 if place == at else weight for place, weight in enumerate(weights)]
    if not any(others):
        others = [float(place != at) for place in range(len(weights))]
    scaled = [(1 - share) * weight / sum(others) for weight in others]
    scaled[at] = share
    return shares(scaled)


def with_fusion(pipe: Stage, choice: Choice) -> Stage:
    """The pipeline with the fusion it ends in by that choice; BadValueError for a stage that takes no weights."""
    if isinstance(pipe, Then):
        if isinstance(pipe.second, Cut):
            return Then(with_fusion(pipe.first, choice), pipe.second)
        return Then(pipe.first, with_fusion(pipe.second, choice))
    stage: Any = pipe
    takes = {field.name for field in fields(stage)}
    name = next((each for each in ("rule", "fusion") if {each, "weights"} <= takes), None)
    if name is None:
        raise BadValueError(f"{pipe!r} fuses without weights of its own; tune a fuse(...) of its parts")
    tuned: Stage = replace(stage, **{name: choice.rule, "weights": choice.weights})
    return tuned
