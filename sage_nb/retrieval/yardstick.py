"""One measure for passages of many collections: BM25 anew, with the statistics of all of them together.

BM25 scores of two collections cannot be compared: a word that is rare in one may be common in the other. Here passages
that have been found are weighed by one set of document frequencies, as Craswell, Hawking & Thistlewaite do it with
reference statistics ("Merging Results from Isolated Search Engines", ADC 1999).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np

from sage_nb.errors import SageError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Statistics, Weighting
from sage_nb.index.snapshot import Snapshot
from sage_nb.index.text import indexed_text
from sage_nb.records.values import Document
from sage_nb.retrieval.resources import Collections
from sage_nb.stream.function import Context

REMEMBERED = 2048  # passages whose words are kept
DAMPING = 0.5  # added to the idf among passages that were found: each was found for its words, so few are rare
ANALYZER = "english"  # where no collection has its own


class Yardstick:
    """BM25 by the document frequencies of the collections in `folders`; by those among the passages, where none is."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._paths = tuple(dict.fromkeys(folders))
        self._weighting = Weighting()

    def open(self, context: Context) -> None:
        """Open the collections; words are cut as in the first of them."""
        self._folders = [context.get(Collections).folder(path) for path in self._paths]
        first = next((held.manifest for held in self._snapshots() if held.rows), None)
        analyze = get_analyzer(first.settings.analyzer if first else ANALYZER)
        self._words = lru_cache(REMEMBERED)(lambda text: Counter(analyze(text)))

    def scores(self, question: str, documents: Sequence[Document]) -> list[float]:
        """A score for each document: the sum over the question's words of idf times share of the word."""
        asked = self._words(question)
        held = [self._words(indexed_text(document)) for document in documents]
        lengths = np.array([counts.total() for counts in held], np.float64)
        of = Statistics(len(documents), float(lengths.mean()) if len(lengths) else 0.0)
        idf = self._idf(list(asked), held, of)
        totals = np.zeros(len(documents))
        for word, times in asked.items():
            frequencies = np.array([counts[word] for counts in held], np.float64)
            totals += times * idf[word] * self._weighting.weigh(frequencies, lengths, of)
        return [float(total) for total in totals]

    def _idf(self, words: Sequence[str], held: Sequence[Counter[str]], of: Statistics) -> Mapping[str, float]:
        snapshots = self._snapshots()
        whole = Statistics(sum(each.rows for each in snapshots), 0.0)
        if not whole.documents:
            among = {word: sum(word in counts for counts in held) for word in words}
            return {word: DAMPING + self._weighting.idf(among[word], of) for word in words}
        return {word: self._weighting.idf(sum(each.postings(word)[2] for each in snapshots), whole) for word in words}

    def _snapshots(self) -> list[Snapshot]:
        """The collections as they are now; what cannot be read does not count."""
        held = []
        for folder in self._folders:
            with suppress(SageError, OSError):
                held.append(folder.snapshot())
        return held


def scaled(values: Mapping[int, float]) -> dict[int, float]:
    """Values between 0 for the least and 1 for the greatest; all 1 where there is nothing between the two.

    >>> scaled({7: 2.0, 8: 4.0, 9: 3.0})
    {7: 0.0, 8: 1.0, 9: 0.5}
    """
    low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
    reach = high - low
    return {key: (value - low) / reach if reach > 0 and math.isfinite(reach) else 1.0 for key, value in values.items()}
