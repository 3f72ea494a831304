"""`sage-nb bench sources`: a collection split by where its documents come from, against the same in one piece."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from sage_nb.cli.bench import save
from sage_nb.errors import BadValueError
from sage_nb.evaluation.measures import evaluate
from sage_nb.evaluation.significance import randomisation_test
from sage_nb.records.beir import Corpus, read_beir
from sage_nb.records.columns import text_table
from sage_nb.records.rows import numbered, parsed
from sage_nb.records.trec import Qrels
from sage_nb.records.values import Document, Query
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.multi_source import multi_source
from sage_nb.retrieval.stage import Stage

NDCG, K = "nDCG@10", 20
HEADER = ("retriever", "way", NDCG, "difference", "p", "ms/question")
RETRIEVERS: Mapping[str, Callable[[Collection], Stage]] = {
    "lexical": lambda book: book.lexical(K),
    "dense": lambda book: book.dense(K),
    "hybrid": lambda book: book.hybrid(K),
}


def bench_sources(folder: str, out: str, questions: int = 400, documents: int = 4000, into: str | None = None) -> None:
    """Each retriever over one merged collection, and over one for each `source` of the documents.

    `folder` is a BEIR one, or holds docs.jsonl and pairs.jsonl ({"query": …, "id": …}, its answer), each perhaps .gz. A
    sample of about so many documents and questions is taken, the same each time. Differences are tested by Fisher's
    paired randomisation test. Collections are built in a temporary folder, or `into` one that is kept.
    """
    if questions < 1 or documents < 1:
        raise BadValueError(f"bench sources needs 1 question and document or more, got {questions} and {documents}")
    found, asked, qrels = _read(Path(folder), questions, documents)
    with tempfile.TemporaryDirectory() as scratch:
        books = _built(Path(into or scratch), found)
        rows = [row for name in RETRIEVERS for row in _rows(name, books, asked, qrels)]
    print(text_table(HEADER, rows))
    save("sources", out, folder=folder, rows=[dict(zip(HEADER, row, strict=True)) for row in rows])


def _read(folder: Path, questions: int, documents: int) -> tuple[list[Document], list[Query], Qrels]:
    pairs = next((path for path in (folder / "pairs.jsonl", folder / "pairs.jsonl.gz") if path.is_file()), None)
    if pairs is None:
        standard = read_beir(folder)
        every, texts, judged = list(standard.documents), {q.id: q.text for q in standard.queries}, standard.qrels
    else:
        every = list(Corpus(next(folder.glob("docs.jsonl*"))))
        grades: dict[str, dict[str, int]] = {}
        for _, line in numbered(pairs):
            row = parsed(line)
            grades.setdefault(str(row["query"]), {})[str(row["id"])] = 1
        texts, judged = {text: text for text in grades}, grades
    held = sorted(every, key=lambda each: zlib.crc32(each.id.encode()))[:documents]
    ids = {document.id for document in held}
    qrels = {name: {i: g for i, g in judged[name].items() if i in ids} for name in texts}
    known = sorted((name for name in texts if any(qrels[name].values())), key=lambda name: zlib.crc32(name.encode()))
    return held, [Query(name, texts[name]) for name in known[:questions]], qrels


def _built(home: Path, documents: list[Document]) -> dict[str, Collection]:
    """The merged collection under "", then one for each source."""
    by_source: dict[str, list[Document]] = {"": documents}
    for document in documents:
        by_source.setdefault(document.source or "none", []).append(document)
    books = {}
    for at, (source, held) in enumerate(by_source.items()):
        books[source] = Collection(home / (f"{at}-{source}" if source else "merged"))
        print(books[source].add(held, progress=False))
    return books


def _rows(name: str, books: Mapping[str, Collection], asked: list[Query], qrels: Qrels) -> list[list[str]]:
    sources: dict[str, Stage] = {source: RETRIEVERS[name](book) for source, book in books.items() if source}
    ways = {
        "merged": RETRIEVERS[name](books[""]),
        "pooled": multi_source(sources),
        "zscore": multi_source(sources, fusion="zscore"),
        "rrf": multi_source(sources, fusion="rrf"),
    }
    rows, first = [], None
    for way, pipeline in ways.items():
        run = pipeline.run(asked)
        scores = evaluate(run.results, qrels, (NDCG,))
        values = [scores.by_question[NDCG][query.id] for query in asked]
        first = first or values
        tested = [f"{scores.mean[NDCG] - sum(first) / len(first):+.4f}", f"{randomisation_test(first, values):.4f}"]
        differs = ["", ""] if way == "merged" else tested
        rows.append([name, way, f"{scores.mean[NDCG]:.4f}", *differs, f"{run.ms_per_question:.1f}"])
    return rows
