"""Two runs side by side: what differs in their pipelines, in their rankings, and in measures where there are qrels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage_nb.errors import BadValueError
from sage_nb.evaluation.measures import MEASURES, Qrels, evaluate
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.values import Result
from sage_nb.retrieval.answered import Answered

DEPTH = 10  # hits of a ranking that are compared
SHOWN = 10  # questions, and moves of each, that are shown
HEADER = ("question", "in both", "moves", "first measure")


@dataclass(frozen=True)
class Move:
    """A document's rank in the one run and in the other; None where it is not among the first ten."""

    document: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        return f"{self.document}: {self.before or '-'} → {self.after or '-'}"


@dataclass(frozen=True)
class QuestionDiff:
    """A question: documents that both rankings have among their first ten, what moved, the first measure's gain."""

    id: str
    text: str
    shared: int
    moves: tuple[Move, ...]
    gain: float | None


@dataclass(frozen=True)
class RunDiff:
    """What differs from run `a` to run `b`: the steps of either that the other lacks, measures, and each question.

    `measures` are (name, of a, of b), over the questions that both answered and that are judged.
    """

    a: str
    b: str
    steps: tuple[str, ...]
    measures: tuple[tuple[str, float, float], ...]
    questions: tuple[QuestionDiff, ...]

    @property
    def wins(self) -> int:
        """Questions on which the first measure is better in b."""
        return sum(each.gain is not None and each.gain > 0 for each in self.questions)

    @property
    def losses(self) -> int:
        """Questions on which it is worse."""
        return sum(each.gain is not None and each.gain < 0 for each in self.questions)

    def __str__(self) -> str:
        return "\n".join([self._caption(), text_table(list(HEADER), self._rows())])

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        """The table a notebook shows."""
        return markup.table(list(HEADER), self._rows(), caption=self._caption())

    def _caption(self) -> str:
        facts = [f"{self.a} → {self.b}", *(self.steps or ("the same pipeline",))]
        facts += [f"{name} {before:.4f} → {after:.4f}" for name, before, after in self.measures]
        if self.measures:
            facts.append(f"{self.wins} won, {self.losses} lost")
        facts.append(f"{sum(bool(q.moves) for q in self.questions)} of {len(self.questions)} rankings differ")
        return " · ".join(facts)

    def _rows(self) -> list[list[str]]:
        order = sorted(self.questions, key=lambda q: (-abs(q.gain or 0.0), q.shared - len(q.moves)))
        return [
            [
                markup.shortened(each.text, 80),
                str(each.shared),
                ", ".join(map(str, each.moves[:SHOWN])) or "the same",
                "" if each.gain is None else f"{each.gain:+.3f}",
            ]
            for each in order[:SHOWN]
        ]


def diff(
    a: Answered,
    b: Answered,
    qrels: Qrels | None = None,
    *,
    measures: Sequence[str] = MEASURES,
    names: tuple[str, str] = ("a", "b"),
) -> RunDiff:
    """Compare two runs on the questions that both have answered, by their ids; with `qrels` by measures, too.

    Raises BadValueError where they have no question in common.

    >>> from sage_nb.records.values import Document, Hit
    >>> from sage_nb.retrieval.stage import Applied
    >>> def found(result, names):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate(names, start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> def before(result):
    ...     return found(result, "ab")
    >>> def after(result):
    ...     return found(result, "ba")
    >>> one, other = (Applied(each).run(["who?"]) for each in (before, after))
    >>> _ = one.results, other.results  # both have ended
    >>> seen = diff(one, other, {"q1": {"b": 1}}, measures=["RR"])
    >>> seen.measures, seen.wins, [str(move) for move in seen.questions[0].moves]
    ((('RR', 0.5, 1.0),), 1, ['b: 2 → 1', 'a: 1 → 2'])
    """
    before, after = ({result.query.id: result for result in run.so_far} for run in (a, b))
    common = [name for name in before if name in after]
    if not common:
        raise BadValueError("the two runs have no question in common; questions are known by their ids")
    scores = None
    if qrels is not None:
        scores = [evaluate([each[name] for name in common], qrels, measures) for each in (before, after)]
    gains = {} if scores is None else _gains(scores[0].by_question[measures[0]], scores[1].by_question[measures[0]])
    return RunDiff(
        *names,
        _steps(a.pipeline, b.pipeline),
        () if scores is None else tuple((m, scores[0].mean[m], scores[1].mean[m]) for m in measures),
        tuple(_question(before[name], after[name], gains.get(name)) for name in common),
    )


def _gains(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}


def _steps(before: str, after: str) -> tuple[str, ...]:
    """The parts of either expression that the other lacks."""
    one, other = (text.split(" >> ") for text in (before, after))
    return (
        *(f"without {each}" for each in one if each not in other),
        *(f"with {each}" for each in other if each not in one),
    )


def _question(before: Result, after: Result, gain: float | None) -> QuestionDiff:
    one, other = ({hit.document.id: hit.rank for hit in result.hits[:DEPTH]} for result in (before, after))
    moves = [Move(name, one.get(name), other.get(name)) for name in {**one, **other}]
    moved = sorted(
        (m for m in moves if m.before != m.after), key=lambda m: (m.after or DEPTH + 1, m.before or DEPTH + 1)
    )
    return QuestionDiff(before.query.id, before.query.text, len(one.keys() & other.keys()), tuple(moved), gain)
