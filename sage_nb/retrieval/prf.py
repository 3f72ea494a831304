"""Pseudo-relevance feedback for dense retrieval: the question's vector moves towards the passages found first."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sage_nb.index.text import indexed_text
from sage_nb.records.values import Expansion, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.ranking import Retrieving
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import MapFunction


@stage("prf")
@dataclass(frozen=True, repr=False)
class Prf(Operation):
    """Expands each question by its best `docs` hits."""

    docs: int = 3

    def __post_init__(self) -> None:
        check_k(self.docs, "prf()", "docs")

    def __repr__(self) -> str:
        return f"prf(docs={self.docs})"

    @property
    def needs(self) -> Kind:
        """A ranking to learn from."""
        return "ranking"

    @property
    def gives(self) -> Kind:
        """Another question for the next retriever."""
        return "query"

    @property
    def keeps(self) -> bool:
        """No: nothing is computed before the retriever."""
        return False

    def function(self) -> Retrieving:
        """A `Moving`."""
        return Moving(self)


class Moving(MapFunction[Result, Result]):
    """The running half of `Prf`."""

    def __init__(self, stage: Prf) -> None:
        self.stage = stage

    def map(self, value: Result, /) -> Result:
        """The question with its best passages, without the hits; as it is where there were none."""
        passages = tuple(indexed_text(hit.document) for hit in value.hits[: self.stage.docs])
        if not passages:
            note = f"{self.stage!r}: no hits to expand the question by"
            return msgspec.structs.replace(value, notes=(*value.notes, note))
        return msgspec.structs.replace(value, hits=(), expansion=Expansion(passages=passages))


def prf(docs: int = 3) -> Stage:
    r"""Expand the question by its best `docs` hits, for the dense retriever that comes next.

    Vector PRF, average (Li et al., TOIS 2023, arXiv:2108.11044): the mean of the vectors of the question and of these
    passages, q' = (q + p₁ + … + pₙ) / (n + 1), which is Rocchio's with equal weights and no negative part. A question
    without hits stays as it is, and a note says so.

    >>> prf(docs=2)
    prf(docs=2)
    >>> from sage_nb.records.values import Document, Hit, Query
    >>> found = Result(Query("q", "rays"), (Hit(Document("d", "Light bends.", title="Optics"), 1, 0.9),))
    >>> prf().function().map(found).expansion.passages
    ('Optics\nLight bends.',)
    """
    return Prf(docs)
