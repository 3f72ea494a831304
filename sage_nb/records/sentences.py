"""Sentences of a text as exact slices of it: what is cited, compressed and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

# A sentence ends before the space behind a stop, behind a full-width stop (which needs none), and before an empty line,
# a point of a list or a heading. A run of stops is looked at from its first only: time stays in proportion.
_END = re.compile(
    r"(?P<end>(?<![.!?…])[.!?…]+[\"'\u2019”»)\]]*(?:\s?\[\d{1,3}\])*)(?!\s?\[\d{1,3}\])\s+(?=[\"'\u2018“«(\[]*[^\W_a-z])"
    r"|(?P<wide>[。\uff01\uff1f]+[\u2019”」』]*)"
    r"|(?P<gap>\n[^\S\n]*\n\s*|\n\s*(?=(?:[-*•]|\d{1,3}[.)]|#+)\s))"
)
_SHORT = re.compile(
    r"(?:\b(?:[A-Za-z]|[A-Z][a-z]?|al|approx|cf|Co|Dr|ed|eds|e\.g|esp|etc|Fig|fig|figs|i\.e|Inc|Jr|Ltd|Mr|Mrs|Ms|no|No"
    r"|nos|pp|Prof|ref|refs|Sec|Sr|St|vol|Vol|vs|viz)|^\s*\d{1,3})\.$"
)
_LOOKED_AT = 12  # characters before a stop: enough for the longest abbreviation


def sentences(text: str) -> list[Span]:
    r"""Start and end of each sentence, without the space around it; points of a list and headings stand alone.

    A stop ends a sentence where no small letter follows and no usual abbreviation precedes; [numbers] behind it belong
    to it. Not a parser: a rule that errs on the side of sentences that are too long.

    >>> text = "Dr. Ray (b. 1900) saw 3.5 m of it. [2] It rained!\n- one\n- two"
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. Ray (b. 1900) saw 3.5 m of it. [2]', 'It rained!', '- one', '- two']
    """
    return [span for span in _between(text, _cuts(text)) if span[0] < span[1]]


def _cuts(text: str) -> Iterator[Span]:
    """Where one sentence ends, and where the next begins."""
    for match in _END.finditer(text):
        if match["gap"] is not None:
            yield match.span()
        elif match["wide"] is not None:
            yield match.end(), match.end()
        elif match["end"] != "." or not _abbreviated(text, match.start()):
            yield match.end("end"), match.end()


def _abbreviated(text: str, at: int) -> bool:
    """Whether the stop at `at` belongs to the word before it."""
    line = max(at - _LOOKED_AT, text.rfind("\n", 0, at) + 1, 0)
    return _SHORT.search(text[line : at + 1]) is not None


def _between(text: str, cuts: Iterator[Span]) -> Iterator[Span]:
    begun = 0
    for end, start in cuts:
        yield _bare(text, begun, end)
        begun = start
    yield _bare(text, begun, len(text))


def _bare(text: str, start: int, end: int) -> Span:
    inner = text[start:end]
    return end - len(inner.lstrip()), start + len(inner.rstrip())
