"""`sage-nb bench cache`: what keeping a cell's results costs the first time, and saves the next."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError
from sage_nb.models.untrained import untrained_cross_encoder
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.rerank import rerank
from sage_nb.retrieval.stage import Stage
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment

Spent = tuple[float, float]  # seconds on the wall, and of the CPU


def bench_cache(out: str, repeats: int = 3, questions: int = 100, pairs: int = 20) -> None:
    """Measure, print a table, and write one JSON under `out`.

    `questions` are titles of the standard library's documentation, each asked of hybrid retrieval with its `pairs` best
    reranked, by a cross-encoder with the bundled encoder's weights and an untrained head: the real work, no ranking.
    """
    if min(repeats, questions, pairs) < 1:
        raise BadValueError(f"bench cache needs 1 or more of each, got {repeats}, {questions} and {pairs}")
    report("cache", out, _figures(repeats, questions, pairs), repeats=repeats, questions=questions, pairs=pairs)


def _figures(repeats: int, questions: int, pairs: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        documents = list(pydocs(("stdlib",)))[:2000]
        collection = Collection(Path(folder) / "pydocs")
        collection.add(documents, progress=False)
        asked = [each.title or each.text[:80] for each in documents[:questions]]
        model = untrained_cross_encoder(Path(folder) / "model")
        pipeline = collection.hybrid(100) % pairs >> rerank(k=10, model=model)
        _spent(pipeline, asked, None)  # models load, files are mapped
        plain: list[Spent] = []
        cold: list[Spent] = []
        warm: list[Spent] = []
        for at in range(repeats):  # in turn, so that a busy moment meets all alike
            cache = CellCache(Path(folder) / f"cache{at}")
            for times, kept in ((plain, None), (cold, cache), (warm, cache)):
                times.append(_spent(pipeline, asked, kept))
            cache.close()
        over = [_over(each, at) for each, at in ((zip(cold, plain, strict=True), 1), (zip(cold, warm, strict=True), 0))]
        yield Figure("cold, kept against not kept, CPU time", "ratio", 1.05, False, over[0])
        yield Figure(f"{questions} questions again", "ms", 200.0, False, [1000 * wall for wall, _ in warm])
        yield Figure("again against cold", "times as fast", 100.0, True, over[1])


def _over(pairs: Iterable[tuple[Spent, Spent]], at: int) -> list[float]:
    return [one[at] / other[at] for one, other in pairs]


def _spent(pipeline: Stage, asked: Sequence[str], cache: CellCache | None) -> Spent:
    env = LocalEnvironment("bench", resources={} if cache is None else {Cell: Cell("bench", cache)})
    begun = time.perf_counter(), time.process_time()
    _ = pipeline.run(list(asked), env=env).results
    return time.perf_counter() - begun[0], time.process_time() - begun[1]
