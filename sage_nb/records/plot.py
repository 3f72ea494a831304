"""Points and lines over two axes as SVG, for where no JavaScript runs; in the notebook's own colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sage_nb.records.markup import escape, shortened

WIDE, HIGH = 640, 280  # pixels
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 14, 44  # pixels: the room for axes around the plot
FAR = 12  # times: numbers farther apart than this are set by their logarithms
LABEL, LETTER = 28, 6.0  # the longest label in letters, and a letter in pixels
# Attributes and no style sheet: pages that take style sheets out of a notebook leave these.
INK = "var(--jp-ui-font-color1,#212121)"
QUIET = "var(--jp-ui-font-color2,#616161)"
GRID = "var(--jp-border-color2,#e0e0e0)"
PAPER = "var(--jp-layout-color1,#fff)"
COLOURS = ("#1976d2", "#ef6c00", "#2e7d32", "#8e24aa", "#00838f", "#c62828", "#6d4c41", "#546e7a")


@dataclass(frozen=True)
class Series:
    """Points, (x, y, what it is) each, in one colour; `joined` by a line, and the `label` at its end."""

    points: tuple[tuple[float, float, str], ...]
    label: str = ""
    joined: bool = True
    hollow: bool = False


@dataclass(frozen=True)
class Axis:
    """From numbers to pixels; `ticks` are what is written beside it."""

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def plot(series: Sequence[Series], names: tuple[str, str], title: str, *, alike: bool = False) -> str:
    """The picture, with the names of its axes; where the pointer rests on a point it says what that is.

    Each series has a colour of its own, or all the same where they are `alike`.

    >>> plot([Series(((1.0, 0.5, "<b>"), (2.0, 0.7, "c")), "k")], ("ms", "RR"), "RR by ms").count("<circle")
    2
    """
    x = axis([point[0] for each in series for point in each.points], LEFT, WIDE - RIGHT)
    y = axis([point[1] for each in series for point in each.points], HIGH - BOTTOM, TOP)
    colours = COLOURS[:1] if alike else COLOURS
    drawn = "".join(_series(each, colours[at % len(colours)], x, y) for at, each in enumerate(series))
    return (
        f"<svg class='mathjax_ignore' xmlns='http://www.w3.org/2000/svg' role='img' width='{WIDE}' height='{HIGH}' "
        f"viewBox='0 0 {WIDE} {HIGH}' style='max-width:100%;height:auto' font-size='11' font-family='sans-serif'>"
        f"<title>{escape(title).text}</title>{_axes(x, y, names)}{drawn}{''.join(_labels(series, x, y))}</svg>"
    )


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that holds the values with a little room; by logarithms where all are positive and far apart.

    >>> axis([1.0, 3.0], 0, 100).ticks, axis([1.0, 100.0], 0, 100).ticks
    ((1.0, 1.5, 2.0, 2.5, 3.0), (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0))
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high / low > FAR:
        line = axis_of(math.log10(low), math.log10(high), start, end)
        inside = (times * 10.0**power for power in range(-9, 10) for times in (1, 2, 5))
        ticks = tuple(float(f"{each:g}") for each in inside if low <= each <= high)
        return Axis(lambda value: line(math.log10(value)), ticks)
    return Axis(axis_of(low, high, start, end), rounds(low, high))


def axis_of(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The straight line from numbers to pixels, with a twentieth of room at each end."""
    room = (high - low) / 20 or abs(high) / 10 or 1.0
    return lambda value: start + (value - low + room) / (high - low + 2 * room) * (end - start)


def rounds(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round numbers between two, about `count` of them.

    >>> rounds(0.31, 0.52)
    (0.35, 0.4, 0.45, 0.5)
    """
    rough = (high - low) / count or 1.0
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(each * size for each in (1, 2, 5, 10) if each * size >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(float(f"{at * step:.10g}") for at in range(first, last + 1))


def _axes(x: Axis, y: Axis, names: tuple[str, str]) -> str:
    bottom, parts, free = HIGH - BOTTOM, [], 0.0
    for value in y.ticks:
        at = y.place(value)
        parts.append(f"<line x1='{LEFT}' x2='{WIDE - RIGHT}' y1='{at:.1f}' y2='{at:.1f}' stroke='{GRID}'/>")
        parts.append(_words(LEFT - 8, at + 4, f"{value:g}", "end", QUIET))
    for value in x.ticks:
        at, text = x.place(value), f"{value:g}"
        if at - 3.5 * len(text) > free:
            parts.append(_words(at, bottom + 16, text, "middle", QUIET))
            free = at + 3.5 * len(text) + 6
    parts.append(_words((LEFT + WIDE - RIGHT) / 2, HIGH - 6, names[0], "middle", QUIET))
    middle = (TOP + bottom) / 2
    side = f"<text text-anchor='middle' fill='{QUIET}' transform='translate(12 {middle:.0f}) rotate(-90)'>"
    return f"{''.join(parts)}{side}{escape(names[1]).text}</text>"


def _series(series: Series, colour: str, x: Axis, y: Axis) -> str:
    spots = [(x.place(across), y.place(up), said) for across, up, said in series.points]
    path = "L".join(f"{across:.1f} {up:.1f}" for across, up, _ in spots)
    line = f"<path d='M{path}' fill='none' stroke='{colour}' stroke-width='1.8'/>" if series.joined and spots else ""
    fill = PAPER if series.hollow else colour
    dots = "".join(
        f"<circle cx='{across:.1f}' cy='{up:.1f}' r='4' fill='{fill}' stroke='{colour}'>"
        f"<title>{escape(said).text}</title></circle>"
        for across, up, said in spots
    )
    return line + dots


def _labels(series: Sequence[Series], x: Axis, y: Axis) -> Iterator[str]:
    """Beside the last point of each, on the side where there is room; none that would lie on one before it."""
    taken: list[tuple[float, float, float]] = []
    for each in series:
        if not each.label or not each.points:
            continue
        said, across, up = shortened(each.label, LABEL), x.place(each.points[-1][0]), y.place(each.points[-1][1])
        wide, left = LETTER * len(said), across + 10 + LETTER * len(said) > WIDE
        start, line = (across - 8 - wide, up - 8) if left else (across + 8, up + 14)
        if all(start > end or start + wide < begin or abs(line - at) > 11 for begin, end, at in taken):
            taken.append((start, start + wide, line))
            yield _words(start + wide if left else start, line, said, "end" if left else "start")


def _words(x: float, y: float, text: str, anchor: str, fill: str = INK) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{fill}'>{escape(text).text}</text>"
