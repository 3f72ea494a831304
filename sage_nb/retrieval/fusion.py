"""Fusion rules: several rankings of one question's documents become one. One function a rule, each with its source.

A rule gets the rankings (best first) and a weight for each, and gives a score for every document in any of them; a
document that a ranking lacks gets nothing from it, but where a rule says otherwise.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from sage_nb.errors import UnknownNameError

Key = tuple[str, str]  # collection, document


@dataclass(frozen=True)
class Ranking:
    """Documents best first with their scores; `floor` is the least score its scorer can give, if it has one."""

    keys: tuple[Key, ...]
    scores: tuple[float, ...]
    floor: float | None = None

    @cached_property
    def low(self) -> float:
        """The least score in it."""
        return min(self.scores, default=0.0)

    @cached_property
    def high(self) -> float:
        """The greatest score in it."""
        return max(self.scores, default=0.0)

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of its scores."""
        return statistics.pstdev(self.scores) if len(self.scores) > 1 else 0.0


Fusion = Callable[[Sequence[Ranking], Sequence[float]], dict[Key, float]]
Scale = Callable[[Ranking], Sequence[float]]
Rule = TypeVar("Rule", bound=Fusion)

FUSIONS: dict[str, Fusion] = {}
RRF_CONSTANT = 60


def fusion(name: str) -> Callable[[Rule], Rule]:
    """Register a rule under `name`, for `fuse(by=name)` and `hybrid(fusion=name)`.

    >>> @fusion("first")
    ... def first(rankings, weights):
    ...     return dict(zip(rankings[0].keys, rankings[0].scores))
    >>> get_fusion("first")([Ranking((("book", "a"), ("book", "b")), (2.0, 1.0))], [1.0])
    {('book', 'a'): 2.0, ('book', 'b'): 1.0}
    """

    def register(rule: Rule) -> Rule:
        FUSIONS[name] = rule
        return rule

    return register


def get_fusion(name: str) -> Fusion:
    """The rule called `name`."""
    if name not in FUSIONS:
        raise UnknownNameError.of("fusion rule", name, FUSIONS)
    return FUSIONS[name]


