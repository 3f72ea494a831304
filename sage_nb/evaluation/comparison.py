"""Values of pipelines compared: intervals for their means, and what the differences from a baseline are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sage_nb.evaluation.significance import TESTS, bootstrap, holm

LEVEL = 0.05  # the greatest p at which a difference is marked

Values = Mapping[str, Mapping[str, float]]  # by measure, then by question


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


def intervals(values: Mapping[str, Values]) -> dict[str, dict[str, tuple[float, float]]]:
    """For the mean of each pipeline by each measure; the questions are drawn alike for all of them.

    >>> intervals({"flat": {"RR": {"q1": 0.5, "q2": 0.5}}})
    {'flat': {'RR': (0.5, 0.5)}}
    """
    found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in values}
    columns: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for name, by in values.items():
        for measure, each in by.items():
            columns.setdefault(tuple(each), []).append((name, measure))
    for questions, places in columns.items():
        table = np.array([[values[name][measure][each] for name, measure in places] for each in questions])
        for (name, measure), (low, high) in zip(places, bootstrap(table), strict=True):
            found[name][measure] = float(low), float(high)
    return {name: {measure: found[name][measure] for measure in by} for name, by in values.items()}


def compared(
    values: Mapping[str, Values], baseline: str | None, test: str, correction: str | None
) -> dict[str, dict[str, Comparison]]:
    """Each pipeline with the baseline, p corrected over the pipelines, measure by measure; none where there is none."""
    if baseline is None:
        return {}
    others = [name for name in values if name != baseline]
    found: dict[str, dict[str, Comparison]] = {name: {} for name in others}
    for measure, base in values[baseline].items():
        before = list(base.values())
        after = {name: [values[name][measure][question] for question in base] for name in others}
        ps = {name: TESTS[test](before, each) for name, each in after.items()}
        corrected = holm(ps) if correction else ps
        for name, each in after.items():
            gains = np.round(np.subtract(each, before), 9)
            wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
            ties, difference = len(gains) - wins - losses, float(np.subtract(each, before).mean())
            found[name][measure] = Comparison(difference, ps[name], corrected[name], wins, ties, losses)
    return found
