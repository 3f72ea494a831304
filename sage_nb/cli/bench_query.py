"""`sage-nb bench query`: hybrid retrieval with 50 hits reranked, against other programs with the same models."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.peers import Peers, best_of, ratio, write_work
from sage_nb.errors import BadValueError
from sage_nb.evaluation.measures import falling, measured
from sage_nb.models.threads import fixed_threads
from sage_nb.models.weights import RERANKER
from sage_nb.records.beir import Beir, read_beir
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.rerank import rerank
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import Environment, LocalEnvironment

PLAIN = "sentence_transformers"
PEERS = (PLAIN, "haystack", "llama_index", "txtai", "langchain")
THREADS = 2  # that all of them compute with
RETRIEVED, RERANKED, K = 100, 50, 10
NDCG = f"nDCG@{K}"
SINGLE, STREAM, WARM, QUALITY = 3.0, 5.0, 100.0, 0.005  # the bars

Rankings = Mapping[str, Sequence[str]]  # ids of documents, by the question's


@dataclass
class Times:
    """What one program took: milliseconds of the median and of the slowest questions, and questions a second."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    rankings: Rankings = field(default_factory=dict)

    def alone(self, seconds: Sequence[float]) -> None:
        """Of questions asked one at a time."""
        p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
        self.p50.append(float(p50))
        self.p99.append(float(p99))

    def together(self, seconds: float, rankings: Rankings) -> None:
        """Of all questions asked at once."""
        self.rate.append(len(rankings) / seconds)
        self.rankings = rankings

    def figures(self, name: str, standard: Beir) -> Iterator[Figure]:
        """Each of them, without a bar."""
        yield Figure(f"{name}: a question, p50", "ms", None, False, self.p50)
        yield Figure(f"{name}: a question, p99", "ms", None, False, self.p99)
        yield Figure(f"{name}: a stream", "questions/s", None, True, self.rate)
        yield Figure(f"{name}: {NDCG}", "of 1", None, True, [_quality(self.rankings, standard)])


def bench_query(folder: str, out: str, questions: int = 100, repeats: int = 3, peers: str | None = None) -> None:
    """Measure, print a table, and write one JSON under `out`; `peers` is the interpreter that has the other programs.

    BM25 and vectors, 100 hits each, fused; 50 reranked by the same cross-encoder; 10 given. In turn, one question at a
    time and then all as a stream. The default reranker, which is no cross-encoder, is a line of its own. Answers that
    a cache holds (warm) are set against the best peer's stream, which has none, and against the first time.
    """
    if min(questions, repeats) < 1:
        raise BadValueError(f"bench query needs 1 question and repeat or more, got {questions} and {repeats}")
    whole = read_beir(folder)
    standard = Beir(whole.documents, whole.queries[:questions], whole.qrels)
    versions: dict[str, str] = {}
    with fixed_threads(THREADS):
        figures = _figures(standard, repeats, peers, versions)
        settings = {"folder": folder, "questions": len(standard.queries), "repeats": repeats, "threads": THREADS}
        report("query", out, figures, **settings, versions=versions)


def _figures(standard: Beir, repeats: int, python: str | None, versions: dict[str, str]) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), len(standard.queries)
        write_work(folder, standard.documents, standard.queries, retrieved=RETRIEVED, reranked=RERANKED, k=K)
        collection = Collection(folder / "asked")
        print(collection.add(standard.documents, progress=False))
        first = collection.hybrid(RETRIEVED) % RERANKED
        ours = {"sage-nb": first >> rerank(k=K, model=RERANKER), "sage-nb, default reranker": first >> rerank(k=K)}
        times = {name: Times() for name in (*ours, *PEERS)}
        warm = {name: _Warm(pipeline, folder) for name, pipeline in ours.items()}
        with Peers(python, PEERS, folder, THREADS) as others:
            versions.update(others.versions)
            others.ask("prepare")
            others.ask("index")
            for _ in range(repeats):
                for name, pipeline in ours.items():
                    times[name].alone(_alone(pipeline, standard.queries))
                for name, answer in others.ask("ask", most=count).items():
                    times[name].alone(answer["seconds"])
                for name, pipeline in ours.items():
                    times[name].together(*_together(pipeline, standard.queries, LocalEnvironment("stream")))
                    warm[name].measure(standard.queries)
                for name, answer in others.ask("stream", most=count).items():
                    times[name].together(answer["seconds"], _ids(answer["rankings"]))
            theirs = {name: times[name] for name in PEERS if name in others}
    for name in (*ours, *theirs):
        yield from times[name].figures(name, standard)
    for name in ours:
        yield from warm[name].figures(name)
        yield from _against(name, times[name], theirs, standard)
        yield from warm[name].against(name, theirs)


