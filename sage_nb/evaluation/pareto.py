"""What is worth its cost: those that no other beats in both."""

from __future__ import annotations

from collections.abc import Mapping


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the (cost, quality) that no other is at least as good as in both and better in one; cheapest first.

    Equal points stand together: neither beats the other.

    >>> pareto({"bm25": (2, 0.4), "hybrid": (9, 0.5), "slow": (20, 0.45), "rerank": (90, 0.6)})
    ['bm25', 'hybrid', 'rerank']
    """
    best: list[str] = []
    for name in sorted(points, key=lambda each: (points[each][0], -points[each][1])):
        if not best or points[name][1] > points[best[-1]][1] or points[name] == points[best[-1]]:
            best.append(name)
    return best
