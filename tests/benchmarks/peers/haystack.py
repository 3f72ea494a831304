"""Haystack: its hybrid retrieval tutorial, with a ranker."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class Haystack(Peer):
    """In-memory store; BM25 and embedding retrievers joined by reciprocal rank fusion; the similarity ranker."""

    packages = ("haystack-ai", "sentence-transformers-haystack")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
            SentenceTransformersTextEmbedder,
        )
        from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

        self._documents = SentenceTransformersDocumentEmbedder(model=settings.encoder, progress_bar=False)
        self._question = SentenceTransformersTextEmbedder(model=settings.encoder, progress_bar=False)
        self._ranker = SentenceTransformersSimilarityRanker(model=settings.reranker, top_k=settings.k)
        for component in (self._documents, self._question, self._ranker):
            component.warm_up()

    def index(self, documents: Sequence[Text]) -> None:
        """Embed and write, by an indexing pipeline."""
        from haystack import Document, Pipeline
        from haystack.components.writers import DocumentWriter
        from haystack.document_stores.in_memory import InMemoryDocumentStore

        store = InMemoryDocumentStore()
        pipeline = Pipeline()
        pipeline.add_component("embedder", self._documents)
        pipeline.add_component("writer", DocumentWriter(store))
        pipeline.connect("embedder", "writer")
        pipeline.run({"embedder": {"documents": [Document(id=each.id, content=each.text) for each in documents]}})
        self._pipeline = self._hybrid(store)

    def search(self, question: str) -> Ranking:
        """One run of the query pipeline."""
        inputs = {
            "embedder": {"text": question},
            "lexical": {"query": question},
            "ranker": {"query": question},
        }
        found = self._pipeline.run(inputs)["ranker"]["documents"]
        return [(document.id, float(document.score)) for document in found]

    def _hybrid(self, store):
        from haystack import Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever

        settings, pipeline = self.settings, Pipeline()
        pipeline.add_component("embedder", self._question)
        pipeline.add_component("dense", InMemoryEmbeddingRetriever(store, top_k=settings.retrieved))
        pipeline.add_component("lexical", InMemoryBM25Retriever(store, top_k=settings.retrieved))
        pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=settings.reranked))
        pipeline.add_component("ranker", self._ranker)
        pipeline.connect("embedder.embedding", "dense.query_embedding")
        pipeline.connect("dense", "joiner")
        pipeline.connect("lexical", "joiner")
        pipeline.connect("joiner", "ranker")
        return pipeline


PEER = Haystack
