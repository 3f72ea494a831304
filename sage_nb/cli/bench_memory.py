"""`sage-nb bench memory`: opening a large collection, what it takes of memory, and what its size costs a search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.synthetic import DIMENSION, ENCODER, MadeUp, Vectors, passages
from sage_nb.errors import BadValueError
from sage_nb.index.dense import DenseReader, write_vectors
from sage_nb.retrieval.collection import Collection

DOCUMENTS = 100_000
SIZES = (10_000, 30_000, 100_000, 300_000)
DEPTH, QUESTIONS = 10, 200
RECALL = 0.97  # of exact search
POSTINGS = ("terms.arrow", "starts.npy", "rows.npy", "frequencies.npy", "lengths.npy")
CHILD = "from sage_nb.cli.bench_memory import opened; opened({path!r}, {small!r})"


def bench_memory(out: str, repeats: int = 5, scale: float = 1.0) -> None:
    """Measure, print a table, and write one JSON under `out`; `scale` is the share of the usual numbers of passages.

    The first search is of words and vectors, from opening the collection to its hits, in a new process each time and
    with nothing of the files in the system's cache where it can be told to forget them. The libraries that it needs
    are loaded before, or within it, as the figure says. Memory is what the process holds more than with these
    libraries, once it has asked 200 questions.
    """
    if repeats < 1 or not 0 < scale <= 1:
        raise BadValueError(f"bench memory needs 1 repeat or more and a scale in (0, 1], got {repeats} and {scale:g}")
    report("memory", out, [*_opening(repeats, scale), *_growth(repeats, scale)], repeats=repeats, scale=scale)


def _opening(repeats: int, scale: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        count = max(1, int(DOCUMENTS * scale))
        for path, number in ((small, 1), (large, count)):
            Collection(path, encoder=ENCODER).add(passages(number), progress=False)
        cold = [_in_a_process(large, None)["seconds"] for _ in range(repeats)]
        warm = [_in_a_process(large, small) for _ in range(repeats)]
        held = _bytes_of_index(large)
    first = f"first search of {count:,} passages"
    yield Figure(f"{first}", "ms", 300.0, False, [1000 * each["seconds"] for each in warm])
    yield Figure(f"{first}, FAISS and Arrow loaded within", "ms", None, False, [1000 * each for each in cold])
    yield Figure("memory held, over vectors + postings", "ratio", 1.3, False, [each["bytes"] / held for each in warm])


def _in_a_process(large: Path, small: Path | None) -> dict[str, float]:
    for path in large.rglob("*"):
        if path.is_file():
            _forget(path)
    code = CHILD.format(path=str(large), small=str(small) if small else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _forget(path: Path) -> None:
    """Ask the system to drop what it keeps of a file, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as content:
            os.fsync(content.fileno())
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opened(path: str, small: str = "") -> None:
    """Print the seconds of the first search of a collection, once that called `small` was searched; and the memory."""
    asked = [document.text[:40] for document in passages(QUESTIONS, seed=1)]
    if small:
        Collection(small).hybrid(k=DEPTH).search(asked[0])
    before, begun = _resident(), time.perf_counter()
    stage = Collection(path).hybrid(k=DEPTH)
    stage.search(asked[0])
    seconds = time.perf_counter() - begun
    for question in asked[1:]:
        stage.search(question)
    print(json.dumps({"seconds": seconds, "bytes": _resident() - before}))


def _resident() -> int:
    """Bytes of memory that this process has now; files that it has mapped and looked at count."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _bytes_of_index(path: Path) -> int:
    """Vectors and postings on disk; no graph, and no second copy of the vectors."""
    vectors = len(Collection(path)) * DIMENSION * 4
    return vectors + sum(each.stat().st_size for name in POSTINGS for each in path.glob(f"segments/*/{name}"))


def _growth(repeats: int, scale: float) -> Iterator[Figure]:
    """Of the time of one question's search by each kind of index."""
    sizes = [max(2 * DEPTH, int(size * scale)) for size in SIZES]
    made = MadeUp()
    vectors = made.encode([f"passage {number}" for number in range(sizes[-1])])
    questions = made.encode([f"question {number}" for number in range(QUESTIONS)])
    for kind in ("hnsw", "ivfpq"):
        first: list[float] = []
        for size in sizes:
            took, exact, recall = _searched(vectors[:size], questions, kind, repeats)
            name, first = f"{kind}, {size:,} passages", first or took
            yield Figure(f"{name}: a search", "ms", None, False, [1000 * each for each in took])
            yield Figure(f"{name}: exact search's time over it", "ratio", None, True, _over(exact, took))
            yield Figure(f"{name}: Recall@{DEPTH} of exact search", "of 1", RECALL, True, [recall])
            if size > sizes[0]:
                root = (size / sizes[0]) ** 0.5
                grown = [each / root for each in _over(took, first)]
                yield Figure(f"{name}: growth of its time over that of the root", "ratio", 1.0, False, grown)


def _over(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(some, others, strict=True)]


def _searched(vectors: Vectors, questions: Vectors, kind: str, repeats: int) -> tuple[list[float], list[float], float]:
    """Seconds of a search, and of an exact one, for each repeat; and the share of the exact hits that it finds."""
    with tempfile.TemporaryDirectory() as folder:
        facts = write_vectors(Path(folder), vectors, kind)
        readers = [DenseReader(Path(folder), each) for each in (facts, type(facts)())]
        found, truth = ([reader.search(each[None], DEPTH, None)[1][0] for each in questions] for reader in readers)
        shares = [len(np.intersect1d(one, other)) / DEPTH for one, other in zip(found, truth, strict=True)]
        took = [[_seconds(reader, questions) for reader in readers] for _ in range(repeats)]
    return [near for near, _ in took], [exact for _, exact in took], float(np.mean(shares))


def _seconds(reader: DenseReader, questions: Vectors) -> float:
    """Of one question's search, the mean."""
    begun = time.perf_counter()
    for question in questions:
        reader.search(question[None], DEPTH, None)
    return (time.perf_counter() - begun) / len(questions)
