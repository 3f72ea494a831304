"""Hybrid retrieval: lexical and dense over one collection, fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.fusion import get_fusion
from sage_nb.retrieval.given import check_k, check_weights
from sage_nb.retrieval.lexical import Lexical
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Chain, Cut, Fused, Stage
from sage_nb.retrieval.yaml import stage


@stage("hybrid")
@dataclass(frozen=True, repr=False)
class Hybrid(Chain):
    """The best `k` of BM25 and cosine, `k` of each fused by a rule; `weights` are (lexical, dense)."""

    source: Source
    k: int = 100
    fusion: str = "rrf"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_k(self.k, "hybrid()")
        get_fusion(self.fusion)
        object.__setattr__(self, "weights", check_weights(self.weights, 2))

    def __repr__(self) -> str:
        rule = "" if self.fusion == "rrf" else f", fusion={self.fusion!r}"
        weights = "" if set(self.weights) == {1.0} else f", weights={self.weights}"
        return f"{self.source!r}.hybrid(k={self.k}{rule}{weights})"

    @property
    def parts(self) -> Sequence[Stage]:
        """The two retrievers."""
        return Lexical(self.source, self.k), Dense(self.source, self.k)

    @property
    def steps(self) -> tuple[Stage, ...]:
        """Both, fused and cut."""
        return (Fused(tuple(self.parts), self.fusion, self.weights), Cut(self.k))
