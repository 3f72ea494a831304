"""bm25s: a frozen index of words, Snowball-stemmed."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class Bm25s(Peer):
    """`tokenize`, `BM25.index` and `BM25.retrieve`, with Lucene's scores as they are asked of the others."""

    packages = ("bm25s", "PyStemmer")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        import Stemmer

        self._stemmer = Stemmer.Stemmer("english")

    def index(self, documents: Sequence[Text]) -> None:
        """All at once: it takes no more later."""
        import bm25s

        self._ids = [each.id for each in documents]
        self._retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        self._retriever.index(self._tokens([each.text for each in documents]), show_progress=False)

    def search(self, question: str) -> Ranking:
        """One question."""
        return self.search_all([question])[0]

    def search_all(self, questions: Sequence[str]) -> list[Ranking]:
        """All of them in one call."""
        depth = min(self.settings.k, len(self._ids))
        found = self._retriever.retrieve(self._tokens(list(questions)), k=depth, show_progress=False)
        return [
            [(self._ids[row], float(score)) for row, score in zip(rows, scores, strict=True)]
            for rows, scores in zip(found.documents, found.scores, strict=True)
        ]

    def _tokens(self, texts: list[str]):
        import bm25s

        return bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)


PEER = Bm25s
