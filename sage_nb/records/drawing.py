"""Boxes and arrows as SVG: what flows into what, from top to bottom, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sage_nb.records.markup import escape

WIDE, HIGH, GAP_X, GAP_Y, EDGE = 170, 42, 28, 40, 12  # pixels: a box, the room between boxes, the picture's edge
NARROW = 4  # pixels: an arrow that passes a layer
LETTERS = 22  # of a title; longer ones are cut, and whole where the pointer rests

RULES = (
    ".sage-graph{max-width:100%;height:auto;font:12px var(--jp-ui-font-family,sans-serif)}"
    ".sage-graph rect{fill:var(--jp-layout-color2,#f5f5f5);stroke:var(--jp-border-color1,#bdbdbd)}"
    ".sage-graph text{fill:var(--jp-ui-font-color1,#212121);text-anchor:middle}"
    ".sage-graph .quiet{fill:var(--jp-ui-font-color2,#616161);font-size:10.5px;paint-order:stroke;"
    "stroke:var(--jp-layout-color1,#fff);stroke-width:5px}.sage-graph rect+text+.quiet{stroke:none}"
    ".sage-graph path{fill:none;stroke:var(--jp-ui-font-color2,#616161);stroke-width:1.2}"
    ".sage-graph path.back{stroke-dasharray:4 3}.sage-graph marker path{fill:var(--jp-ui-font-color2,#616161)}"
)
STYLE = f"<style>{RULES}</style>"


@dataclass(frozen=True)
class Box:
    """A thing: its id, its title, and a word below it."""

    id: str
    title: str
    below: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one box to another; `back` where it leads up again, which no layer counts."""

    tail: str
    head: str
    label: str = ""
    back: bool = False


@dataclass(frozen=True)
class Spot:
    """The middle of a box's place."""

    x: float
    y: float


def drawing(boxes: Sequence[Box], arrows: Sequence[Arrow], title: str = "") -> str:
    """The picture. Boxes stand in an order in which arrows lead forward, but for those that lead back.

    >>> drawing([Box("a", "<b>"), Box("c", "d")], [Arrow("a", "c", "by key")]).count("<rect")
    2
    """
    spots = _placed(boxes, arrows)
    width, height = _size(spots, arrows)
    parts = [_arrow(each, spots) for each in arrows] + [_box(each, spots[each.id]) for each in boxes]
    head = (
        "<defs><marker id='sage-tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
        "orient='auto-start-reverse'><path d='M0 0L8 4L0 8z'/></marker></defs>"
    )
    return (
        f"{STYLE}<svg class='sage-graph mathjax_ignore' xmlns='http://www.w3.org/2000/svg' role='img' "
        f"width='{width:.0f}' height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}'>"
        f"<title>{escape(title).text}</title>{head}{''.join(parts)}</svg>"
    )


