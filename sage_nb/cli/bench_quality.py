"""`sage-nb bench quality`: what each step of the default pipeline is worth, on standard collections."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sage_nb.cli.bench import save
from sage_nb.corpora.pydocs import pydocs
from sage_nb.evaluation.measures import MEASURES, evaluate
from sage_nb.evaluation.significance import randomisation_test
from sage_nb.records.beir import Beir, read_beir
from sage_nb.records.columns import text_table
from sage_nb.records.trec import read_qrels, read_queries
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.rerank import rerank
from sage_nb.retrieval.stage import Stage

NDCG = "nDCG@10"
SINGLE, FUSED, DEFAULT = ("bm25", "dense"), "rrf", "default"
DEPTH = 50  # hits that are reranked
PYDOCS = ("stdlib", "numpy")  # what data/pydocs asks about


def bench_quality(folders: Sequence[str], out: str, *, half: bool = False, into: str | None = None) -> None:
    """BM25, dense, their fusion and the default pipeline on each folder: a table, and one JSON under `out`.

    A folder is a BEIR one, or holds queries.jsonl and qrels.tsv about the documentation installed here (data/pydocs).
    With `half` only questions count whose answers lie in the second half of the documents. nDCG@10 of the default
    pipeline is set against the better of BM25 and dense, and against the fusion, by Fisher's paired randomisation test.
    """
    header = ["collection", "pipeline", *MEASURES, "ms/question", "against", "difference", "p"]
    rows = [row for folder in folders for row in _measured(Path(folder), into, half=half)]
    print(text_table(header, rows))
    save("quality", out, rows=[dict(zip(header, row, strict=True)) for row in rows])


def _measured(folder: Path, into: str | None, *, half: bool) -> list[list[str]]:
    standard = _read(folder)
    with tempfile.TemporaryDirectory() as scratch:
        collection = Collection(Path(into or scratch) / folder.name)
        print(collection.add(standard.documents, progress=False))
        asked = _second_half(standard) if half else standard
        return _rows(folder.name, _pipelines(collection), asked)


def _read(folder: Path) -> Beir:
    if any(folder.glob("corpus.jsonl*")) or any(folder.glob("docs.jsonl*")):
        return read_beir(folder)
    qrels = read_qrels(folder / "qrels.tsv")
    asked = tuple(query for query in read_queries(folder / "queries.jsonl") if query.id in qrels)
    return Beir(pydocs(PYDOCS), asked, qrels)


def _second_half(standard: Beir) -> Beir:
    count = sum(1 for _ in standard.documents)
    late = {document.id for document in islice(standard.documents, count // 2, None)}
    asked = tuple(query for query in standard.queries if late.issuperset(standard.qrels[query.id]))
    return Beir(standard.documents, asked, standard.qrels)


def _pipelines(collection: Collection) -> dict[str, Stage]:
    hybrid = collection.hybrid(100)
    return {
        "bm25": collection.lexical(100),
        "dense": collection.dense(100),
        FUSED: hybrid,
        DEFAULT: hybrid >> rerank(k=100, top=DEPTH),
    }


def _rows(name: str, pipelines: dict[str, Stage], asked: Beir) -> list[list[str]]:
    rows, means, values = [], dict[str, float](), dict[str, list[float]]()
    for pipeline, stage in pipelines.items():
        run = stage.run(list(asked.queries))
        found = evaluate(run.results, asked.qrels)
        means[pipeline] = found.mean[NDCG]
        values[pipeline] = [found.by_question[NDCG][query.id] for query in asked.queries]
        figures = [f"{found.mean[measure]:.4f}" for measure in MEASURES]
        rows.append([name, pipeline, *figures, f"{run.ms_per_question:.1f}", "", "", ""])
    best = max(SINGLE, key=lambda each: means[each])
    for at, other in ((-1, best), (-2, FUSED)):  # beside the last two rows, where there is room
        against, p = means[DEFAULT] - means[other], randomisation_test(values[other], values[DEFAULT])
        rows[at][-3:] = [f"default to {other}", f"{against:+.4f}", f"{p:.4f}"]
    return rows
