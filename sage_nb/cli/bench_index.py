"""`sage-nb bench index`: documents a second into a collection, against other programs with the same model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.peers import Peers, best_of, ratio, write_work
from sage_nb.errors import BadValueError
from sage_nb.models.device import cpu_has_bf16
from sage_nb.models.registry import Models
from sage_nb.models.threads import fixed_threads
from sage_nb.records.beir import Corpus
from sage_nb.records.values import Document
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.resources import MODELS

PEERS = ("sentence_transformers", "haystack", "llama_index", "txtai", "langchain")
THREADS = 2  # that all of them compute with
WARM = 64  # documents that are added before it is measured


def bench_index(
    folders: Sequence[str], out: str, documents: int = 10_000, repeats: int = 3, peers: str | None = None
) -> None:
    """Measure, print a table, and write one JSON under `out`; `peers` is the interpreter that has the other programs.

    Of each folder the first so many documents. Models are loaded before, and that is timed by itself; what is measured
    is the whole of `Collection.add`, vectors, postings and commits to disk. Of the peers, all that makes their hybrid
    search ready, in memory; of sentence-transformers alone only `encode`, at its best batch size. In turn: a busy
    moment of the machine meets all alike.
    """
    if min(documents, repeats) < 1:
        raise BadValueError(f"bench index needs 1 document and repeat or more, got {documents} and {repeats}")
    versions: dict[str, str] = {}
    with fixed_threads(THREADS):
        figures = (each for name in folders for each in _figures(Path(name), documents, repeats, peers, versions))
        settings = {"documents": documents, "repeats": repeats, "threads": THREADS}
        report("index", out, figures, **settings, versions=versions)


def _figures(folder: Path, most: int, repeats: int, python: str | None, versions: dict[str, str]) -> Iterator[Figure]:
    documents = list(islice(Corpus.of(folder), most))
    MODELS.encoder()  # its libraries are imported
    yield Figure(f"{folder.name}: load of the encoder", "s", None, False, [_loading() for _ in range(repeats)])
    with tempfile.TemporaryDirectory() as scratch:
        write_work(Path(scratch), documents, ())
        with Peers(python, PEERS, Path(scratch), THREADS) as others:
            versions.update(others.versions)
            for name, answer in others.ask("prepare").items():
                print(f"{folder.name}: {name}: {answer['chosen'] or 'as it is'}")
            _added(documents[:WARM])
            ours, theirs = [], dict[str, list[float]]()
            for _ in range(repeats):
                ours.append(len(documents) / _added(documents))
                for name, answer in others.ask("index").items():
                    theirs.setdefault(name, []).append(len(documents) / answer["seconds"])
    yield Figure(f"{folder.name}: sage-nb", "documents/s", None, True, ours)
    yield from _against(folder.name, ours, {name: rates for name, rates in theirs.items() if len(rates) == repeats})


def _against(name: str, ours: Sequence[float], theirs: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    for peer, rates in theirs.items():
        yield Figure(f"{name}: {peer}", "documents/s", None, True, rates)
    if theirs:
        best = best_of(theirs)
        bar = 3.0 if cpu_has_bf16() else 1.3
        yield Figure(f"{name}: sage-nb to {best}, the best peer", "times", bar, True, ratio(ours, theirs[best]))


def _loading() -> float:
    begun = time.perf_counter()
    Models().encoder()
    return time.perf_counter() - begun


def _added(documents: Sequence[Document]) -> float:
    """Seconds to add them to a new collection."""
    MODELS.encoder()
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection(Path(folder) / "measured")
        begun = time.perf_counter()
        collection.add(documents, progress=False)
        return time.perf_counter() - begun
