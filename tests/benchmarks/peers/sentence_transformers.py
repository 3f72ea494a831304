"""The plain line: sentence-transformers and bm25s, in the few lines that one writes by hand; in float32."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text

BATCHES = (8, 32, 128)
SAMPLE = 256  # documents that the batch sizes are tried on
RRF = 60


class Plain(Peer):
    """`SentenceTransformer.encode` at its best batch size, `semantic_search`, bm25s, and `CrossEncoder.predict`."""

    packages = ("sentence-transformers", "torch", "transformers", "bm25s")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from sentence_transformers import CrossEncoder, SentenceTransformer

        self._encoder = SentenceTransformer(settings.encoder)
        self._reranker = CrossEncoder(settings.reranker)
        self._batch = BATCHES[1]

    def prepare(self, documents: Sequence[Text]) -> str:
        """The batch size that is fastest on some of the documents."""
        sample = [each.text for each in documents[:SAMPLE]]
        self._encoder.encode(sample[: BATCHES[0]])
        self._batch = min(BATCHES, key=lambda batch: self._seconds(sample, batch))
        return f"batch size {self._batch}"

    def index(self, documents: Sequence[Text]) -> None:
        """Vectors only: what is compared is the encoder alone."""
        self._documents = documents
        self._vectors = self._encoder.encode(
            [each.text for each in documents], batch_size=self._batch, convert_to_tensor=True
        )
        self._lexical = None

    def search(self, question: str) -> Ranking:
        """Reciprocal rank fusion of both rankings, and its first hits by the cross-encoder."""
        from sentence_transformers.util import semantic_search

        vector = self._encoder.encode(question, convert_to_tensor=True)
        near = semantic_search(vector, self._vectors, top_k=self.settings.retrieved)[0]
        fused: dict[int, float] = defaultdict(float)
        for ranking in ([int(hit["corpus_id"]) for hit in near], self._by_terms(question)):
            for rank, row in enumerate(ranking, 1):
                fused[row] += 1 / (RRF + rank)
        rows = sorted(fused, key=lambda row: -fused[row])[: self.settings.reranked]
        scores = self._reranker.predict([(question, self._documents[row].text) for row in rows])
        best = sorted(zip(rows, scores, strict=True), key=lambda pair: -pair[1])[: self.settings.k]
        return [(self._documents[row].id, float(score)) for row, score in best]

    def _by_terms(self, question: str) -> list[int]:
        import bm25s
        import Stemmer

        stemmer = Stemmer.Stemmer("english")
        if self._lexical is None:  # at the first question, which is not timed
            self._lexical = bm25s.BM25(k1=1.2, b=0.75)
            tokens = bm25s.tokenize(
                [each.text for each in self._documents], stopwords="en", stemmer=stemmer, show_progress=False
            )
            self._lexical.index(tokens, show_progress=False)
        tokens = bm25s.tokenize(question, stopwords="en", stemmer=stemmer, show_progress=False)
        depth = min(self.settings.retrieved, len(self._documents))
        rows, scores = self._lexical.retrieve(tokens, k=depth, show_progress=False)
        return [int(row) for row, score in zip(rows[0], scores[0], strict=True) if score > 0]

    def _seconds(self, texts: Sequence[str], batch: int) -> float:
        begun = time.perf_counter()
        self._encoder.encode(list(texts), batch_size=batch)
        return time.perf_counter() - begun


PEER = Plain
