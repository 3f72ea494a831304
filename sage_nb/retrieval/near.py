"""Near-duplicates: texts that say nearly the same in nearly the same words, found without comparing each with each.

Two texts are near-duplicates where their resemblance is `threshold` or more: of their shingles (runs of three words)
the number that both have over the number that either has. Broder, "On the resemblance and containment of documents",
SEQUENCES 1997.

The answer is exact. Only texts that share one of the first n - ⌈threshold · n⌉ + 1 of a text's n shingles, in any order
that is the same for all, can be so alike: the prefix filter of Chaudhuri, Ganti & Kaushik, "A Primitive Operator for
Similarity Joins in Data Cleaning", ICDE 2006. The order here is newest first: what all texts share comes early, and a
text is looked for by what it was the last to bring.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Hashable, Sequence

from sage_nb.errors import BadValueError

SHINGLE = 3  # words
WORD = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff]+|[\u3040-\u30ff\u3400-\u9fff]")  # Han and kana: each sign is one
SLACK = 1e-9  # what a product such as 0.7 * 10 may lack of what it should be


def normalised(text: str) -> list[str]:
    """The words of a text as they are compared: in one form of each character, without case, signs and spacing.

    >>> normalised("Rays  SCATTER, ﬁnely.")
    ['rays', 'scatter', 'finely']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str) -> set[Hashable]:
    """The runs of three words in a text; one that is shorter is a single run, one without words its signs.

    >>> sorted(shingles("Rays scatter at dusk."))
    [('rays', 'scatter', 'at'), ('scatter', 'at', 'dusk')]
    """
    words = normalised(text) or text.split()
    if len(words) <= SHINGLE:
        return {tuple(words)} if words else set()
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


class NearDuplicates:
    """Takes texts one by one and tells of each which earlier one it nearly repeats."""

    def __init__(self, threshold: float = 0.8) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
            raise BadValueError(f"near-duplicates need a threshold above 0, and 1 at the most, got {threshold!r}")
        self._threshold = threshold
        self._numbers: dict[Hashable, int] = {}  # of each shingle, in the order they came
        self._kept: dict[int, set[int]] = {}  # the shingles of each text that repeats none, by its place
        self._holders: dict[int, list[int]] = {}  # those texts, by each shingle of their prefix
        self._places = 0

    def place(self, text: str) -> int:
        """The place of the first text that this one nearly repeats, from 0; its own where it repeats none.

        Only texts that themselves repeat none are compared with: chains of small changes do not lead from one text to
        quite another. A text of nothing repeats nothing.
        """
        own, self._places = self._places, self._places + 1
        held = {self._numbers.setdefault(shingle, len(self._numbers)) for shingle in shingles(text)}
        prefix = sorted(held, reverse=True)[: len(held) - math.ceil(self._threshold * len(held) - SLACK) + 1]
        candidates = {place for number in prefix for place in self._holders.get(number, ())}
        first = next((place for place in sorted(candidates) if self._alike(held, self._kept[place])), None)
        if first is not None:
            return first
        self._kept[own] = held
        for number in prefix:
            self._holders.setdefault(number, []).append(own)
        return own

    def _alike(self, one: set[int], other: set[int]) -> bool:
        small, large = sorted((len(one), len(other)))
        if small < self._threshold * large - SLACK:
            return False
        common = len(one & other)
        return common >= self._threshold * (small + large - common) - SLACK


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[int]:
    """For each text the place of the first that it nearly repeats; its own where it repeats none.

    `threshold` is the least resemblance (see above), above 0; at 1 their runs of words must be the same.

    >>> near_duplicates(["Barriers align at each input.", "Windows slide.", "barriers align, at each input"])
    [0, 1, 0]
    """
    seen = NearDuplicates(threshold)
    return [seen.place(text) for text in texts]
