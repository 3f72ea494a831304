"""`sage-nb bench sweep`: variants of a pipeline as one graph, against their distinct stages and one after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.corpora.harvested import STDLIB
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError
from sage_nb.evaluation.experiment import experiment
from sage_nb.evaluation.measures import Qrels
from sage_nb.evaluation.sweep import grid, sweep
from sage_nb.models.inference import Floats
from sage_nb.models.registry import Models, cross_encoder, encoder
from sage_nb.models.weights import RERANKER
from sage_nb.records.values import Query
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.rerank import rerank
from sage_nb.retrieval.stage import Stage

GRID = {"alpha": (0.3, 0.5, 0.7), "depth": (10, 20), "shown": (5, 10)}  # 12 variants
MODEL = "counted"
RETRIEVED, KEPT = 50, 10  # passages by each way, and of those reranked


class Calls:
    """The bundled models, which here count the texts and the pairs that they are given."""

    def __init__(self) -> None:
        self.count, models = 0, Models()
        self._encoder, self._scorer = models.encoder(), models.cross_encoder(RERANKER)
        self.name, self.fingerprint, self.truncated = MODEL, self._encoder.fingerprint, 0
        self.dimension = self._encoder.dimension
        encoder(MODEL)(lambda: self)
        cross_encoder(MODEL)(lambda: self)

    def encode(self, texts: Sequence[str], /) -> Floats:
        """N texts to (n, dimension)."""
        self.count += len(texts)
        return self._encoder.encode(texts)

    def score(self, pairs: Sequence[tuple[str, str]], /) -> Floats:
        """N pairs to (n,)."""
        self.count += len(pairs)
        return self._scorer.score(pairs)

    def taken(self) -> int:
        """Those since this was last asked."""
        count, self.count = self.count, 0
        return count


def bench_sweep(out: str, repeats: int = 3, questions: int = 50, documents: int = 1000) -> None:
    """Measure, print a table, and write one JSON under `out`.

    Variants weigh words and meaning against each other, rerank to one depth or another with a cross-encoder, and show
    so many. What models are given is counted: by the sweep, and by its distinct stages, each run once; that is by those
    variants that differ in more than what they show, less the vectors of the questions, which all of them want. One by
    one, each variant is an experiment of its own, with nothing kept from the one before.
    """
    if min(repeats, questions, documents) < 1 or questions > documents:
        raise BadValueError(
            f"bench sweep needs 1 or more of each, and no more questions than documents, got {repeats}, {questions} "
            f"and {documents}"
        )
    report("sweep", out, _figures(repeats, questions, documents), repeats=repeats, questions=questions)


def _figures(repeats: int, questions: int, documents: int) -> Iterator[Figure]:
    calls = Calls()
    with tempfile.TemporaryDirectory() as folder:
        held = list(islice(pydocs((STDLIB,)), documents))
        book = Collection(Path(folder) / "book", encoder=MODEL)
        book.add(held, progress=False)
        asked = [Query(each.id, f"what does {each.id.replace('.', ' ')} do?") for each in held[:questions]]
        qrels = {each.id: {each.id: 1} for each in held[:questions]}

        def variant(alpha: float, depth: int, shown: int) -> Stage:
            first = alpha * book.dense(RETRIEVED) + (1 - alpha) * book.lexical(RETRIEVED)
            return first % depth >> rerank(k=KEPT, model=MODEL) % shown

        points = grid(GRID)
        apart = {name: variant(**point) for name, point in points.items()}
        distinct = [stage for name, stage in apart.items() if points[name]["shown"] == GRID["shown"][0]]
        wanted = _called(calls, distinct, asked) - (len(distinct) - 1) * len(asked)
        together, counted, alone = [], [], []
        for _ in range(repeats):  # in turn, so that a busy moment meets both alike
            calls.taken()
            begun = time.perf_counter()
            sweep(variant, asked, qrels, **GRID)
            together.append(time.perf_counter() - begun)
            counted.append(calls.taken() / wanted)
            alone.append(sum(_conducted(name, stage, asked, qrels) for name, stage in apart.items()))
    yield Figure(f"model calls of {len(apart)} variants, over their distinct stages'", "ratio", 1.15, False, counted)
    yield Figure("seconds of the sweep", "s", None, False, together)
    yield Figure(
        "one by one over the sweep", "times", None, True, [a / b for a, b in zip(alone, together, strict=True)]
    )


def _called(calls: Calls, stages: Sequence[Stage], asked: Sequence[Query]) -> int:
    """Texts and pairs that models are given."""
    calls.taken()
    for stage in stages:
        _ = stage.run(asked).results
    return calls.taken()


def _conducted(name: str, stage: Stage, asked: Sequence[Query], qrels: Qrels) -> float:
    """Seconds of an experiment on one variant."""
    begun = time.perf_counter()
    experiment({name: stage}, asked, qrels)
    return time.perf_counter() - begun
