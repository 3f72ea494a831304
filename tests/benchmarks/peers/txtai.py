"""txtai: a hybrid embeddings index with content, and its reranker pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class Txtai(Peer):
    """`Embeddings(hybrid=True, content=True)` and `Reranker` over a cross-encoding `Similarity`."""

    packages = ("txtai",)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from txtai.pipeline import Similarity

        self._models: dict[object, object] = {}  # embeddings that share it load a model once
        self._similarity = Similarity(settings.reranker, crossencode=True)
        self._embeddings().batchtransform(["loaded"])

    def index(self, documents: Sequence[Text]) -> None:
        """An index of its own for each time."""
        from txtai.pipeline import Reranker

        embeddings = self._embeddings()
        embeddings.index((each.id, each.text, None) for each in documents)
        self._reranker = Reranker(embeddings, self._similarity)

    def search(self, question: str) -> Ranking:
        """As many candidates as are reranked, by its own convex combination."""
        return self.search_all([question])[0]

    def search_all(self, questions: Sequence[str]) -> list[Ranking]:
        """A list of questions: retrieved together, reranked one after the other."""
        settings = self.settings
        found = self._reranker(list(questions), limit=settings.k, factor=settings.reranked // settings.k)
        return [[(row["id"], float(row["score"])) for row in rows] for rows in found]

    def _embeddings(self):
        from txtai import Embeddings

        return Embeddings(path=self.settings.encoder, hybrid=True, content=True, models=self._models)


PEER = Txtai