class _Warm:
    """A pipeline whose answers are kept, and how fast they are found again."""

    def __init__(self, pipeline: Stage, folder: Path) -> None:
        self._pipeline, self._folder = pipeline, folder
        self._cold: list[float] = []
        self._again: list[float] = []

    def measure(self, queries: Sequence[Query]) -> None:
        """Ask with an empty cache, then again."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            cache = CellCache(Path(place))
            for rates in (self._cold, self._again):
                env = LocalEnvironment("warm", resources={Cell: Cell("bench", cache)})
                rates.append(len(queries) / _together(self._pipeline, queries, env)[0])
            cache.close()

    def figures(self, name: str) -> Iterator[Figure]:
        """Questions a second, and times as fast as the first time."""
        yield Figure(f"{name}: a stream, warm", "questions/s", None, True, self._again)
        yield Figure(f"{name}: warm to cold", "times", None, True, ratio(self._again, self._cold))

    def against(self, name: str, theirs: Mapping[str, Times]) -> Iterator[Figure]:
        """The best peer's stream."""
        rates = {peer: each.rate for peer, each in theirs.items()}
        if rates:
            best = best_of(rates)
            yield Figure(f"{name}: warm to {best}, the best", "times", WARM, True, ratio(self._again, rates[best]))


def _against(name: str, ours: Times, theirs: Mapping[str, Times], standard: Beir) -> Iterator[Figure]:
    """The peer that is best at each; and what quality differs from the plain line's in float32."""
    ways: list[tuple[str, float, Callable[[Times], list[float]]]] = [
        ("p50", SINGLE, lambda each: [1 / ms for ms in each.p50]),
        ("p99", SINGLE, lambda each: [1 / ms for ms in each.p99]),
        ("a stream", STREAM, lambda each: each.rate),
    ]
    for way, bar, speeds in ways if theirs else []:
        found = {peer: speeds(each) for peer, each in theirs.items()}
        best = best_of(found)
        yield Figure(f"{name}: {way} to {best}, the best", "times", bar, True, ratio(speeds(ours), found[best]))
    if PLAIN in theirs:
        less = _quality(theirs[PLAIN].rankings, standard) - _quality(ours.rankings, standard)
        yield Figure(f"{name}: {NDCG} less than {PLAIN}'s, float32", "of 1", QUALITY, False, [less])


def _alone(pipeline: Stage, queries: Sequence[Query]) -> list[float]:
    """Seconds for each question."""
    pipeline.search(queries[0].text)  # warm
    seconds = []
    for query in queries:
        begun = time.perf_counter()
        pipeline.search(query.text)
        seconds.append(time.perf_counter() - begun)
    return seconds


def _together(pipeline: Stage, queries: Sequence[Query], env: Environment) -> tuple[float, Rankings]:
    begun = time.perf_counter()
    results: list[Result] = pipeline.run(list(queries), env=env).results
    return time.perf_counter() - begun, {each.query.id: [hit.document.id for hit in each] for each in results}


def _ids(rankings: Mapping[str, Sequence[tuple[str, float]]]) -> Rankings:
    return {name: [document for document, _ in ranking] for name, ranking in rankings.items()}


def _quality(rankings: Rankings, standard: Beir) -> float:
    run = {name: falling(documents) for name, documents in rankings.items()}
    return measured(run, standard.qrels, (NDCG,)).mean[NDCG]
