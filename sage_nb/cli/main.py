"""The shell's `sage-nb`: a thin face of the library."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from sage_nb.cli.bench_cache import bench_cache
from sage_nb.cli.bench_index import bench_index
from sage_nb.cli.bench_levels import bench_levels
from sage_nb.cli.bench_lexical import bench_lexical
from sage_nb.cli.bench_limit import bench_limit
from sage_nb.cli.bench_memory import bench_memory
from sage_nb.cli.bench_notebooks import bench_notebooks
from sage_nb.cli.bench_quality import bench_quality
from sage_nb.cli.bench_query import bench_query
from sage_nb.cli.bench_ray import bench_ray, bench_scale
from sage_nb.cli.bench_sources import bench_sources
from sage_nb.cli.bench_start import bench_start
from sage_nb.cli.bench_stream import bench_stream
from sage_nb.cli.bench_sweep import bench_sweep
from sage_nb.cli.cluster import status
from sage_nb.cli.demo import demo
from sage_nb.cli.groups import INSTALLED, make_groups
from sage_nb.errors import SageError
from sage_nb.records.chunk import chunk
from sage_nb.records.load import load
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.doctor import doctor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one sentence on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        try:
            options.run(options)
        except SageError as wrong:
            print(f"sage-nb: {wrong}", file=sys.stderr)
            return 2
        finally:
            for note in notes:
                print(f"note: {note.message}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sage-nb", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("demo", help="ask the documentation installed here").set_defaults(run=lambda _: demo())
    commands.add_parser("doctor", help="devices, versions, paths").set_defaults(run=lambda _: print(doctor()))
    index = commands.add_parser("index", help="add files to a collection")
    index.add_argument("collection")
    index.add_argument("paths", nargs="+", help="files, folders or globs")
    index.add_argument("--size", type=int, default=200, help="tokens a passage (default 200)")
    index.add_argument("--overlap", type=int, default=20, help="tokens that passages share (default 20)")
    index.set_defaults(run=_index)
    search = commands.add_parser("search", help="ask a collection")
    search.add_argument("collection")
    search.add_argument("question")
    search.add_argument("-k", type=int, default=5, help="hits to show (default 5)")
    search.set_defaults(run=_search)
    cluster = commands.add_parser("cluster", help="the Ray cluster").add_subparsers(required=True, metavar="WHAT")
    looked = cluster.add_parser("status", help="nodes, and what they have free")
    looked.add_argument("--address", help="host:port of its head (default: the one on this machine)")
    looked.set_defaults(run=lambda options: print(status(options.address)))
    learned = commands.add_parser("groups", help="make the file that the bundled reranker is trained on")
    learned.add_argument("out", help="a .jsonl file")
    learned.add_argument("folders", nargs="*", metavar="DIR", help="more pairs: pairs.jsonl with docs.jsonl, or BEIR")
    learned.add_argument("--most", type=int, default=3000, help="questions of each source (default 3000)")
    learned.add_argument(
        "--installed", nargs="*", choices=INSTALLED, default=list(INSTALLED), help="what of this machine"
    )
    learned.set_defaults(run=lambda o: make_groups(o.out, o.folders, o.installed, most=o.most))
    _add_benches(commands)
    return parser


def _add_benches(commands: Any) -> None:
    bench = commands.add_parser("bench", help="measure").add_subparsers(required=True, metavar="WHAT")
    stream = bench.add_parser("stream", help="throughput, latency, checkpoints and memory of the dataflow")
    stream.add_argument("--repeats", type=int, default=5, help="how often to measure each figure (default 5)")
    stream.add_argument("--scale", type=float, default=1.0, help="share of the records to run (default 1)")
    stream.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    stream.set_defaults(run=lambda options: bench_stream(options.out, options.repeats, options.scale))
    cache = bench.add_parser("cache", help="what keeping a cell's results costs, and what it saves")
    cache.add_argument("--repeats", type=int, default=3, help="how often to measure each figure (default 3)")
    cache.add_argument("--questions", type=int, default=100, help="questions asked (default 100)")
    cache.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    cache.set_defaults(run=lambda options: bench_cache(options.out, options.repeats, options.questions))
    _add_retrieval_benches(bench)
    _add_ray_benches(bench)
    _add_machine_benches(bench)
    _add_peer_benches(bench)


def _add_retrieval_benches(bench: Any) -> None:
    quality = bench.add_parser("quality", help="BM25, dense, RRF and the default pipeline on collections")
    quality.add_argument("folders", nargs="+", metavar="DIR", help="BEIR folders, or data/pydocs")
    quality.add_argument("--half", action="store_true", help="only questions about the second half of the documents")
    quality.add_argument("--into", metavar="DIR", help="where the collections are built and stay (default: nowhere)")
    quality.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    quality.set_defaults(run=lambda o: bench_quality(o.folders, o.out, half=o.half, into=o.into))
    levels = bench.add_parser("levels", help="passages found by way of their documents, against flat retrieval")
    levels.add_argument("folder", metavar="DIR", help="a BEIR folder whose documents have a parent")
    levels.add_argument("--repeats", type=int, default=3, help="how often to measure each time (default 3)")
    levels.add_argument("--into", metavar="DIR", help="where the collection is built and stays (default: nowhere)")
    levels.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    levels.set_defaults(run=lambda options: bench_levels(options.folder, options.out, options.repeats, options.into))
    sources = bench.add_parser("sources", help="a collection split by the source of its documents, against one piece")
    sources.add_argument("folder", metavar="DIR", help="a BEIR folder, or docs.jsonl and pairs.jsonl; with a source")
    sources.add_argument("--questions", type=int, default=400, help="how many to ask (default 400)")
    sources.add_argument("--documents", type=int, default=4000, help="how many to index (default 4000)")
    sources.add_argument("--into", metavar="DIR", help="where the collections are built and stay (default: nowhere)")
    sources.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    sources.set_defaults(run=lambda o: bench_sources(o.folder, o.out, o.questions, o.documents, o.into))


def _add_peer_benches(bench: Any) -> None:
    index = bench.add_parser("index", help="documents a second into a collection, against other programs")
    index.add_argument("folders", nargs="+", metavar="DIR", help="BEIR folders")
    index.add_argument("--documents", type=int, default=10_000, help="how many of each to add (default 10000)")
    _add_peers(index, lambda o: bench_index(o.folders, o.out, o.documents, o.repeats, o.peers))
    query = bench.add_parser("query", help="hybrid retrieval and reranking, against other programs")
    query.add_argument("folder", metavar="DIR", help="a BEIR folder")
    query.add_argument("--questions", type=int, default=100, help="how many to ask (default 100)")
    _add_peers(query, lambda o: bench_query(o.folder, o.out, o.questions, o.repeats, o.peers))
    lexical = bench.add_parser("lexical", help="BM25 over made-up documents, against other libraries")
    lexical.add_argument("--documents", type=int, default=100_000, help="how many (default 100000)")
    lexical.add_argument("--questions", type=int, default=500, help="how many to ask (default 500)")
    _add_peers(lexical, lambda o: bench_lexical(o.out, o.documents, o.questions, o.repeats, o.peers))


def _add_peers(bench: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    bench.add_argument("--repeats", type=int, default=3, help="how often to measure each figure (default 3)")
    bench.add_argument(
        "--peers", metavar="PYTHON", help=".venv-peers/bin/python, by make bench-peers (default: no peers)"
    )
    bench.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    bench.set_defaults(run=run)


def _add_ray_benches(bench: Any) -> None:
    ray = bench.add_parser("ray", help="start, throughput, recovery and checkpoints of a job on Ray actors")
    ray.add_argument("--repeats", type=int, default=3, help="how often to measure each figure (default 3)")
    ray.add_argument("--scale", type=float, default=1.0, help="share of the records to run (default 1)")
    ray.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    ray.set_defaults(run=lambda options: bench_ray(options.out, options.repeats, options.scale))
    scale = bench.add_parser("scale", help="throughput of 25 ms tasks on 1 to 16 nodes, simulated on this machine")
    scale.add_argument("--nodes", type=int, default=16, help="the most nodes (default 16)")
    scale.add_argument("--tasks", type=int, default=200, help="tasks for each node (default 200)")
    scale.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    scale.set_defaults(run=lambda options: bench_scale(options.out, options.nodes, options.tasks))


def _add_machine_benches(bench: Any) -> None:
    limit = bench.add_parser("limit", help="the machine's rate of matrix products and memory, and the models' share")
    limit.add_argument("--repeats", type=int, default=5, help="how often to measure each figure (default 5)")
    limit.add_argument("--scale", type=float, default=1.0, help="share of the usual sizes and times (default 1)")
    limit.add_argument("--passages", type=int, default=512, help="passages that models are given (default 512)")
    limit.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    limit.set_defaults(run=lambda o: bench_limit(o.out, o.repeats, o.scale, o.passages))
    memory = bench.add_parser("memory", help="opening a large collection, its memory, and what its size costs")
    memory.add_argument("--repeats", type=int, default=5, help="how often to measure each figure (default 5)")
    memory.add_argument("--scale", type=float, default=1.0, help="share of the usual passages (default 1)")
    memory.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    memory.set_defaults(run=lambda options: bench_memory(options.out, options.repeats, options.scale))
    swept = bench.add_parser("sweep", help="variants of a pipeline as one graph, against their distinct stages")
    swept.add_argument("--repeats", type=int, default=3, help="how often to measure each figure (default 3)")
    swept.add_argument("--questions", type=int, default=50, help="questions asked (default 50)")
    swept.add_argument("--documents", type=int, default=1000, help="documents of the collection (default 1000)")
    swept.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    swept.set_defaults(run=lambda o: bench_sweep(o.out, o.repeats, o.questions, o.documents))
    start = bench.add_parser("start", help="how long importing, %%load_ext and the first cells of a kernel take")
    start.add_argument("--repeats", type=int, default=5, help="kernels to start (default 5)")
    start.add_argument("--documents", type=int, default=1000, help="documents of the collection (default 1000)")
    start.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    start.set_defaults(run=lambda options: bench_start(options.out, options.repeats, options.documents))
    twice = bench.add_parser("notebooks", help="a second run of notebooks, with what the first has kept")
    twice.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="an .ipynb file")
    twice.add_argument("--repeats", type=int, default=1, help="how often to run each twice (default 1)")
    twice.add_argument("--small", action="store_true", help="SMALL = True below the cell tagged parameters")
    twice.add_argument("--out", default="bench", help="folder for the JSON (default bench)")
    twice.set_defaults(run=lambda o: bench_notebooks(o.notebooks, o.out, o.repeats, small=o.small))


def _index(options: argparse.Namespace) -> None:
    documents = load(options.paths)
    print(Collection(options.collection).add(documents, chunk=chunk(options.size, options.overlap)))


def _search(options: argparse.Namespace) -> None:
    collection = Collection(options.collection)
    stage = collection.hybrid(100) if collection.info().dimension else collection.lexical(100)
    for hit in (stage % options.k).search(options.question):
        name = hit.document.title or hit.document.id
        print(f"{hit.rank:>2}  {hit.score:.4f}  {name}  [{hit.document.source or collection.name}]")
        print(f"      {' '.join(hit.document.text.split())[:160]}")
