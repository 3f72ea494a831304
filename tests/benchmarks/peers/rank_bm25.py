"""rank_bm25: BM25Okapi over lists of words."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Text


class RankBm25(Peer):
    """`BM25Okapi.get_scores`, and the best of them by NumPy, as its `get_top_n` has them."""

    packages = ("rank-bm25",)

    def index(self, documents: Sequence[Text]) -> None:
        """Words are what stands between blanks, as its documentation cuts them."""
        from rank_bm25 import BM25Okapi

        self._ids = [each.id for each in documents]
        self._scorer = BM25Okapi([each.text.lower().split() for each in documents])

    def search(self, question: str) -> Ranking:
        """A pass over all documents."""
        scores = self._scorer.get_scores(question.lower().split())
        best = scores.argsort()[::-1][: self.settings.k]
        return [(self._ids[row], float(scores[row])) for row in best]


PEER = RankBm25
