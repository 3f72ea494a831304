"""`sage-nb bench limit`: what this machine can do at best, and how much of it the models use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.corpora.harvested import STDLIB
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError
from sage_nb.models.device import Compute, choose_compute
from sage_nb.models.machine import GIGA, Product, Shape, memory_rates, product_rate
from sage_nb.models.registry import DEFAULT_ENCODER, LATE_INTERACTION, Models
from sage_nb.models.weights import RERANKER, model_folder
from sage_nb.records.chunk import chunk, count_tokens

SHARE = 0.6  # of the rate of matrix products, that a model should reach
SHORTEST, LONGEST = 100, 200  # tokens a passage
PER_QUESTION, QUESTION_WORDS = 50, 12  # passages that a question is scored with, and its own length
TOKENS = (1024, 2048, 8192)
MEGABYTES = 256  # an array in memory: several times what caches hold
PRODUCT_S = 0.3  # seconds for which a product is repeated
DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Work:
    """What a model is given, and the operations that it takes."""

    name: str
    unit: str
    count: int
    operations: int
    run: Callable[[], object]

    def seconds(self) -> float:
        """That it takes, its tokens made and its results fetched."""
        begun = time.perf_counter()
        self.run()
        return time.perf_counter() - begun


def bench_limit(out: str, repeats: int = 5, scale: float = 1.0, passages: int = 512) -> None:
    """Measure, print a table, and write one JSON under `out`; `scale` is the share of the usual sizes and times.

    The rate of a model is that of the operations that its texts need (`Shape.operations`), in the whole time of a call:
    tokens, padding and all. Its share is of the fastest product there is in the dtype that it runs in, measured turn
    by turn with it; the share of what products of its own sizes reach stands beside that, without a bar.
    """
    if repeats < 1 or passages < 1 or not 0 < scale <= 1:
        raise BadValueError(
            f"bench limit needs 1 or more repeats and passages and a scale in (0, 1], got {repeats}, {passages} and "
            f"{scale:g}"
        )
    report("limit", out, _figures(repeats, scale, passages), repeats=repeats, scale=scale, passages=passages)


def _figures(repeats: int, scale: float, passages: int) -> Iterator[Figure]:
    compute, shape, seconds = choose_compute(), Shape.of(model_folder(DEFAULT_ENCODER)), PRODUCT_S * scale
    rates: dict[Product, float] = {}  # in the dtype that models run in
    for dtype in dict.fromkeys((*DTYPES, compute.dtype)):
        for product in _products(shape, compute, scale):
            found = [product_rate(product, dtype, compute, seconds) for _ in range(repeats)]
            if values := [rate for rate in found if rate is not None]:
                yield Figure(f"GEMM {dtype}, {product}", "GFLOP/s", None, True, values)
                if dtype == compute.dtype:
                    rates[product] = max(values)
    moved = [memory_rates(MEGABYTES * scale, compute, seconds) for _ in range(repeats)]
    for way in moved[0]:
        yield Figure(f"memory, {way}", "GB/s", None, True, [each[way] for each in moved])
    best = max(rates, key=lambda product: rates[product])
    own = max(_layer_rate(shape, tokens, rates) for tokens in _rows(scale)) / rates[best]
    for work in _works(list(_passages(passages)), shape):
        spent = [(work.seconds(), product_rate(best, compute.dtype, compute, seconds)) for _ in range(repeats)]
        shares = [work.operations / took / GIGA / rate for took, rate in spent if rate]
        yield Figure(f"{work.name}, {compute.dtype}: share of {best}", "of 1", SHARE, True, shares)
        yield Figure(f"{work.name}: share of its own sizes", "of 1", None, True, [share / own for share in shares])
        yield Figure(f"{work.name}", f"{work.unit}/s", None, True, [work.count / took for took, _ in spent])


def _rows(scale: float) -> list[int]:
    return [max(1, int(tokens * scale)) for tokens in TOKENS]


def _products(shape: Shape, compute: Compute, scale: float) -> list[Product]:
    """Of the encoder's sizes, and one large square."""
    square = max(1, int((2048 if compute.device == "cpu" else 8192) * scale))
    return [*(each for rows in _rows(scale) for each in shape.products(rows)), Product(square, square, square)]


def _layer_rate(shape: Shape, tokens: int, rates: Mapping[Product, float]) -> float:
    """Of the products of a layer one after the other: four as wide as the model, two of its feed-forward."""
    layer = list(zip(shape.products(tokens), (4, 1, 1), strict=True))
    operations = sum(times * product.operations for product, times in layer)
    return operations / sum(times * product.operations / rates[product] for product, times in layer)


def _passages(most: int) -> Iterator[str]:
    """English with code in it: the documentation of the standard library, cut."""
    cut = (passage.text for document in pydocs((STDLIB,)) for passage in chunk(LONGEST, overlap=0).split(document))
    return islice((text for text in cut if count_tokens(text) >= SHORTEST), most)


def _works(passages: Sequence[str], shape: Shape) -> list[Work]:
    """What each kind of model does with the passages, warmed up."""
    models = Models()
    encoder, late, reranker = models.encoder(), models.cross_encoder(LATE_INTERACTION), models.cross_encoder(RERANKER)
    lengths = {text: count_tokens(text) for text in passages}
    groups = [passages[at : at + PER_QUESTION] for at in range(0, len(passages), PER_QUESTION)]
    pairs = [(" ".join(group[0].split()[:QUESTION_WORDS]), passage) for group in groups for passage in group]
    asked = {question: count_tokens(question) for question, _ in pairs}
    encoded = shape.operations(length + 2 for length in lengths.values())  # each text has two tokens that frame it
    questions = shape.operations(length + 2 for length in asked.values())
    near = sum(2 * asked[question] * lengths[passage] * shape.hidden_size for question, passage in pairs)
    both = Shape.of(model_folder(RERANKER)).operations(asked[one] + lengths[other] + 3 for one, other in pairs)
    works = [
        Work("encoder", "passages", len(passages), encoded, lambda: encoder.encode(passages)),
        Work("late interaction", "pairs", len(pairs), encoded + questions + near, lambda: late.score(pairs)),
        Work("cross-encoder", "pairs", len(pairs), both, lambda: reranker.score(pairs)),
    ]
    for work in works:
        work.seconds()
    return works
