"""Test collections in folders: documents, queries and judgments, in BEIR's layout or a plainer one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import msgspec

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.rows import document, numbered, parsed, scalars, write_lines
from sage_nb.records.trec import Qrels, placed, read_qrels, read_queries, write_qrels, write_queries
from sage_nb.records.values import Document, Query


@dataclass(frozen=True)
class Corpus:
    """The documents of a .jsonl or .jsonl.gz file, read anew on each pass, a line at a time.

    Raises BadValueError for a line that is no document: a test collection with holes measures wrongly.
    """

    path: Path

    @classmethod
    def of(cls, folder: str | PathLike[str]) -> Corpus:
        """Those of a test collection's folder: its corpus.jsonl or docs.jsonl, packed or not; the rest is not read."""
        return cls(_found(Path(folder), "corpus.jsonl", "docs.jsonl"))

    def __iter__(self) -> Iterator[Document]:
        """The documents, in the file's order."""
        for number, line in numbered(self.path):
            with placed(self.path, number):
                made = _document(line)
            yield made


@dataclass(frozen=True)
class Beir:
    """A test collection: what is searched, what is asked, and which documents answer how well."""

    documents: Iterable[Document]
    queries: tuple[Query, ...]
    qrels: Qrels = field(default_factory=dict)


def read_beir(folder: str | PathLike[str], split: str = "test") -> Beir:
    r"""The test collection in `folder`; of its queries those which `split` judges, as BEIR does.

    Reads corpus.jsonl, queries.jsonl and qrels/<split>.tsv, or else docs.jsonl, queries.jsonl and qrels.tsv
    (one split); each .jsonl may be packed (.gz). Documents stay on disk and are read on each pass.

    Raises BadValueError where a file is missing or a line malformed, UnknownNameError for an unknown split.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "corpus.jsonl").write_text('{"_id": "d1", "title": "Barriers", "text": "They align."}\n')
    ...     _ = Path(folder, "queries.jsonl").write_text('{"_id": "q1", "text": "what is a barrier?"}\n')
    ...     _ = Path(folder, "qrels.tsv").write_text("q1\td1\t1\n")
    ...     standard = read_beir(folder)
    ...     [document.title for document in standard.documents], standard.qrels
    (['Barriers'], {'q1': {'d1': 1}})
    """
    place = Path(folder)
    documents = Corpus.of(place)
    qrels = read_qrels(_judgments(place, split))
    queries = read_queries(_found(place, "queries.jsonl"))
    return Beir(documents, tuple(query for query in queries if query.id in qrels), qrels)


def write_beir(collection: Beir, folder: str | PathLike[str], split: str = "test") -> None:
    """`collection` in BEIR's layout; `read_beir` gives it back, and BEIR's own loader reads it too.

    >>> from tempfile import TemporaryDirectory
    >>> small = Beir([Document("d1", "They align.")], (Query("q1", "what is a barrier?"),), {"q1": {"d1": 1}})
    >>> with TemporaryDirectory() as folder:
    ...     write_beir(small, folder)
    ...     read_beir(folder).queries == small.queries
    True
    """
    place = Path(folder)
    write_lines(place / "corpus.jsonl", map(_as_line, collection.documents))
    write_queries(collection.queries, place / "queries.jsonl")
    write_qrels(collection.qrels, place / "qrels" / f"{split}.tsv")


def _document(line: bytes) -> Document:
    row = parsed(line)
    name = row.pop("_id", row.get("id"))
    if not isinstance(name, str | int) or name == "":
        raise BadValueError(f"a document has an 'id' or '_id', got {line[:60]!r}")
    inner = row.pop("metadata", {})
    made = document({**row, "id": name}, "")
    meta = scalars(inner) if isinstance(inner, dict) else scalars({"metadata": inner})
    return msgspec.structs.replace(made, meta={**made.meta, **meta})


def _as_line(given: Document) -> bytes:
    row = {
        "_id": given.id,
        "title": given.title,
        "text": given.text,
        "source": given.source,
        "parent": given.parent,
        "metadata": given.meta,
    }
    return msgspec.json.encode(row)


def _found(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise BadValueError(f"{str(folder)!r} has no {' or '.join(names)} (.gz); check the folder")


def _judgments(folder: Path, split: str) -> Path:
    splits = {path.stem: path for path in (folder / "qrels").glob("*.tsv")}
    if not splits:
        return _found(folder, "qrels.tsv")
    if split not in splits:
        raise UnknownNameError.of(f"split of {str(folder)!r}:", split, splits)
    return splits[split]
