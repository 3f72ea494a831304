"""Test collections by the library `ir_datasets`, which knows hundreds by name and fetches them from where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sage_nb.errors import BadValueError, MissingExtraError
from sage_nb.records.beir import Beir
from sage_nb.records.trec import Qrels
from sage_nb.records.values import Document, Query


@dataclass(frozen=True)
class IrDocuments:
    """The documents of a dataset, read anew on each pass."""

    dataset: Any

    def __iter__(self) -> Iterator[Document]:
        """In the dataset's order; what it calls a text, or whatever stands for one, and its title, if there is one."""
        for each in self.dataset.docs_iter():
            yield Document(str(each.doc_id), _text(each), str(getattr(each, "title", None) or ""))


def read_ir_dataset(name: str | Any) -> Beir:
    """The test collection that `ir_datasets` calls `name`, as in "beir/scifact/test", or a dataset of that library.

    Of its queries those which it judges, all of them where it judges none. Documents are read on each pass; the library
    keeps what it has fetched in its own folder (IR_DATASETS_HOME).

    Raises MissingExtraError where the library is not installed, BadValueError for a name that it does not know, and for
    a dataset without documents or queries.

    >>> from types import SimpleNamespace as Row
    >>> document = Row(doc_id="d1", title="Barriers", text="They align.", _fields=("doc_id", "title", "text"))
    >>> query = Row(query_id="q1", text="what is a barrier?", _fields=("query_id", "text"))
    >>> class Tiny:  # what the library gives for a name
    ...     has_docs = has_queries = has_qrels = lambda self: True
    ...     docs_iter = lambda self: iter([document])
    ...     queries_iter = lambda self: iter([query])
    ...     qrels_iter = lambda self: iter([Row(query_id="q1", doc_id="d1", relevance=1)])
    >>> small = read_ir_dataset(Tiny())
    >>> [each.id for each in small.documents], small.qrels
    (['d1'], {'q1': {'d1': 1}})
    """
    dataset, called = (_loaded(name), repr(name)) if isinstance(name, str) else (name, "the dataset")
    for what in ("docs", "queries"):
        if not getattr(dataset, f"has_{what}", lambda: False)():
            raise BadValueError(f"{called} has no {what}; name one of its subsets that has, as in 'beir/scifact/test'")
    qrels: Qrels = {}
    for each in dataset.qrels_iter() if dataset.has_qrels() else ():
        grades = qrels.setdefault(str(each.query_id), {})
        grades[str(each.doc_id)] = max(int(each.relevance), grades.get(str(each.doc_id), int(each.relevance)))
    queries = (Query(str(each.query_id), _text(each)) for each in dataset.queries_iter())
    return Beir(IrDocuments(dataset), tuple(query for query in queries if not qrels or query.id in qrels), qrels)


def _loaded(name: str) -> Any:
    try:
        import ir_datasets
    except ImportError as missing:
        raise MissingExtraError.of("reading a dataset by its name", "ir_datasets", "datasets") from missing
    try:
        return ir_datasets.load(name)
    except KeyError as unknown:
        raise BadValueError(
            f"ir_datasets knows no dataset {name!r}; see https://ir-datasets.com for names"
        ) from unknown


def _text(of: Any) -> str:
    """A document's or query's text; the library says what stands for it where there is none of that name."""
    return str(of.text if hasattr(of, "text") else of.default_text())
