"""What is worth its cost, against what the definition says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_nb.evaluation.pareto import pareto

SMALL = st.integers(0, 4)


def beats(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(st.dictionaries(st.text(max_size=2), st.tuples(SMALL, SMALL), max_size=12))
def test_those_that_no_other_beats_and_only_those(points):
    front = pareto(points)
    assert sorted(front) == sorted(name for name in points if not any(beats(p, points[name]) for p in points.values()))
    assert [points[name] for name in front] == sorted(points[name] for name in front)
