"""Boxes and arrows: nothing overlaps, everything is escaped."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from sage_nb.records.drawing import HIGH, WIDE, Arrow, Box, drawing


def rectangles(picture: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"<rect x='(-?\d+)' y='(-?\d+)'", picture)]


def test_boxes_do_not_overlap_and_arrows_lead_down():
    names = "abcdefgh"
    arrows = [Arrow(one, other) for one, other in ("ab", "ac", "ad", "be", "ce", "df", "eg", "fg", "ah")]
    placed = rectangles(drawing([Box(name, name) for name in names], arrows))
    for at, (x, y) in enumerate(placed):
        for other_x, other_y in placed[:at]:
            assert abs(x - other_x) >= WIDE or abs(y - other_y) >= HIGH
    height = dict(zip(names, (y for _, y in placed), strict=True))
    assert all(height[arrow.tail] < height[arrow.head] for arrow in arrows)


def test_titles_are_escaped_cut_and_whole_under_the_pointer():
    picture = drawing([Box("a", "<script>alert(1)</script>\x00 and so on", "x & y")], [], "<i>")
    assert "<script" not in picture
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd and so on" in picture
    assert "…</text>" in picture
    ET.fromstring(picture[picture.index("<svg") :])


def test_an_arrow_that_leads_back_is_dashed_and_moves_no_box():
    boxes = [Box("a", "a"), Box("b", "b")]
    there, back = [Arrow("a", "b")], Arrow("b", "a", back=True)
    assert rectangles(drawing(boxes, there)) == rectangles(drawing(boxes, [*there, back]))
    assert "class='back'" in drawing(boxes, [*there, back])


def test_nothing_is_an_empty_picture():
    assert rectangles(drawing([], [])) == []
