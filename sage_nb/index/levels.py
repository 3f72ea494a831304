"""A snapshot by documents or by sections: groups of its live rows, scored as one text and by one vector each.

BM25's statistics are the level's own: how many groups hold a term, how long they are on average. A group's terms are
those of its passages (with the title that each of them carries), its vector is the mean of theirs, at unit length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sage_nb.index.bm25 import Floats, Statistics, Terms, Weighting, weights_of
from sage_nb.index.dense import Vectors
from sage_nb.index.lexical import Ints, Mask
from sage_nb.records.filters import Filter

if TYPE_CHECKING:
    from sage_nb.index.snapshot import Snapshot

_NUMBERS = re.compile(r"(\d+)")


class Scored(NamedTuple):
    """The score of every group, and which of them hold a term of the question."""

    scores: Floats
    matched: Mask


class Level:
    """The live rows of a snapshot in groups; at the level "passage" each is its own."""

    def __init__(self, snapshot: Snapshot, name: str) -> None:
        self._snapshot, self.name = snapshot, name
        self._live = snapshot.allowed(None)
        self._numbers, self._names = self._passages() if name == "passage" else self._groups()
        self._ordered: dict[int, list[int]] = {}
        self._lengths = _summed(self._numbers[self._live], snapshot.lengths[self._live], len(self))

    def __len__(self) -> int:
        """Groups, those without a live row too."""
        return len(self._names) if self._names else len(self._live)

    @cached_property
    def living(self) -> Ints:
        """The groups that have a live row."""
        return self.groups_of(np.flatnonzero(self._live))

    @cached_property
    def statistics(self) -> Statistics:
        """Number and mean length of the groups."""
        return Statistics(len(self.living), float(self._lengths.sum()) / max(1, len(self.living)))

    def called(self, group: int) -> str:
        """The name of a group; of a passage, its id."""
        return self._names[group] if self._names else self._snapshot.passage(group)

    def find(self, name: str) -> int:
        """The number of the group with that name, or -1."""
        return self._found.get(name, -1)

    def groups_of(self, rows: Ints) -> Ints:
        """The groups that these rows are in, each once."""
        return np.unique(self._numbers[rows])

    def group(self, row: int) -> int:
        """The group that a row is in."""
        return int(self._numbers[row])

    def rows(self, only: Filter | None) -> Ints:
        """The live rows that a filter accepts."""
        return np.flatnonzero(self._live if only is None else self._snapshot.allowed(only))

    def rows_of(self, groups: Sequence[int], only: Filter | None) -> Ints:
        """Those of some groups."""
        order, starts = self._members
        rows = np.concatenate([np.zeros(0, np.int64), *(order[starts[g] : starts[g + 1]] for g in groups)])
        return rows if only is None else rows[self._snapshot.allowed(only)[rows]]

    def in_order(self, group: int) -> list[int]:
        """The live rows of a group as they stand in the text: by their ids, in which numbers count as numbers."""
        if group not in self._ordered:
            rows = self.rows_of([group], None).tolist()
            self._ordered[group] = sorted(rows, key=lambda row: natural(self._snapshot.passage(row)))
        return self._ordered[group]

    def best_of(self, rows: Ints, scores: Floats) -> tuple[Ints, Floats]:
        """The groups of some rows, each with its best row's score."""
        best = np.full(len(self), -np.inf)
        np.maximum.at(best, self._numbers[rows], scores)
        groups = self.groups_of(rows)
        return groups, best[groups]

    def lexical(self, terms: Terms, weighting: Weighting) -> Scored:
        """Every group's BM25 for a question's terms; scores are linear in terms' weights."""
        scores, matched = np.zeros(len(self)), np.zeros(len(self), np.bool_)
        for term, times in weights_of(terms).items():
            rows, frequencies, live = self._snapshot.postings(term)
            if not live:
                continue
            kept = self._live[rows]
            held = _summed(self._numbers[rows[kept]], frequencies[kept], len(self))
            groups = np.flatnonzero(held)
            worth = times * weighting.idf(len(groups), self.statistics)
            shares = weighting.weigh(held[groups], self._lengths[groups], self.statistics)
            scores += worth * weighting.absent
            scores[groups] += worth * (shares - weighting.absent)
            matched[groups] = True
        return Scored(scores, matched)

    def dense(self, query: Vectors, groups: Ints) -> Floats:
        """The cosine of some groups' vectors with a question's."""
        vectors = self._snapshot.vectors(groups) if self.name == "passage" else self._pooled[groups]
        return (vectors @ query).astype(np.float64)

    @cached_property
    def _pooled(self) -> Vectors:
        """The mean of each group's vectors, at unit length."""
        sums = np.zeros((len(self), self._snapshot.manifest.settings.dimension), np.float32)
        for segment in self._snapshot.segments:
            part = segment.sums(self.name)
            if part is not None:
                sums[[self._found[name] for name in segment.grouping(self.name).names]] += part
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        pooled: Vectors = sums / np.maximum(lengths, np.finfo(np.float32).tiny)
        return pooled

    @cached_property
    def _members(self) -> tuple[Ints, Ints]:
        """Live rows by group, and where each group's begin."""
        live = np.flatnonzero(self._live)
        order = live[np.argsort(self._numbers[live], kind="stable")]
        return order, np.searchsorted(self._numbers[order], np.arange(len(self) + 1))

    @cached_property
    def _found(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names)}

    def _passages(self) -> tuple[Ints, list[str]]:
        return np.arange(len(self._live)), []

    def _groups(self) -> tuple[Ints, list[str]]:
        numbers, known = [np.zeros(0, np.int64)], dict[str, int]()
        for segment in self._snapshot.segments:
            grouping = segment.grouping(self.name)
            here = np.array([known.setdefault(name, len(known)) for name in grouping.names], np.int64)
            numbers.append(here[grouping.numbers])
        return np.concatenate(numbers), list(known)


def _summed(groups: Ints, values: Floats, count: int) -> Floats:
    return np.bincount(groups, values, count).astype(np.float64)


def natural(name: str) -> list[tuple[int, str]]:
    """What names are ordered by so that "d#10" comes after "d#9": numbers by their length first.

    >>> sorted(["d#10", "d#9"], key=natural)
    ['d#9', 'd#10']
    """
    parts = enumerate(_NUMBERS.split(name))  # every second one is a number
    keys = [(len(bare := part.lstrip("0")), bare) if at % 2 else (0, part) for at, part in parts]
    return [*keys, (0, name)]
