"""Headings of a Markdown text: where they stand, and which of them a place stands under."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BETWEEN = " > "  # between the headings of a trail


class Heading(NamedTuple):
    """A heading: the character where its line begins, its depth (1 for `#`), its words."""

    start: int
    depth: int
    title: str


def headings(text: str) -> Iterator[Heading]:
    r"""The headings of a Markdown text, outside of code: `#` to `######…`, and lines underlined with `===`.

    >>> [(found.depth, found.title) for found in headings("intro\n## Install it ##\n```\n# no\n```\nUse\n===\n")]
    [(2, 'Install it'), (1, 'Use')]
    """
    fenced, above, start, above_start = False, "", 0, 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        fenced ^= bare.startswith(("```", "~~~"))
        if not fenced:
            words = bare.lstrip("#")
            if bare.startswith("#") and words.startswith((" ", "\t")):
                yield Heading(start, len(bare) - len(words), bare.strip("# \t"))
            elif above and bare and set(bare) == {"="}:
                yield Heading(above_start, 1, above)
            above, above_start = bare, start
        start += len(line)


def trails(found: Sequence[Heading]) -> list[str]:
    """For each heading those that it stands under, and itself.

    >>> trails([Heading(0, 1, "Guide"), Heading(9, 3, "Linux"), Heading(20, 2, "Use")])
    ['Guide', 'Guide > Linux', 'Guide > Use']
    """
    over: list[Heading] = []
    made = []
    for heading in found:
        over = [*(each for each in over if each.depth < heading.depth), heading]
        made.append(BETWEEN.join(each.title for each in over))
    return made


class Sections:
    r"""The sections of a text, by place.

    >>> Sections("# Guide\nIt is short.\n## Use\nPress it.").at(30)
    'Guide > Use'
    """

    def __init__(self, text: str) -> None:
        found = list(headings(text)) if "#" in text or "\n=" in text else []
        self._starts = [heading.start for heading in found]
        self._trails = trails(found)

    def at(self, place: int) -> str:
        """The headings over the character at `place`; "" where there is none."""
        under = bisect_right(self._starts, place) - 1
        return self._trails[under] if under >= 0 else ""
