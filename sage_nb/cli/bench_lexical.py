"""`sage-nb bench lexical`: how fast BM25 over many documents finds and grows; against other libraries."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.peers import Peers, ratio, write_work
from sage_nb.cli.zipf import Zipf
from sage_nb.errors import BadValueError
from sage_nb.models.threads import fixed_threads
from sage_nb.records.values import Query
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.stage import Stage

OURS, BM25S, RANK_BM25 = "sage-nb", "bm25s", "rank_bm25"
THREADS, K = 2, 10
FEW = 10  # questions that rank_bm25 is asked: it goes through all documents for each
ADDED = 0.01  # of the documents that are there
CLOSE = 1e-4  # float32 against float64
BARS = {BM25S: 0.8, RANK_BM25: 100.0}
GROWN = 5.0  # per cent of a rebuild: the other bar

Rates = dict[tuple[str, str], list[float]]  # questions a second, by who was asked and how


def bench_lexical(
    out: str, documents: int = 100_000, questions: int = 500, repeats: int = 3, peers: str | None = None
) -> None:
    """Measure, print a table, and write one JSON under `out`; `peers` is the interpreter that has the other programs.

    Documents and questions are made up, by Zipf's law from a fixed seed. Questions are asked one at a time, and all at
    once; rank_bm25 is asked a few. Adding is set against building anew, which is all that a frozen index can. What
    opening takes, and memory, `bench memory` measures.
    """
    if documents < 100 or min(questions, repeats) < 1:
        raise BadValueError(
            f"bench lexical needs 100 documents and 1 question and repeat or more, got {documents}, {questions} "
            f"and {repeats}"
        )
    bench = Lexical(documents, questions, repeats)
    with fixed_threads(THREADS), tempfile.TemporaryDirectory() as folder:
        settings = {"documents": documents, "questions": questions, "repeats": repeats, "threads": THREADS}
        report("lexical", out, bench.figures(Path(folder), peers), **settings, versions=bench.versions)


class Lexical:
    """The documents, the questions, and what is measured with them."""

    def __init__(self, documents: int, questions: int, repeats: int) -> None:
        made = Zipf()
        self._documents, self._queries = made.documents(documents, "d"), made.questions(questions)
        self._more = [made.documents(int(documents * ADDED), f"more{at}-") for at in range(repeats)]
        self._repeats = repeats
        self.versions: dict[str, str] = {}

    def figures(self, folder: Path, python: str | None) -> Iterator[Figure]:
        """Each as it comes."""
        collection, seconds = self._built(folder / "frozen")
        collection.compact()  # frozen, as the others' are
        yield from self._searched(collection.lexical(K), folder, python)
        yield from self._grown(collection, folder, seconds)

    def _built(self, path: Path) -> tuple[Collection, float]:
        collection = Collection(path, encoder=None)
        begun = time.perf_counter()
        collection.add(self._documents, progress=False)
        return collection, time.perf_counter() - begun

    def _searched(self, stage: Stage, folder: Path, python: str | None) -> Iterator[Figure]:
        write_work(folder, self._documents, self._queries, k=K)
        rates: Rates = {}
        with Peers(python, (BM25S, RANK_BM25), folder, THREADS) as others:
            self.versions.update(others.versions)
            others.ask("index")
            few = {BM25S: len(self._queries), RANK_BM25: min(FEW, len(self._queries))}
            for _ in range(self._repeats):
                _note(rates, OURS, "alone", _alone(stage, self._queries))
                for name, count in few.items():
                    for answer in others.ask("ask", [name], most=count).values():
                        _note(rates, name, "alone", len(answer["seconds"]) / sum(answer["seconds"]))
                rate, scores = _together(stage, self._queries)
                _note(rates, OURS, "a stream", rate)
                for name, count in few.items():
                    for answer in others.ask("stream", [name], most=count).values():
                        _note(rates, name, "a stream", count / answer["seconds"])
                        if name == BM25S:
                            theirs = answer["rankings"]
            unlike = _unlike(scores, theirs) if BM25S in others else None
            whole = {who: values for who, values in rates.items() if who[0] == OURS or who[0] in others}
        yield from _compared(whole)
        if unlike is not None:
            yield Figure(f"top {K} whose scores are not {BM25S}'s", "questions", 0.0, False, [unlike])

    def _grown(self, collection: Collection, folder: Path, first: float) -> Iterator[Figure]:
        """What adding one per cent takes, again and again, against building all of it."""
        builds = [first, *(self._built(folder / f"anew{at}")[1] for at in range(1, self._repeats))]
        added = []
        for documents in self._more:
            begun = time.perf_counter()
            collection.add(documents, progress=False)
            added.append(time.perf_counter() - begun)
        yield Figure("building", "documents/s", None, True, [len(self._documents) / each for each in builds])
        shares = [100 * share for share in ratio(added, builds)]
        yield Figure(f"adding {ADDED:.0%} against building", "%", GROWN, False, shares)


def _note(rates: Rates, name: str, way: str, rate: float) -> None:
    rates.setdefault((name, way), []).append(rate)


def _alone(stage: Stage, queries: Sequence[Query]) -> float:
    """Questions a second, one after the other."""
    stage.search(queries[0].text)  # warm
    begun = time.perf_counter()
    for query in queries:
        stage.search(query.text)
    return len(queries) / (time.perf_counter() - begun)


def _together(stage: Stage, queries: Sequence[Query]) -> tuple[float, dict[str, list[float]]]:
    """Questions a second, all at once; and the scores of each."""
    begun = time.perf_counter()
    results = stage.run(list(queries)).results
    rate = len(queries) / (time.perf_counter() - begun)
    return rate, {result.query.id: [hit.score for hit in result] for result in results}


def _compared(rates: Rates) -> Iterator[Figure]:
    for (name, way), values in rates.items():
        yield Figure(f"{name}: {way}", "questions/s", None, True, values)
    for (name, way), values in rates.items():
        if name != OURS:
            yield Figure(f"{OURS} to {name}: {way}", "times", BARS[name], True, ratio(rates[OURS, way], values))


def _unlike(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[Any]]) -> int:
    """Questions whose best scores differ. Where fewer documents match, bm25s fills up with ones of score 0."""
    count = 0
    for name, scores in ours.items():
        other = np.array([score for _, score in theirs[name]])
        mine = np.pad(np.array(scores), (0, len(other) - len(scores)))
        count += not np.allclose(mine, other, rtol=CLOSE, atol=CLOSE)
    return count
