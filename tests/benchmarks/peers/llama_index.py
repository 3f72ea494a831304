"""LlamaIndex: its reciprocal rerank fusion retriever, with the sentence-transformers reranker behind it."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class LlamaIndex(Peer):
    """`VectorStoreIndex` and `BM25Retriever` in a `QueryFusionRetriever`; `SentenceTransformerRerank`."""

    packages = ("llama-index-core", "llama-index-retrievers-bm25", "llama-index-embeddings-huggingface")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from llama_index.core.llms import MockLLM
        from llama_index.core.postprocessor import SentenceTransformerRerank
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        self._encoder = HuggingFaceEmbedding(model_name=settings.encoder)
        self._reranker = SentenceTransformerRerank(model=settings.reranker, top_n=settings.k)
        self._llm = MockLLM()  # the fusion retriever wants one for further queries; there are none

    def index(self, documents: Sequence[Text]) -> None:
        """Nodes as they are, without cutting."""
        from llama_index.core import VectorStoreIndex
        from llama_index.core.retrievers import QueryFusionRetriever
        from llama_index.core.schema import TextNode
        from llama_index.retrievers.bm25 import BM25Retriever

        nodes = [TextNode(id_=each.id, text=each.text) for each in documents]
        index = VectorStoreIndex(nodes, embed_model=self._encoder)
        depth = self.settings.retrieved
        self._retriever = QueryFusionRetriever(
            [
                index.as_retriever(similarity_top_k=depth),
                BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=depth),
            ],
            llm=self._llm,
            mode="reciprocal_rerank",
            similarity_top_k=self.settings.reranked,
            num_queries=1,
            use_async=False,
        )

    def search(self, question: str) -> Ranking:
        """Retrieve, then rerank."""
        found = self._reranker.postprocess_nodes(self._retriever.retrieve(question), query_str=question)
        return [(hit.node.node_id, float(hit.score)) for hit in found]


PEER = LlamaIndex