def drawn(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> dict[str, Any]:
    """The same picture as plain numbers and texts, for who draws it himself: a widget's JavaScript.

    >>> drawn([Box("a", "a"), Box("b", "b")], [Arrow("a", "b")])["arrows"][0]["path"]
    'M97 54C97 74 97 74 97 94'
    """
    spots = _placed(boxes, arrows)
    width, height = _size(spots, arrows)
    lines = [(each, *_line(each, spots)) for each in arrows]
    return {
        "width": width,
        "height": height,
        "boxes": [
            {"x": spots[b.id].x - WIDE / 2, "y": spots[b.id].y - HIGH / 2, "wide": WIDE, "high": HIGH}
            | {"title": b.title, "shown": _shown(b.title), "below": b.below}
            for b in boxes
        ],
        "arrows": [
            {"path": path, "back": arrow.back, "label": arrow.label, "x": middle.x, "y": middle.y}
            for arrow, path, middle in lines
        ],
    }


def _size(spots: Mapping[str, Spot], arrows: Sequence[Arrow]) -> tuple[float, float]:
    aside = GAP_X if any(arrow.back for arrow in arrows) else 0
    width = max((spot.x for spot in spots.values()), default=0.0) + WIDE / 2 + EDGE + aside
    return width, max((spot.y for spot in spots.values()), default=0.0) + HIGH / 2 + EDGE


def _placed(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> dict[str, Spot]:
    """A place for each box: a layer below all it comes from, and in it near the middle of them.

    An arrow over several layers keeps a place free in each it passes (named by the arrow), so that it crosses no box.
    """
    parents: dict[str, list[str]] = {box.id: [] for box in boxes}
    for arrow in arrows:
        if not arrow.back:
            parents[arrow.head].append(arrow.tail)
    layer: dict[str, int] = {}
    for box in boxes:
        layer[box.id] = 1 + max((layer[parent] for parent in parents[box.id]), default=-1)
    rows: dict[int, list[tuple[str, list[str]]]] = {}
    for box in boxes:
        rows.setdefault(layer[box.id], []).append((box.id, parents[box.id]))
    for arrow in arrows:
        for at in range(layer[arrow.tail] + 1, layer[arrow.head]):
            before = arrow.tail if at == layer[arrow.tail] + 1 else _passage(arrow, at - 1)
            rows.setdefault(at, []).append((_passage(arrow, at), [before]))
    spots: dict[str, Spot] = {}
    for at in sorted(rows):
        _lay(rows[at], at, spots)
    return spots


def _lay(row: list[tuple[str, list[str]]], at: int, spots: dict[str, Spot]) -> None:
    """One layer from left to right, each box as near to the middle of its parents as its neighbours leave it."""

    def wish(entry: tuple[str, list[str]]) -> float:
        known = [spots[parent].x for parent in entry[1] if parent in spots]
        return sum(known) / len(known) if known else EDGE + WIDE / 2

    free = float(EDGE)
    for name, parents in sorted(row, key=wish):
        half = (NARROW if "\0" in name else WIDE) / 2
        x = max(free + half, wish((name, parents)))
        spots[name] = Spot(x, EDGE + HIGH / 2 + at * (HIGH + GAP_Y))
        free = x + half + GAP_X


def _passage(arrow: Arrow, layer: int) -> str:
    return f"{arrow.tail}\0{arrow.head}\0{arrow.label}\0{layer}"


def _box(box: Box, spot: Spot) -> str:
    whole = f"<title>{escape(box.title).text}</title>"
    up = 3 if box.below else -4
    below = f"<text class='quiet' x='{spot.x:.0f}' y='{spot.y + 14:.0f}'>{escape(box.below).text}</text>"
    return (
        f"<g>{whole}<rect x='{spot.x - WIDE / 2:.0f}' y='{spot.y - HIGH / 2:.0f}' "
        f"width='{WIDE}' height='{HIGH}' rx='4'/>"
        f"<text x='{spot.x:.0f}' y='{spot.y - up:.0f}'>{escape(_shown(box.title)).text}</text>"
        f"{below if box.below else ''}</g>"
    )


def _shown(title: str) -> str:
    return title if len(title) <= LETTERS else title[: LETTERS - 1] + "…"


def _arrow(arrow: Arrow, spots: Mapping[str, Spot]) -> str:
    path, middle = _line(arrow, spots)
    dashed = " class='back'" if arrow.back else ""
    line = f"<path{dashed} d='{path}' marker-end='url(#sage-tip)'/>"
    label = f"<text class='quiet' x='{middle.x:.0f}' y='{middle.y:.0f}'>{escape(arrow.label).text}</text>"
    return f"{line}{label if arrow.label and not arrow.back else ''}"


def _line(arrow: Arrow, spots: Mapping[str, Spot]) -> tuple[str, Spot]:
    """Its path, and the place of its label."""
    start, end = spots[arrow.tail], spots[arrow.head]
    if arrow.back:
        side = max(start.x, end.x) + WIDE / 2 + GAP_X
        path = (
            f"M{start.x + WIDE / 2:.0f} {start.y:.0f}C{side:.0f} {start.y:.0f} {side:.0f} {end.y:.0f} "
            f"{end.x + WIDE / 2:.0f} {end.y:.0f}"
        )
        return path, Spot(side, (start.y + end.y) / 2)
    stops = [Spot(start.x, start.y + HIGH / 2)]
    stops += [spots[name] for at in range(len(spots)) if (name := _passage(arrow, at)) in spots]
    stops += [Spot(end.x, end.y - HIGH / 2)]
    curves = "".join(_curve(one, other) for one, other in pairwise(stops))
    middle = Spot((stops[-2].x + stops[-1].x) / 2, (stops[-2].y + stops[-1].y) / 2 + 3)
    return f"M{stops[0].x:.0f} {stops[0].y:.0f}{curves}", middle


def _curve(one: Spot, other: Spot) -> str:
    middle = (one.y + other.y) / 2
    return f"C{one.x:.0f} {middle:.0f} {other.x:.0f} {middle:.0f} {other.x:.0f} {other.y:.0f}"
