"""The library rank_bm25 over a snapshot: slow, familiar, and what our own scores are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import rank_bm25

from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Terms, Weighting, weights_of
from sage_nb.index.snapshot import Found, Snapshot
from sage_nb.index.text import indexed_text
from sage_nb.records.filters import Filter


class RankBm25:
    """One of rank_bm25's classes, built over every live passage of a snapshot."""

    VARIANTS: ClassVar[dict[str, Callable[..., Any]]] = {
        "okapi": rank_bm25.BM25Okapi,
        "l": rank_bm25.BM25L,
        "plus": rank_bm25.BM25Plus,
    }

    def __init__(self, snapshot: Snapshot, weighting: Weighting) -> None:
        self.snapshot = snapshot
        analyze = get_analyzer(snapshot.manifest.settings.analyzer)
        corpus = [analyze(indexed_text(document)) for document in snapshot.documents()]
        self._library = self.VARIANTS[weighting.variant](corpus, k1=weighting.k1, b=weighting.b)
        self._rows = snapshot.live_rows()

    def lexical(self, terms: Terms, k: int, only: Filter | None) -> list[Found]:
        """As `Snapshot.lexical`: the best `k` of the passages that hold a term."""
        scores = np.zeros(len(self.snapshot.lengths))
        matched = np.zeros(len(scores), np.bool_)
        for term, times in weights_of(terms).items():
            scores[self._rows] += times * self._library.get_scores([term])
            matched[self.snapshot.postings(term)[0]] = True
        places = np.flatnonzero(matched & self.snapshot.allowed(only))
        return self.snapshot.best(places, scores[places], k)
