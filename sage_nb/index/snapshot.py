"""A snapshot: some segments, read as one. Statistics are over all live rows, so that scores equal a rebuild's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_nb.index.bm25 import Floats, Statistics, Weighting, okapi_idf
from sage_nb.index.dense import Vectors
from sage_nb.index.lexical import Ints, Mask
from sage_nb.index.manifest import Manifest
from sage_nb.index.segment import Origin, Segment
from sage_nb.records.filters import Filter
from sage_nb.records.values import Document


class Found(NamedTuple):
    """A row of the snapshot and its score."""

    row: int
    score: float


class Snapshot:
    """What a collection held at one commit; it stays readable while later ones are made."""

    def __init__(self, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.manifest = manifest
        self.segments = tuple(segments)
        self._bases = np.cumsum([0, *(segment.entry.rows for segment in self.segments)])

    @property
    def rows(self) -> int:
        """Live passages."""
        return self.manifest.rows

    @cached_property
    def lengths(self) -> Floats:
        """Terms in each row, dead ones too."""
        return np.concatenate([[], *(segment.postings.lengths for segment in self.segments)])

    @cached_property
    def statistics(self) -> Statistics:
        """Number and mean length of the live rows."""
        return Statistics(self.rows, self.manifest.terms / max(1, self.rows))

    @cached_property
    def okapi_statistics(self) -> Statistics:
        """`statistics` with the mean idf over all terms, which only the okapi variant wants (a pass over all)."""
        total: Counter[str] = Counter()
        for segment in self.segments:
            total.update(segment.postings.document_frequencies(segment.live))
        idfs = [okapi_idf(frequency, self.rows) for frequency in total.values() if frequency]
        return Statistics(self.rows, self.statistics.average_length, float(np.mean(idfs)) if idfs else 0.0)

    def lexical(self, terms: Sequence[str], k: int, weighting: Weighting, only: Filter | None) -> list[Found]:
        """The best `k` rows that hold one of `terms` and that `only` accepts; a repeated term counts again."""
        scores = np.zeros(int(self._bases[-1]))
        matched = np.zeros(len(scores), np.bool_)
        of = self.okapi_statistics if weighting.variant == "okapi" else self.statistics
        for term, times in Counter(terms).items():
            rows, frequencies, live = self.postings(term)
            if not live:
                continue
            worth = times * weighting.idf(live, of)
            scores += worth * weighting.absent
            shares = weighting.weigh(frequencies, self.lengths[rows], of)
            scores[rows] += worth * (shares - weighting.absent)
            matched[rows] = True
        return self.best(scores, matched & self.allowed(only), k)

    def postings(self, term: str) -> tuple[Ints, Floats, int]:
        """Rows that hold `term`, its frequency in each, and how many of them are live."""
        rows: list[Ints] = [np.zeros(0, np.int64)]
        frequencies: list[npt.NDArray[Any]] = [np.zeros(0)]
        live = 0
        for base, segment in zip(self._bases, self.segments, strict=False):
            here, counts = segment.postings.find(term)
            live += int(segment.live[here].sum()) if segment.entry.dead else len(here)
            rows.append(here + base)
            frequencies.append(counts)
        return np.concatenate(rows), np.concatenate(frequencies).astype(np.float64), live

    def dense(self, queries: Vectors, k: int, only: Filter | None) -> list[list[Found]]:
        """For each query vector the best `k` rows by inner product, of those that `only` accepts."""
        merged: list[list[Found]] = [[] for _ in queries]
        for base, segment in zip(self._bases, self.segments, strict=False):
            if segment.dense is None:
                continue
            allowed = segment.allowed(only)
            mask = None if allowed.all() else allowed
            scores, rows = segment.dense.search(queries, min(k, segment.entry.rows), mask)
            for found, score, row in zip(merged, scores, rows, strict=True):
                kept = row >= 0
                found.extend(map(Found, (row[kept] + base).tolist(), score[kept].tolist()))
        return [self._ordered(found)[:k] for found in merged]

    def best(self, scores: Floats, eligible: Mask, k: int) -> list[Found]:
        """The `k` best eligible rows; equal scores by id, so that the order does not depend on how it was built."""
        rows = np.flatnonzero(eligible)
        if len(rows) > k:
            worst = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
            rows = rows[scores[rows] >= worst]
        return self._ordered([Found(row, float(scores[row])) for row in rows.tolist()])[:k]

    def allowed(self, only: Filter | None) -> Mask:
        """Rows that are live and that `only` accepts."""
        masks = [segment.allowed(only) for segment in self.segments]
        return np.concatenate(masks) if masks else np.zeros(0, np.bool_)

    def document(self, row: int) -> Document:
        """The passage in `row`."""
        at = self._segment(row)
        return self.segments[at].document(row - int(self._bases[at]))

    def documents(self) -> Iterator[Document]:
        """Every live passage."""
        for segment in self.segments:
            yield from segment.documents()

    def live_rows(self) -> Ints:
        """The rows of `documents`, in the same order."""
        return np.flatnonzero(self.allowed(None))

    def origin(self, name: str) -> tuple[Segment, Origin] | None:
        """The document called `name` and where it lies, or None."""
        for segment in self.segments:
            if (found := segment.origin(name)) is not None:
                return segment, found
        return None

    def _ordered(self, found: list[Found]) -> list[Found]:
        return sorted(found, key=lambda each: (-each.score, self._id(each.row)))

    def _id(self, row: int) -> str:
        at = self._segment(row)
        return str(self.segments[at].ids[row - int(self._bases[at])].as_py())

    def _segment(self, row: int) -> int:
        return int(np.searchsorted(self._bases, row, "right")) - 1
