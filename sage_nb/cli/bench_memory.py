"""`sage-nb bench memory`: opening a large collection, what it takes of memory, and what its size costs a search."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.opening import held_bytes, opened, with_vectors
from sage_nb.cli.zipf import Zipf
from sage_nb.errors import BadValueError
from sage_nb.index.dense import DenseFacts, DenseReader, Vectors, write_vectors
from sage_nb.models.threads import fixed_threads

THREADS = 2
DOCUMENTS, SIZES = 100_000, (10_000, 30_000, 100_000, 300_000)
DIMENSION, LATENT, TOPICS = 384, 32, 1_000
DEPTH, QUESTIONS = 10, 200
OPENED, RESIDENT, RECALL, GROWN = 300.0, 1.3, 0.97, 1.0  # the bars


def bench_memory(out: str, repeats: int = 5, scale: float = 1.0) -> None:
    """Measure, print a table, and write one JSON under `out`; `scale` is the share of the usual numbers of passages.

    The first search is of words and vectors, from opening the collection to its hits: each time in a new process, and
    with nothing of the files in the system's memory, where that can be told to forget them. The libraries that it
    needs are loaded before, or within it, as the figure says. Memory is what that process holds beyond them once it
    has asked 200 questions. Cost against size is of one question's search in one segment.
    """
    if repeats < 1 or not 0 < scale <= 1:
        raise BadValueError(f"bench memory needs 1 repeat or more and a scale in (0, 1], got {repeats} and {scale:g}")
    with fixed_threads(THREADS):
        report("memory", out, _figures(repeats, scale), repeats=repeats, scale=scale, threads=THREADS)


def _figures(repeats: int, scale: float) -> Iterator[Figure]:
    yield from _opening(repeats, max(1, int(DOCUMENTS * scale)))
    sizes = [max(2 * DEPTH, int(size * scale)) for size in SIZES]
    points = made_up(sizes[-1] + QUESTIONS)
    for kind in ("hnsw", "ivfpq"):
        yield from _growth(kind, sizes, points[QUESTIONS:], points[:QUESTIONS], repeats)


def _opening(repeats: int, count: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder, "large"), Zipf()
        with_vectors(path).add(made.documents(count, "d"), progress=False)
        asked = [query.text for query in made.questions(QUESTIONS)]
        cold, ready = [], []
        for _ in range(repeats):
            forget(path)
            cold.append(opened(path, asked[:1], ready=False).ms)
            forget(path)
            ready.append(opened(path, asked, ready=True))
        held = held_bytes(path)
    first = f"first search of {count:,} passages"
    yield Figure(first, "ms", OPENED, False, [each.ms for each in ready])
    yield Figure(f"{first}, libraries loaded within", "ms", None, False, cold)
    yield Figure("memory over vectors and postings", "ratio", RESIDENT, False, [each.resident / held for each in ready])


def forget(folder: Path) -> None:
    """Ask the system to drop what it keeps in memory of the files below a folder, where it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as content:
                os.fsync(content.fileno())  # what is not on disk yet is not dropped
                os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def made_up(count: int) -> Vectors:
    """Vectors of length 1 that lie as embeddings do, in groups and in few dimensions.

    A thousand centres in 32 dimensions with points about them, turned into 384.

    >>> np.linalg.norm(made_up(3), axis=1).round(5).tolist()
    [1.0, 1.0, 1.0]
    """
    drawn = np.random.default_rng(0)
    centres, turn = (drawn.standard_normal(size, np.float32) for size in ((TOPICS, LATENT), (LATENT, DIMENSION)))
    about = 0.5 * drawn.standard_normal((count, LATENT), np.float32)
    points = (centres[drawn.integers(TOPICS, size=count)] + about) @ turn
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def _growth(kind: str, sizes: Sequence[int], vectors: Vectors, questions: Vectors, repeats: int) -> Iterator[Figure]:
    """Of the time of a search, by a kind of index."""
    first: list[float] = []
    for size in sizes:
        took, exact, recall = _searched(vectors[:size], questions, kind, repeats)
        name, first = f"{kind}, {size:,} passages", first or took
        yield Figure(f"{name}: a search", "ms", None, False, [1000 * each for each in took])
        yield Figure(f"{name}: exact search to it", "times", None, True, _over(exact, took))
        yield Figure(f"{name}: Recall@{DEPTH} of exact search", "of 1", RECALL, True, [recall])
        if size > sizes[0]:
            grown = [each / (size / sizes[0]) ** 0.5 for each in _over(took, first)]
            yield Figure(f"{name}: growth of its time over the root's", "ratio", GROWN, False, grown)


def _over(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(some, others, strict=True)]


def _searched(vectors: Vectors, questions: Vectors, kind: str, repeats: int) -> tuple[list[float], list[float], float]:
    """Seconds of a search, and of an exact one, for each repeat; and the share of the exact hits that it finds."""
    with tempfile.TemporaryDirectory() as folder:
        facts = write_vectors(Path(folder), vectors, kind)
        near, exact = (DenseReader(Path(folder), each) for each in (facts, DenseFacts()))
        (_, found), (_, truth) = (reader.search(questions, DEPTH, None) for reader in (near, exact))
        shares = [len(np.intersect1d(one, other)) / DEPTH for one, other in zip(found, truth, strict=True)]
        took = [(_seconds(near, questions), _seconds(exact, questions)) for _ in range(repeats)]
    return [each for each, _ in took], [each for _, each in took], float(np.mean(shares))


def _seconds(reader: DenseReader, questions: Vectors) -> float:
    """Of one question's search, the mean."""
    begun = time.perf_counter()
    for question in questions:
        reader.search(question[None], DEPTH, None)
    return (time.perf_counter() - begun) / len(questions)
