"""Postings: which terms stand in which rows, how often.

Frequencies are kept, scores are not: they depend on the whole collection, and are worked out when a question comes
(so that adding stays cheap and exact).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_nb.index.files import SortedStrings, read_array, read_table, write_array, write_table

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ASKED = 1 << 14  # terms whose place in a segment is kept at hand: to find one takes as long as to score 600 postings


@dataclass(frozen=True)
class Postings:
    """Terms (sorted) and, for term t, rows `rows[starts[t]:starts[t+1]]` (ascending) with their frequencies.

    `starts` int64 (terms + 1,), `rows` int32, `frequencies` int32 (postings,), `lengths` int32 (rows,): terms a row.
    """

    terms: list[str]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    frequencies: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]

    @classmethod
    def of(cls, tokens: Iterable[Sequence[str]]) -> Postings:
        """The postings of tokenised texts, one a row.

        >>> made = Postings.of([["a", "b", "a"], ["b"]])
        >>> made.terms, made.rows.tolist(), made.frequencies.tolist()
        (['a', 'b'], [0, 0, 1], [2, 1, 1])
        """
        seen: dict[str, int] = {}
        terms: list[int] = []
        rows: list[int] = []
        frequencies: list[int] = []
        lengths: list[int] = []
        for row, words in enumerate(tokens):
            counts: Counter[str] = Counter(words)
            lengths.append(len(words))
            terms.extend([seen.setdefault(word, len(seen)) for word in counts])
            rows.extend([row] * len(counts))
            frequencies.extend(counts.values())
        return cls.grouped(list(seen), np.array(terms, np.int64), np.array(rows), np.array(frequencies), lengths)

    @classmethod
    def grouped(
        cls,
        names: list[str],
        terms: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        frequencies: npt.NDArray[np.int64],
        lengths: Sequence[int] | npt.NDArray[np.int32],
    ) -> Postings:
        """Postings from loose triples (term number, row, frequency), `rows` ascending within each term."""
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        place = rank[terms] if len(terms) else terms
        by_term = np.argsort(place, kind="stable")
        starts = np.zeros(len(names) + 1, np.int64)
        np.cumsum(np.bincount(place, minlength=len(names)), out=starts[1:])
        return cls(
            [names[i] for i in order],
            starts,
            rows[by_term].astype(np.int32),
            frequencies[by_term].astype(np.int32),
            np.asarray(lengths, np.int32),
        )

    def write(self, folder: Path) -> None:
        """Five files in `folder`."""
        import pyarrow as pa

        write_table(folder / "terms.arrow", {"term": pa.array(self.terms, pa.large_string())})
        for name in ("starts", "rows", "frequencies", "lengths"):
            write_array(folder / f"{name}.npy", getattr(self, name))


class PostingsReader:
    """Postings on disk, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._column = read_table(folder / "terms.arrow")["term"]
        self._place = lru_cache(ASKED)(SortedStrings(self._column).find)
        self._starts = read_array(folder / "starts.npy")
        self._rows = read_array(folder / "rows.npy")
        self._frequencies = read_array(folder / "frequencies.npy")
        self.lengths = read_array(folder / "lengths.npy")

    def find(self, term: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Rows and frequencies of `term`; empty where it does not occur."""
        at = self._place(term)
        span = slice(0, 0) if at < 0 else slice(self._starts[at], self._starts[at + 1])
        return self._rows[span], self._frequencies[span]

    def document_frequencies(self, live: Mask) -> dict[str, int]:
        """How many live rows hold each term: a pass over everything, for the okapi variant's mean idf."""
        if not len(self._rows):
            return {}
        counts = np.add.reduceat(live[self._rows].astype(np.int64), self._starts[:-1])
        return dict(zip(self._column.to_pylist(), map(int, counts), strict=True))

    def load(self) -> Postings:
        """All of it, in memory, for merging."""
        return Postings(
            self._column.to_pylist(),
            np.array(self._starts),
            np.array(self._rows),
            np.array(self._frequencies),
            np.array(self.lengths),
        )


def merge(parts: Sequence[tuple[Postings, Mask]]) -> Postings:
    """One segment's postings from several, without the rows that are no longer live; terms left empty go.

    >>> first, second = Postings.of([["a"], ["b"]]), Postings.of([["b", "c"]])
    >>> both = merge([(first, np.array([False, True])), (second, np.array([True]))])
    >>> both.terms, both.rows.tolist()
    (['b', 'c'], [0, 1, 1])
    """
    numbers: dict[str, int] = {}
    terms, rows, frequencies, base = [], [], [], 0
    for postings, live in parts:
        kept = live[postings.rows]
        spread = np.repeat(np.arange(len(postings.terms)), np.diff(postings.starts))[kept]
        used, local = np.unique(spread, return_inverse=True)
        number = np.array([numbers.setdefault(postings.terms[t], len(numbers)) for t in used], np.int64)
        terms.append(number[local] if len(used) else np.zeros(0, np.int64))
        rows.append((np.cumsum(live) - 1)[postings.rows[kept]] + base)
        frequencies.append(postings.frequencies[kept].astype(np.int64))
        base += int(live.sum())
    lengths = np.concatenate([postings.lengths[live] for postings, live in parts])
    term, row, frequency = (np.concatenate(part).astype(np.int64) for part in (terms, rows, frequencies))
    return Postings.grouped(list(numbers), term, row, frequency, lengths)
