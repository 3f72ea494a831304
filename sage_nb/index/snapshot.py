"""A snapshot: some segments, read as one. Statistics are over all live rows, so that scores equal a rebuild's.

A share of a snapshot looks for hits among its own rows only, and scores them as the whole would: its statistics are
still over all of them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_nb.index.bm25 import Floats, Statistics, Terms, Weighting, okapi_idf, weights_of
from sage_nb.index.dense import Vectors
from sage_nb.index.levels import Level
from sage_nb.index.lexical import Ints, Mask
from sage_nb.index.manifest import Manifest, SegmentEntry
from sage_nb.index.segment import Origin, Segment
from sage_nb.index.share import WHOLE, Share
from sage_nb.records.filters import Filter
from sage_nb.records.values import Document

OPENERS = 4  # threads: one sums a segment's files while another's are read from the disk


class Found(NamedTuple):
    """A row of the snapshot and its score."""

    row: int
    score: float


class Snapshot:
    """What a collection held at one commit; it stays readable while later ones are made.

    Rows are numbered through all segments. Arrays are over the rows of the `share`, in the same order.
    """

    def __init__(self, manifest: Manifest, segments: Sequence[Segment], share: Share = WHOLE) -> None:
        self.manifest = manifest
        self.segments = tuple(segments)
        self._own = [share.rows(segment.entry.rows) for segment in self.segments]
        self._near = share.nearest([segment.entry for segment in self.segments])
        self._bases = np.cumsum([0, *(segment.entry.rows for segment in self.segments)])
        self._levels: dict[str, Level] = {}
        self._spare: list[Floats] = []  # arrays of zeros, a score for each place: one for each thread that searches
        self._places = np.cumsum([0, *map(len, self._own)])  # where the share of each segment begins in arrays

    @property
    def rows(self) -> int:
        """Live passages."""
        return self.manifest.rows

    @cached_property
    def lengths(self) -> Floats:
        """Terms in each row, dead ones too."""
        parts = (segment.postings.lengths[own.start : own.stop] for segment, own in self._parts())
        return np.concatenate([[], *parts])

    @cached_property
    def statistics(self) -> Statistics:
        """Number and mean length of the live rows."""
        return Statistics(self.rows, self.manifest.terms / max(1, self.rows))

    @cached_property
    def okapi_statistics(self) -> Statistics:
        """`statistics` with the mean idf over all terms, which only the okapi variant wants (a pass over all).

        It is summed exactly: in another order of terms, which segments have, ties would fall otherwise by its last bit.
        """
        total: Counter[str] = Counter()
        for segment in self.segments:
            total.update(segment.postings.document_frequencies(segment.live))
        idfs = [okapi_idf(frequency, self.rows) for frequency in total.values() if frequency]
        return Statistics(self.rows, self.statistics.average_length, math.fsum(idfs) / max(1, len(idfs)))

    def lexical(self, terms: Terms, k: int, weighting: Weighting, only: Filter | None) -> list[Found]:
        """The best `k` rows that hold one of `terms` and that `only` accepts; scores are linear in terms' weights."""
        of = self.okapi_statistics if weighting.variant == "okapi" else self.statistics
        everywhere, found, worths = 0.0, [], []
        for term, times in weights_of(terms).items():
            rows, frequencies, live = self.postings(term)
            if not live:  # nowhere: a term that only other shares hold has worth for those that lack it
                continue
            worth = times * weighting.idf(live, of)
            everywhere += worth * weighting.absent
            found.append(rows)
            worths.append(worth * (weighting.weigh(frequencies, self.lengths[rows], of) - weighting.absent))
        if not found:
            return []
        places, scores = self._summed(found, worths)
        scores += everywhere
        if only is not None or self.rows < self._bases[-1]:
            kept = self.allowed(only)[places]
            places, scores = places[kept], scores[kept]
        return self.best(places, scores, k, times=len(found))

    def postings(self, term: str) -> tuple[Ints, Floats, int]:
        """Places of rows that hold `term`, its frequency in each, and how many live rows hold it in all."""
        places: list[Ints] = [np.zeros(0, np.int64)]
        frequencies: list[npt.NDArray[Any]] = [np.zeros(0)]
        live = 0
        for place, (segment, own) in zip(self._places, self._parts(), strict=False):
            here, counts = segment.postings.find(term)
            live += int(segment.live[here].sum()) if segment.entry.dead else len(here)
            if len(own) < segment.entry.rows:
                first, last = np.searchsorted(here, np.array([own.start, own.stop], here.dtype))
                here, counts = here[first:last], counts[first:last]
            if len(here):
                places.append(here + (place - own.start))
                frequencies.append(counts)
        return np.concatenate(places), np.concatenate(frequencies).astype(np.float64), live

    def dense(self, queries: Vectors, k: int, only: Filter | None) -> list[list[Found]]:
        """For each query vector the best `k` rows by inner product, of those that `only` accepts."""
        merged: list[list[Found]] = [[] for _ in queries]
        for base, segment, near in zip(self._bases, self.segments, self._near, strict=False):
            if segment.dense is None or not near:
                continue
            allowed = segment.allowed(only, near)
            mask = None if allowed.all() else allowed
            scores, rows = segment.dense.search(queries, min(k, len(near)), mask)
            for found, score, row in zip(merged, scores, rows, strict=True):
                kept = row >= 0
                found.extend(map(Found, (row[kept] + base).tolist(), score[kept].tolist()))
        return [self._ordered(found)[:k] for found in merged]

    def best(self, places: Ints, scores: Floats, k: int, times: int = 1) -> list[Found]:
        """The `k` best rows of those at `places`, where each stands up to so many `times`, with the same score.

        Equal scores by id, so that the order does not depend on how it was built.
        """
        near = _leading(scores, k * times)
        places, first = np.unique(places[near], return_index=True)
        scores = scores[near][first]
        top = _leading(scores, k)
        return self._ordered(list(map(Found, self._rows_at(places[top]).tolist(), scores[top].tolist())))[:k]

    def allowed(self, only: Filter | None) -> Mask:
        """Rows that are live and that `only` accepts."""
        masks = [segment.allowed(only, own)[own.start : own.stop] for segment, own in self._parts()]
        return np.concatenate(masks) if masks else np.zeros(0, np.bool_)

    def document(self, row: int) -> Document:
        """The passage in `row`."""
        at = self._segment(row)
        return self.segments[at].document(row - int(self._bases[at]))

    def passage(self, row: int) -> str:
        """The id of the passage in `row`."""
        at = self._segment(row)
        return str(self.segments[at].ids[row - int(self._bases[at])])

    def vectors(self, rows: Ints) -> Vectors:
        """The vectors of `rows`, (n, d); the collection has some."""
        found = np.zeros((len(rows), self.manifest.settings.dimension), np.float32)
        at = np.searchsorted(self._bases, rows, "right") - 1
        for number, segment in enumerate(self.segments):
            here = at == number
            if here.any() and (part := segment.vectors(rows[here] - self._bases[number])) is not None:
                found[here] = part
        return found

    def level(self, name: str) -> Level:
        """The rows of a whole snapshot by "document", "section" or "passage"; worked out once."""
        if name not in self._levels:
            self._levels[name] = Level(self, name)
        return self._levels[name]

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

    def _summed(self, found: list[Ints], worths: list[Floats]) -> tuple[Ints, Floats]:
        """All places that are found, some of them more than once, and at each the sum of what it is worth there.

        Only they are looked at, and the array of all places is used again, empty as it was: a new one for each question
        took a third longer in all, and to look through it four times as long.
        """
        try:
            total = self._spare.pop()
        except IndexError:
            total = np.zeros(int(self._places[-1]))
        for places, worth in zip(found, worths, strict=True):
            total[places] += worth
        everywhere = np.concatenate(found)
        sums = total[everywhere]
        total[everywhere] = 0.0
        self._spare.append(total)
        return everywhere, sums

    def _ordered(self, found: list[Found]) -> list[Found]:
        alike = Counter(each.score for each in found)
        return sorted(found, key=lambda each: (-each.score, self.passage(each.row) if alike[each.score] > 1 else ""))

    def _parts(self) -> Iterator[tuple[Segment, range]]:
        """The share's rows of each segment."""
        return zip(self.segments, self._own, strict=True)

    def _rows_at(self, places: Ints) -> Ints:
        """The numbers of the rows that stand at these places of an array."""
        at = np.searchsorted(self._places, places, "right") - 1
        first = self._bases[:-1] + [own.start for own in self._own] - self._places[:-1]
        return places + first[at] if len(places) else places

    def _segment(self, row: int) -> int:
        return bisect_right(self._bases, row) - 1


def _leading(scores: Floats, count: int) -> Ints:
    """Where scores are that are no lower than the one which `count` of them reach."""
    if len(scores) <= count:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])


def open_snapshot(folder: Path, manifest: Manifest, held: Sequence[Segment] = (), share: Share = WHOLE) -> Snapshot:
    """A snapshot of a collection's folder; segments that are `held` open are not opened again.

    Raises FileNotFoundError where a segment has been swept away since the manifest was read.
    """
    known = {(segment.entry.id, segment.entry.tombstones): segment for segment in held}

    def opened(entry: SegmentEntry) -> Segment:
        return known.get((entry.id, entry.tombstones)) or Segment(folder, entry)

    if len(manifest.segments) <= len(known) + 1:
        return Snapshot(manifest, list(map(opened, manifest.segments)), share)
    with ThreadPoolExecutor(OPENERS) as openers:
        return Snapshot(manifest, list(openers.map(opened, manifest.segments)), share)
