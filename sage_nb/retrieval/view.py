"""What one can search: a collection, or the part of it that a filter accepts."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import Unpack

from sage_nb.errors import UnknownNameError
from sage_nb.records.filters import Filter
from sage_nb.records.filters import where as conditions_of
from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.hierarchical import Belonging, Hierarchical, Retriever, coarse_of, fine_of
from sage_nb.retrieval.hybrid import Hybrid
from sage_nb.retrieval.lexical import Lexical
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage

ASKED = {"search", "query", "retrieve", "run", "transform", "as_retriever", "as_query_engine"}  # of others


class View:
    """What one can search: a collection, or the part of it that a filter accepts.

    >>> book = View(Source("handbook"))
    >>> book.name, book.source == Source("handbook")
    ('handbook', True)
    >>> book.where(source="numpy", year__ge=2020).hybrid(k=10)
    Collection('handbook').where(source='numpy', year__ge=2020).hybrid(k=10)
    >>> book.lexical(k=100, variant="okapi") + book.dense(k=100)
    Collection('handbook').lexical(k=100, variant='okapi') + Collection('handbook').dense(k=100)
    >>> book.hierarchical(k=5, coarse=book.lexical(k=20))
    Collection('handbook').hierarchical(k=5, coarse=Collection('handbook').lexical(k=20))
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return repr(self._source)

    if not TYPE_CHECKING:  # which would take it that there is every attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{_instead(self, name)}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    @property
    def source(self) -> Source:
        """Where its retrievers look."""
        return self._source

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._source.name

    def where(self, *filters: Filter, **conditions: object) -> View:
        """Only documents that hold all conditions; retrievers apply them before they take their best `k`.

        `where(source="numpy", year__ge=2020)`; see `sage_nb.where` for the suffixes.
        """
        given = [*filters, *([conditions_of(**conditions)] if conditions or not filters else [])]
        held = [self._source.only] if self._source.only is not None else []
        return View(replace(self._source, only=reduce(and_, [*held, *given])))

    def lexical(
        self, k: int = 100, *, variant: str = "lucene", k1: float = 1.2, b: float = 0.75, engine: str = "sage"
    ) -> Lexical:
        """The best `k` by BM25: variants lucene, robertson, okapi, l, plus; engines sage, rank_bm25.

        With `engine="rank_bm25"` and no variant named, okapi.
        """
        chosen = "okapi" if engine == "rank_bm25" and variant == "lucene" else variant
        return Lexical(self._source, k, chosen, k1, b, engine)

    def dense(self, k: int = 100) -> Dense:
        """The best `k` by cosine similarity of the collection's encoder."""
        return Dense(self._source, k)

    def hybrid(self, k: int = 100, *, fusion: str = "rrf", weights: tuple[float, ...] = ()) -> Hybrid:
        """The best `k` of BM25 and cosine together; `weights` are (lexical, dense)."""
        return Hybrid(self._source, k, fusion, tuple(weights))

    def hierarchical(
        self,
        k: int = 10,
        *,
        coarse: Retriever | None = None,
        fine: Retriever | None = None,
        **how: Unpack[Belonging],
    ) -> Stage:
        """The best `k` passages inside the best documents; those that belong together are put together.

        `coarse` ranks documents and sections, `fine` passages, each as a retriever of this collection, hybrid by
        default; `how`: `levels`, `pool`, `merge` and `expand`. `Hierarchical` says what they do.
        """
        if unknown := set(how) - set(Belonging.__annotations__):
            raise UnknownNameError.of("argument of hierarchical()", min(unknown), Belonging.__annotations__)
        source = self._source
        return Hierarchical(source, coarse or coarse_of(source), fine or fine_of(source), k=k, **how)


def _instead(view: View, name: str) -> str:
    """What somebody may have meant who asks for an attribute that there is not."""
    if name in ASKED:
        return f"; a pipeline is what is asked, as in {view.name}.hybrid(k=10).search('…') or .run([…])"
    near = [] if name.startswith("_") else get_close_matches("lexical" if name == "bm25" else name, dir(view), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
