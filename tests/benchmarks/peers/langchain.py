"""LangChain: an ensemble of FAISS and BM25, compressed by a cross-encoder.

With the community's `HuggingFaceEmbeddings`: langchain-huggingface wants a huggingface-hub that transformers 5 does
not take.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class LangChain(Peer):
    """`EnsembleRetriever` in a `ContextualCompressionRetriever` with a `CrossEncoderReranker`."""

    packages = ("langchain-community", "langchain-classic", "langchain-core", "rank-bm25", "faiss-cpu")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_community.embeddings import HuggingFaceEmbeddings

        warnings.simplefilter("ignore")  # each class says that it has moved
        self._encoder = HuggingFaceEmbeddings(model_name=settings.encoder)
        self._scorer = HuggingFaceCrossEncoder(model_name=settings.reranker)

    def index(self, documents: Sequence[Text]) -> None:
        """Both indexes, in memory."""
        from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_community.retrievers import BM25Retriever
        from langchain_community.vectorstores import FAISS
        from langchain_core.documents import Document

        depth = self.settings.retrieved
        held = [Document(each.text, metadata={"id": each.id}) for each in documents]
        dense = FAISS.from_documents(held, self._encoder).as_retriever(search_kwargs={"k": depth})
        lexical = BM25Retriever.from_documents(held, k=depth)
        ensemble = EnsembleRetriever(retrievers=[lexical, dense], weights=[0.5, 0.5], id_key="id")
        first = ensemble | (lambda found: found[: self.settings.reranked])  # the ensemble has no k of its own
        self._retriever = ContextualCompressionRetriever(
            base_compressor=CrossEncoderReranker(model=self._scorer, top_n=self.settings.k), base_retriever=first
        )

    def search(self, question: str) -> Ranking:
        """One question."""
        return _ranking(self._retriever.invoke(question))

    def search_all(self, questions: Sequence[str]) -> list[Ranking]:
        """`batch`, which asks in threads."""
        return [_ranking(found) for found in self._retriever.batch(list(questions))]


def _ranking(found) -> Ranking:
    """It tells no scores."""
    return [(document.metadata["id"], -float(rank)) for rank, document in enumerate(found)]


PEER = LangChain
