"""Plots as SVG: round ticks, points in their places, text that stays text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.records.plot import HIGH, WIDE, Series, axis, plot, rounds

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=8)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_between_the_ends(low, wide):
    ticks = rounds(low, low + wide)
    assert 2 <= len(ticks) <= 6
    assert all(low - wide * 1e-6 <= each <= low + wide * (1 + 1e-6) for each in ticks)
    assert list(ticks) == sorted(set(ticks))


@given(NUMBERS)
def test_an_axis_keeps_order_and_holds_all(values):
    scale = axis(values, 10.0, 90.0)
    places = [scale.place(each) for each in sorted(values)]
    assert places == sorted(places)
    assert all(10 <= each <= 90 for each in places)


def test_numbers_far_apart_are_set_by_their_logarithms():
    scale = axis([1.0, 10.0, 100.0], 0, 100)
    assert scale.place(10) - scale.place(1) == pytest.approx(scale.place(100) - scale.place(10))


def test_points_stand_where_their_numbers_say():
    drawn = ElementTree.fromstring(plot([Series(((0.0, 0.0, "low"), (1.0, 1.0, "high")))], ("x", "y"), "t"))
    low, high = drawn.iter("{http://www.w3.org/2000/svg}circle")
    assert float(low.get("cx")) < float(high.get("cx"))
    assert float(low.get("cy")) > float(high.get("cy")), "y grows upward"
    assert 0 <= float(low.get("cx")) <= WIDE
    assert 0 <= float(low.get("cy")) <= HIGH


@pytest.mark.parametrize(("far", "labels"), [(0.5001, 1), (0.9, 2)])
def test_a_label_that_would_lie_on_another_is_left_out(far, labels):
    points = [(0.0, 0.1), (1.0, 0.5), (1.0, far)]
    drawn = plot([Series(((*point, "a"),), "one" if point[0] else "") for point in points], ("x", "y"), "t")
    assert drawn.count(">one</text>") == labels


def test_text_stays_text_and_one_point_is_enough():
    said = "</title><script>alert(1)</script>"
    drawn = plot([Series(((5.0, 0.5, said),), said)], (said, said), said)
    assert "<script" not in drawn
    assert len(re.findall("<circle", drawn)) == 1
    ElementTree.fromstring(drawn)
