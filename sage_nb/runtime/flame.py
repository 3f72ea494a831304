"""A flame-like picture: bars as wide as their time, each above the bars it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sage_nb.records.markup import escape

WIDTH, HEIGHT, GAP, LETTER = 960.0, 26, 2, 6.6
COLORS = {
    "job": "#c9d3df",
    "task": "#a9c5e8",
    "self": "#f2b872",
    "model": "#e58f7b",
    "runtime": "#d8d2bd",
    "blocked": "#e3a6c4",
    "idle": "#e4e7ea",
}
LEGEND = {
    "self": "operator",
    "model": "model",
    "runtime": "moving records",
    "blocked": "back-pressured",
    "idle": "idle",
}


@dataclass(frozen=True)
class Bar:
    """Some time, what it was spent on, and its parts."""

    kind: Literal["job", "task", "self", "model", "runtime", "blocked", "idle"]
    label: str
    seconds: float
    parts: tuple[Bar, ...] = ()
    note: str = ""


def drawn(bar: Bar) -> str:
    """The picture as SVG without script; a bar says what it is where the pointer rests."""
    depth = _depth(bar)
    height = depth * (HEIGHT + GAP) + HEIGHT
    boxes = "".join(_boxes(bar, 0.0, 0, WIDTH / bar.seconds if bar.seconds else 0.0, bar.seconds))
    return (
        f"<svg class='sage-flame mathjax_ignore' viewBox='0 0 {WIDTH:g} {height}' role='img' "
        f"aria-label='where the time went' "
        f"style='width:100%;max-width:68em;height:auto' font-family='var(--jp-ui-font-family,sans-serif)' "
        f"font-size='12'>{boxes}{_legend(depth * (HEIGHT + GAP))}</svg>"
    )


def _boxes(bar: Bar, left: float, row: int, scale: float, total: float) -> Iterator[str]:
    width = bar.seconds * scale
    if width < 0.5:
        return
    share = f"{bar.seconds:.3g} s, {bar.seconds / total:.0%}"
    title = " · ".join(filter(None, (bar.label, share, bar.note)))
    top = row * (HEIGHT + GAP)
    yield (
        f"<g><title>{escape(title).text}</title><rect x='{left:.1f}' y='{top}' width='{max(0.5, width - 1):.1f}' "
        f"height='{HEIGHT}' rx='3' fill='{COLORS[bar.kind]}'/>{_text(bar, share, left, top, width)}</g>"
    )
    for part in bar.parts:
        yield from _boxes(part, left, row + 1, scale, total)
        left += part.seconds * scale


def _text(bar: Bar, share: str, left: float, top: float, width: float) -> str:
    """As much of the label as there is room for; dark on all these colours."""
    room = int((width - 10) / LETTER)
    text = f"{bar.label}  {share}"
    if len(text) > room:
        text = bar.label if len(bar.label) <= room else f"{bar.label[: room - 1]}…"
    if room < 3:
        return ""
    return f"<text x='{left + 6:.1f}' y='{top + 17}' fill='#1d2126' xml:space='preserve'>{escape(text).text}</text>"


def _legend(top: float) -> str:
    shown, left = [], 0.0
    for kind, word in LEGEND.items():
        shown.append(
            f"<rect x='{left:g}' y='{top + 7}' width='12' height='12' rx='2' fill='{COLORS[kind]}'/>"
            f"<text x='{left + 17:g}' y='{top + 17}' fill='var(--jp-ui-font-color2,#666)'>{word}</text>"
        )
        left += 40 + len(word) * LETTER
    return "".join(shown)


def _depth(bar: Bar) -> int:
    return 1 + max((_depth(part) for part in bar.parts), default=0)
