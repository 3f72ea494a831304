"""Texts of different lengths laid side by side, so that a transformer does not compute padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Row = list[int]  # texts, by their places among those given

STEP = 32  # torch's CPU attention takes 1.3 to 2 times as long per token where a row is no multiple of it (AVX512-BF16)
NARROWEST = 128  # three short texts fill such a row better than one fills a row of 64


@dataclass(frozen=True)
class Tokens:
    """A text, or a pair, as its tokens: their ids, and how many of them are on the first side of the pair."""

    ids: Sequence[int]
    first: int


@dataclass(frozen=True)
class Packed:
    """The tokens of several texts in rows of `width` tokens, or one after the other where it is 0.

    Arrays (tokens,): `ids`, `sides`, `positions` within a text, and `owners`, the number of a token's text, or -1 where
    a row is filled up. Arrays (texts,): `starts` and `lengths`.

    >>> two = Packed.of([Tokens([7, 8], first=1), Tokens([9], first=1)], [[0, 1]], width=4)
    >>> two.ids.tolist(), two.sides.tolist(), two.owners.tolist(), two.starts.tolist()
    ([7, 8, 9, 0], [0, 1, 0, 0], [0, 0, 1, -1], [0, 2])
    """

    ids: Integers
    sides: Integers
    positions: Integers
    owners: Integers
    starts: Integers
    lengths: Integers
    width: int

    @classmethod
    def of(cls, texts: Sequence[Tokens], rows: Sequence[Row], width: int) -> Packed:
        """The texts that the rows name, numbered in that order."""
        order = [texts[text] for row in rows for text in row]
        lengths = np.array([len(text.ids) for text in order], np.int64)
        begins = np.cumsum(lengths) - lengths
        starts = begins
        if width:  # a text begins as far into its row as it does beyond the first text of that row
            counts = [len(row) for row in rows]
            first = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
            starts = begins - begins[first] + np.repeat(np.arange(len(rows)), counts) * width
        positions = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        places, size = np.repeat(starts, lengths) + positions, len(rows) * width or int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(text.ids for text in order), np.int64, len(positions))
        sides = positions >= np.repeat([text.first for text in order], lengths)
        owners = np.repeat(np.arange(len(order)), lengths)
        laid = [_laid(each, places, size, fill) for each, fill in ((ids, 0), (sides, 0), (positions, 0), (owners, -1))]
        return cls(laid[0], laid[1], laid[2], laid[3], starts, lengths, width)

    @property
    def rows(self) -> Integers:
        """Owners as (rows, width): tokens of one owner see each other."""
        return self.owners.reshape(-1, self.width)


def rows_of(lengths: Sequence[int], width: int) -> list[Row]:
    """Texts in as few rows of `width` tokens as first-fit decreasing finds: each, longest first, where it first fits.

    At most 11/9 of the fewest there are, and one (Johnson, "Near-optimal bin packing algorithms", 1973).

    >>> rows_of([60, 100, 30, 70], width=128)
    [[1], [3, 2], [0]]
    """
    rows, room = list[Row](), list[int]()
    for text in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        at = next((at for at, left in enumerate(room) if left >= lengths[text]), len(rows))
        if at == len(rows):
            rows.append([])
            room.append(width)
        rows[at].append(text)
        room[at] -= lengths[text]
    return rows


def width_for(lengths: Sequence[int]) -> int:
    """Of rows for texts of these lengths: the longest fits, and few short ones do not make a wide row.

    >>> width_for([12]), width_for([90, 80, 12]), width_for([200])
    (32, 128, 224)
    """
    return -(-min(max(*lengths, NARROWEST), sum(lengths)) // STEP) * STEP


def _laid(values: npt.ArrayLike, places: Integers, size: int, fill: int) -> Integers:
    laid = np.full(size, fill, np.int64)
    laid[places] = values
    return laid