@fusion("rrf")
def reciprocal_rank(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Sum of weight / (60 + rank); ranks start at 1. Cormack, Clarke & Büttcher, SIGIR 2009.

    >>> reciprocal_rank([Ranking((("c", "a"),), (9.0,)), Ranking((("c", "a"),), (0.2,))], [1, 1]) == {
    ...     ("c", "a"): 1 / 61 + 1 / 61
    ... }
    True
    """
    return _summed(rankings, weights, lambda r: [1 / (RRF_CONSTANT + rank) for rank, _ in enumerate(r.keys, 1)])


@fusion("isr")
def inverse_square_rank(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Rankings that hold it, times the sum of weight / rank². Mourão, Martins & Magalhães, TREC 2013 (ISR).

    >>> inverse_square_rank([Ranking((("c", "a"), ("c", "b")), (2.0, 1.0))], [1.0])
    {('c', 'a'): 1.0, ('c', 'b'): 0.25}
    """
    sums = _summed(rankings, weights, lambda ranking: [rank**-2 for rank, _ in enumerate(ranking.keys, 1)])
    held = _summed(rankings, [1.0] * len(rankings), lambda ranking: [1.0] * len(ranking.keys))
    return {key: held[key] * total for key, total in sums.items()}


@fusion("minmax")
def min_max(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Weighted sum of scores scaled to 0…1 by each ranking's least and greatest. Lee, SIGIR 1997 (CombSUM).

    >>> min_max([Ranking((("c", "a"), ("c", "b")), (3.0, 1.0))], [0.5])
    {('c', 'a'): 0.5, ('c', 'b'): 0.0}
    """
    return _summed(rankings, weights, lambda ranking: _between(ranking, ranking.low, ranking.high))


@fusion("tmm")
def theoretical_min_max(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """As `minmax`, with the least score the scorer *could* give (0 for BM25, -1 for cosine) for the least.

    Bruch, Gai & Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023.

    >>> theoretical_min_max([Ranking((("c", "a"), ("c", "b")), (4.0, 1.0), floor=0.0)], [1.0])
    {('c', 'a'): 1.0, ('c', 'b'): 0.25}
    """
    return _summed(rankings, weights, lambda r: _between(r, r.low if r.floor is None else r.floor, r.high))


@fusion("zscore")
def z_score(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Weighted sum of (score - mean) / deviation, shifted so that each ranking's last gets 0.

    The shift keeps a document that only one ranking holds from beating one that both put last.
    Montague & Aslam, "Relevance Score Normalization for Metasearch", CIKM 2001.

    >>> z_score([Ranking((("c", "a"), ("c", "b")), (3.0, 1.0))], [1.0])
    {('c', 'a'): 2.0, ('c', 'b'): 0.0}
    """
    return _summed(rankings, weights, lambda r: [(score - r.low) / (r.deviation or 1.0) for score in r.scores])


@fusion("dbsf")
def distribution_based(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Weighted sum of scores scaled to 0…1 between three deviations below and above the mean (Mazzeschi, 2023).

    >>> distribution_based([Ranking((("c", "a"), ("c", "b")), (3.0, 1.0))], [1.0])[("c", "a")] == 4 / 6
    True
    """

    def scale(ranking: Ranking) -> Sequence[float]:
        if len(ranking.scores) < 2:
            return [0.5] * len(ranking.scores)
        mean, reach = statistics.fmean(ranking.scores), 3 * ranking.deviation
        return [min(1.0, max(0.0, each)) for each in _between(ranking, mean - reach, mean + reach)]

    return _summed(rankings, weights, scale)


@fusion("borda")
def borda_count(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """Weighted sum of points: of n documents a ranking's first gets n, its second n - 1, and so on.

    Those that it lacks share the points that it leaves, evenly. Aslam & Montague, "Models for Metasearch", SIGIR 2001.

    >>> first, second = Ranking((("c", "a"), ("c", "b")), (2.0, 1.0)), Ranking((("c", "d"),), (1.0,))
    >>> borda_count([first, second], [1.0, 1.0])  # of second, a and b get (2 + 1) / 2 each
    {('c', 'a'): 4.5, ('c', 'b'): 3.5, ('c', 'd'): 4.0}
    """
    keys = list(dict.fromkeys(key for ranking in rankings for key in ranking.keys))
    totals = dict.fromkeys(keys, 0.0)
    for ranking, weight in zip(rankings, weights, strict=True):
        points = {key: float(len(keys) - place) for place, key in enumerate(ranking.keys)}
        left = (len(keys) - len(ranking.keys) + 1) / 2
        for key in keys:
            totals[key] += weight * points.get(key, left)
    return totals


@fusion("condorcet")
def condorcet(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """The share of the other documents that it beats, a tie for half: by the weight of the rankings that favour it.

    A ranking puts what it lacks behind what it holds, and says nothing between two that it lacks. Whoever beats all
    others is first, and a group whose members each beat everyone outside it comes before them. Montague & Aslam,
    "Condorcet Fusion for Improved Retrieval", CIKM 2002; a circle, that their sorting breaks anywhere, is
    ordered by the number of victories here (Copeland, 1951).

    >>> rankings = [Ranking(tuple(("c", name) for name in order), (3.0, 2.0, 1.0)) for order in ("abd", "bad", "bda")]
    >>> condorcet(rankings, [1.0, 1.0, 1.0])
    {('c', 'a'): 0.5, ('c', 'b'): 1.0, ('c', 'd'): 0.0}
    """
    keys = list(dict.fromkeys(key for ranking in rankings for key in ranking.keys))
    places = np.full((len(rankings), len(keys)), len(keys))
    column = {key: at for at, key in enumerate(keys)}
    for row, ranking in zip(places, rankings, strict=True):
        row[[column[key] for key in ranking.keys]] = np.arange(len(ranking.keys))
    votes = np.asarray(weights, float) / (sum(weights) or 1)
    won = [np.sign((votes @ np.sign(places - places[:, [at]])).round(12)) for at in range(len(keys))]
    others = max(1, len(keys) - 1)
    return {key: float((each.sum() + others) / 2 / others) for key, each in zip(keys, won, strict=True)}


@fusion("max")
def best_rank(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """The greatest of weight / rank: a document is as good as its best place. What `a | b` uses.

    >>> best_rank([Ranking((("c", "a"), ("c", "b")), (2.0, 1.0)), Ranking((("c", "b"),), (1.0,))], [1, 1])
    {('c', 'a'): 1.0, ('c', 'b'): 1.0}
    """
    return {key: max(shares) for key, shares in _shares(rankings, weights).items()}


@fusion("min")
def worst_rank(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, float]:
    """The least of weight / rank, for documents that every ranking holds. What `a & b` uses.

    >>> worst_rank([Ranking((("c", "a"), ("c", "b")), (2.0, 1.0)), Ranking((("c", "b"),), (1.0,))], [1, 1])
    {('c', 'b'): 0.5}
    """
    shares = _shares(rankings, weights)
    return {key: min(given) for key, given in shares.items() if len(given) == len(rankings)}


def _shares(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[Key, list[float]]:
    shares: dict[Key, list[float]] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, key in enumerate(ranking.keys, start=1):
            shares.setdefault(key, []).append(weight / rank)
    return shares


def _summed(rankings: Sequence[Ranking], weights: Sequence[float], scale: Scale) -> dict[Key, float]:
    totals: dict[Key, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for key, value in zip(ranking.keys, scale(ranking), strict=True):
            totals[key] = totals.get(key, 0.0) + weight * value
    return totals


def _between(ranking: Ranking, low: float, high: float) -> list[float]:
    """Scores scaled so that `low` is 0 and `high` is 1; all 1 where there is nothing between the two."""
    if high <= low:
        return [1.0] * len(ranking.scores)
    return [(score - low) / (high - low) for score in ranking.scores]
