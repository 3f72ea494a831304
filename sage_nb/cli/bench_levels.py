"""`sage-nb bench levels`: passages found by way of their documents, against the same passages found directly."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sage_nb.cli.bench import save
from sage_nb.errors import BadValueError
from sage_nb.evaluation.measures import evaluate
from sage_nb.evaluation.significance import randomisation_test
from sage_nb.records.beir import Beir, read_beir
from sage_nb.records.columns import text_table
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.descent import POOLS
from sage_nb.retrieval.hierarchical import CANDIDATES, WINNERS, Retriever
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment

RECALL, NDCG, K = "R@10", "nDCG@10", 10
TIMED = 200  # questions whose time is taken
HEADER = ("retriever", "way", RECALL, NDCG, "difference", "p", "ms/question", "to flat")
RETRIEVERS: Mapping[str, Callable[[Collection, int], Retriever]] = {
    "lexical": lambda book, k: book.lexical(k),
    "dense": lambda book, k: book.dense(k),
    "hybrid": lambda book, k: book.hybrid(k),
    "hybrid, zscore": lambda book, k: book.hybrid(k, fusion="zscore"),
}


@dataclass(frozen=True)
class Measured:
    """Of one pipeline: recall of each question, mean nDCG, and milliseconds a question, measured several times."""

    recall: Mapping[str, float]
    ndcg: float
    milliseconds: Sequence[float]

    @property
    def mean(self) -> float:
        """Of the recall."""
        return statistics.fmean(self.recall.values())


def bench_levels(folder: str, out: str, repeats: int = 3, into: str | None = None) -> None:
    """Ten passages found flat and by way of their documents, on a BEIR folder whose documents have a `parent`.

    Each retriever is asked flat, then hierarchically with documents ranked by their best passage and as a whole, in
    turn. Differences of recall are tested by Fisher's paired randomisation test. Nothing is merged, because passages
    are what is judged. The collection is built in a temporary folder, or `into` one that is kept for the next time.
    """
    if repeats < 1:
        raise BadValueError(f"bench levels needs 1 repeat or more, got {repeats}")
    standard = read_beir(folder)
    with tempfile.TemporaryDirectory() as scratch:
        collection = Collection(Path(into or scratch) / Path(folder).name)
        print(collection.add(standard.documents, progress=False))
        cell = Cell("bench", CellCache(Path(scratch) / "cache"))  # for quality: each question is encoded once in all
        rows = [row for name in RETRIEVERS for row in _rows(collection, name, standard, repeats, cell)]
        cell.cache.close()
    print(text_table(HEADER, rows))
    save("levels", out, folder=folder, repeats=repeats, rows=[dict(zip(HEADER, row, strict=True)) for row in rows])


def _rows(book: Collection, name: str, standard: Beir, repeats: int, cell: Cell) -> list[list[str]]:
    coarse, fine = (RETRIEVERS[name](book, k) for k in (WINNERS, CANDIDATES))
    ways = {pool: book.hierarchical(K, coarse=coarse, fine=fine, pool=pool, merge=1) for pool in POOLS}
    found = _measured({"flat": fine % K, **ways}, standard, repeats, cell)
    flat = found["flat"]
    rows = []
    for way, each in found.items():
        differs = [] if way == "flat" else [f"{each.mean - flat.mean:+.4f}", f"{_p(flat, each):.4f}"]
        ratio = statistics.median(a / b for a, b in zip(each.milliseconds, flat.milliseconds, strict=True))
        spent = f"{statistics.median(each.milliseconds):.2f}", f"{ratio:.2f}"
        rows.append([name, way, f"{each.mean:.4f}", f"{each.ndcg:.4f}", *(differs or ["", ""]), *spent])
    return rows


def _p(before: Measured, after: Measured) -> float:
    return randomisation_test(list(before.recall.values()), [after.recall[question] for question in before.recall])


def _measured(ways: Mapping[str, Stage], standard: Beir, repeats: int, cell: Cell) -> dict[str, Measured]:
    spent: dict[str, list[float]] = {way: [] for way in ways}
    some = standard.queries[:TIMED]
    for pipeline in ways.values():
        _ = pipeline.run(some).results  # models load, files are mapped
    for _ in range(repeats):  # in turn, so that a busy moment meets all alike
        for way, pipeline in ways.items():
            run = pipeline.run(some)
            _ = run.results
            spent[way].append(run.ms_per_question)
    found = {}
    for way, pipeline in ways.items():
        results = pipeline.run(standard.queries, env=LocalEnvironment("bench", resources={Cell: cell})).results
        scores = evaluate(results, standard.qrels, (RECALL, NDCG))
        found[way] = Measured(scores.by_question[RECALL], scores.mean[NDCG], spent[way])
    return found
