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
        self._indexing, self._hybrid = self._pipelines()  # once: a component stays in the pipeline it is put into

    def index(self, documents: Sequence[Text]) -> None:
        """One run of the indexing pipeline."""
        from haystack import Document

        self._store.delete_all_documents()
        self._indexing.run({"embedder": {"documents": [Document(id=each.id, content=each.text) for each in documents]}})

    def search(self, question: str) -> Ranking:
        """One run of the query pipeline."""
        inputs = {"embedder": {"text": question}, "lexical": {"query": question}, "ranker": {"query": question}}
        found = self._hybrid.run(inputs)["ranker"]["documents"]
        return [(document.id, float(document.score)) for document in found]

    def _pipelines(self):
        from haystack import Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
        from haystack.components.writers import DocumentWriter
        from haystack.document_stores.in_memory import InMemoryDocumentStore

        settings, indexing, hybrid = self.settings, Pipeline(), Pipeline()
        self._store = InMemoryDocumentStore()
        indexing.add_component("embedder", self._documents)
        indexing.add_component("writer", DocumentWriter(self._store))
        indexing.connect("embedder", "writer")
        hybrid.add_component("embedder", self._question)
        hybrid.add_component("dense", InMemoryEmbeddingRetriever(self._store, top_k=settings.retrieved))
        hybrid.add_component("lexical", InMemoryBM25Retriever(self._store, top_k=settings.retrieved))
        hybrid.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=settings.reranked))
        hybrid.add_component("ranker", self._ranker)
        hybrid.connect("embedder.embedding", "dense.query_embedding")
        hybrid.connect("dense", "joiner")
        hybrid.connect("lexical", "joiner")
        hybrid.connect("joiner", "ranker")
        return indexing, hybrid


PEER = Haystack
