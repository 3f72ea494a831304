"""Calibrate: scores as chances of being relevant, by a curve that was fitted on judged questions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.records.values import Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_number
from sage_nb.retrieval.ranking import Retrieving, placed
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import MapFunction

Points = tuple[tuple[float, float], ...]


@stage("calibrate")
@dataclass(frozen=True, repr=False)
class Calibrate(Operation):
    """Every score as a chance: by a logistic curve, or by the straight lines between `points` where there are any."""

    slope: float = 1.0
    intercept: float = 0.0
    points: Points = ()

    def __post_init__(self) -> None:
        check_number(self.slope, "slope= of calibrate()", above=0)
        check_number(self.intercept, "intercept= of calibrate()")
        if self.points:
            object.__setattr__(self, "points", checked(self.points))
            if (self.slope, self.intercept) != (1.0, 0.0):
                raise BadValueError(f"calibrate() takes slope and intercept or points, got both, slope={self.slope!r}")

    def __repr__(self) -> str:
        if self.points:
            return f"calibrate(points={self.points!r})"
        return f"calibrate(slope={self.slope!r}, intercept={self.intercept!r})"

    @property
    def needs(self) -> Kind:
        """A ranking with scores."""
        return "ranking"

    @property
    def floor(self) -> float | None:
        """No chance."""
        return 0.0

    @property
    def keeps(self) -> bool:
        """No."""
        return False

    def function(self) -> Retrieving:
        """A `Calibrating`."""
        return Calibrating(self)

    def chance(self, score: float) -> float:
        """Of being relevant, for a hit with that score."""
        if self.points:
            scores, chances = zip(*self.points, strict=True)
            return float(np.interp(score, scores, chances))
        return sigmoid(self.slope * score + self.intercept)


class Calibrating(MapFunction[Result, Result]):
    """The running half of `Calibrate`."""

    def __init__(self, stage: Calibrate) -> None:
        self.stage = stage

    def map(self, value: Result, /) -> Result:
        """The hits as they stand, with chances for scores."""
        return placed(value, "calibrate", [(hit, self.stage.chance(hit.score)) for hit in value.hits])


def calibrate(slope: float = 1.0, intercept: float = 0.0, *, points: Points = ()) -> Stage:
    """Scores as chances of being relevant, 1 / (1 + exp(-(slope · score + intercept))); the order stays.

    `points` are pairs (score, chance) instead, both rising, with straight lines between them and level ends. Either is
    what `fit_calibration` makes of judged questions. Chances, unlike scores, may be compared from question to question
    and from source to source: `min_score(0.2)` then means the same everywhere.

    Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods", 1999;
    for points, Zadrozny & Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD
    2002.

    >>> calibrate(slope=2.0, intercept=-1.0)
    calibrate(slope=2.0, intercept=-1.0)
    >>> Calibrate(points=((0.0, 0.1), (10.0, 0.9))).chance(5.0)
    0.5
    """
    return Calibrate(slope, intercept, points)


def sigmoid(value: float) -> float:
    """The logistic function, without overflow.

    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


def checked(points: object) -> Points:
    """Pairs of numbers, scores rising, chances not falling and from 0 to 1; BadValueError for others."""
    try:
        pairs = tuple((float(score), float(chance)) for score, chance in points)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise BadValueError(f"points= of calibrate() are pairs (score, chance), got {points!r:.80}") from error
    rising = all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(pairs))
    if not rising or not all(math.isfinite(score) and 0 <= chance <= 1 for score, chance in pairs):
        raise BadValueError(
            f"points= of calibrate() are rising scores with chances from 0 to 1 that do not fall, got {pairs!r:.80}"
        )
    return pairs
