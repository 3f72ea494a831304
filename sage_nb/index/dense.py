"""Vectors on disk, searched by FAISS: exact, HNSW or IVF-PQ. The only module that knows FAISS.

The vectors themselves always lie in `flat.faiss`, memory-mapped: exact search, the yardstick for recall, and what
merging reads. An approximate index lies beside them in `ann.faiss`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError, CollectionError, UnknownNameError
from sage_nb.index.files import damaged
from sage_nb.index.lexical import Ints, Mask

Vectors = npt.NDArray[np.float32]

KINDS = ("auto", "flat", "hnsw", "ivfpq")
HNSW_FROM, IVFPQ_FROM = 50_000, 1_000_000  # rows of a segment from which "auto" leaves exact search
RECALL_WANTED, RECALL_SAMPLE, RECALL_DEPTH = 0.98, 200, 10  # wanted of the sample: 0.97 of all, and the chance in it
SPARE, DEEPEST = 1.5, 2_000  # of a filtered search: what it fetches beyond its due, and where it had better be exact
REFINED = 4  # IVF-PQ fetches this many times k, and orders them by their exact vectors


class DenseFacts(msgspec.Struct, frozen=True):
    """How a segment's vectors are indexed; `effort` is efSearch or nprobe, `recall` is measured against flat."""

    kind: str = "flat"
    effort: int = 0
    recall: float = 1.0


def check_vectors(vectors: Vectors, dimension: int, names: list[str]) -> None:
    """Refuse vectors of another width, or with NaN or infinity in them, by the name of the first bad one."""
    if vectors.shape != (len(names), dimension):
        raise BadValueError(
            f"expected vectors of shape ({len(names)}, {dimension}), got {vectors.shape}; "
            f"use the model the collection was built with"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise BadValueError(
            f"the vector of {names[int(bad[0])]!r} holds NaN or infinity ({len(bad)} such); "
            f"check the model's dtype, or try dtype float32"
        )


def write_vectors(folder: Path, vectors: Vectors, kind: str) -> DenseFacts:
    """`flat.faiss`, and `ann.faiss` where `kind` (or the number of rows, with "auto") asks for one."""
    import faiss

    if kind not in KINDS:
        raise UnknownNameError.of("dense index", kind, KINDS)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    _write(flat, folder / "flat.faiss")
    chosen = _by_size(len(vectors)) if kind == "auto" else kind
    if chosen == "flat" or not len(vectors):
        return DenseFacts()
    ann = BUILDERS[chosen](vectors)
    _write(ann, folder / "ann.faiss")
    return _tuned(chosen, ann, flat, vectors)


class DenseReader:
    """One segment's vectors, opened without being read."""

    def __init__(self, folder: Path, facts: DenseFacts) -> None:
        self._facts = facts
        self._flat = _open(folder / "flat.faiss")
        self._ann = _open(folder / "ann.faiss") if facts.kind != "flat" else None

    def __len__(self) -> int:
        return int(self._flat.ntotal)

    def search(self, queries: Vectors, k: int, allowed: Mask | None) -> tuple[Vectors, Ints]:
        """Scores (inner products) and rows, both (n, k), best first; row -1 where fewer than `k` are allowed."""
        if self._ann is None:
            return _search(self._flat, queries, k, allowed, None)
        if allowed is None:
            return self._approximately(queries, k)
        fetched = int(SPARE * k * len(allowed) / max(1, int(allowed.sum()))) + 1
        if fetched > DEEPEST:
            return _search(self._flat, queries, k, allowed, None)
        return self._filtered(queries, k, min(fetched, len(self)), allowed)

    def _approximately(self, queries: Vectors, k: int) -> tuple[Vectors, Ints]:
        """The best `k` of all rows by the approximate index."""
        if self._facts.kind == "hnsw":
            return _search(self._ann, queries, k, None, self._facts)
        _, rows = _search(self._ann, queries, k * REFINED, None, self._facts)
        return self._exactly(queries, rows, k)

    def _filtered(self, queries: Vectors, k: int, fetched: int, allowed: Mask) -> tuple[Vectors, Ints]:
        """The best `k` allowed rows: those among the best `fetched`, or where these are too few, by exact search.

        An approximate index that is given the filter itself walks among what is forbidden, and finds little else.
        """
        scores, rows = self._approximately(queries, fetched)
        kept = (rows >= 0) & allowed[rows]
        first = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        best = np.where(kept, scores, -np.inf).astype(np.float32), np.where(kept, rows, -1)
        scores, rows = (np.take_along_axis(each, first, 1) for each in best)
        short = kept.sum(axis=1) < min(k, int(allowed.sum()))
        if short.any():
            scores[short], rows[short] = _search(self._flat, queries[short], k, allowed, None)
        return scores, rows

    def vectors(self, rows: Ints | None = None) -> Vectors:
        """The vectors of `rows` (all by default), (n, d) float32."""
        if rows is None:
            return np.asarray(self._flat.reconstruct_n(0, len(self)), np.float32)
        return np.asarray(self._flat.reconstruct_batch(rows), np.float32)

    def _exactly(self, queries: Vectors, rows: Ints, k: int) -> tuple[Vectors, Ints]:
        """The best `k` of each row of candidates, by their exact inner products."""
        found = self.vectors(np.maximum(rows, 0).ravel()).reshape(*rows.shape, -1)
        scores = np.where(rows < 0, -np.inf, np.einsum("qd,qcd->qc", queries, found)).astype(np.float32)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


def _by_size(rows: int) -> str:
    if rows >= IVFPQ_FROM:
        return "ivfpq"
    return "hnsw" if rows >= HNSW_FROM else "flat"


def _hnsw(vectors: Vectors) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 120
    index.add(vectors)
    return index


def _ivfpq(vectors: Vectors) -> Any:
    import faiss

    rows, dimension = vectors.shape
    lists = max(1, min(int(4 * rows**0.5), rows // 39))  # FAISS wants 39 training points a list
    codes = next(size for size in (96, 64, 48, 32, 16, 8, 4, 2, 1) if dimension % size == 0)
    bits = min(8, max(1, (rows // 39).bit_length() - 1))
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFPQ(quantizer, dimension, lists, codes, bits, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


BUILDERS: dict[str, Callable[[Vectors], Any]] = {"hnsw": _hnsw, "ivfpq": _ivfpq}


def _tuned(kind: str, ann: Any, flat: Any, vectors: Vectors) -> DenseFacts:
    """The least effort that reaches the recall wanted, measured on the segment's own vectors with noise."""
    noise = np.random.default_rng(0)
    sample = vectors[noise.choice(len(vectors), min(RECALL_SAMPLE, len(vectors)), replace=False)]
    queries = (sample + noise.normal(0, 0.03, sample.shape)).astype(np.float32)  # not the stored points themselves
    depth = min(RECALL_DEPTH, len(vectors))
    _, truth = _search(flat, queries, depth, None, None)
    facts = DenseFacts(kind, 0, 0.0)
    for effort in (16, 32, 64, 128, 256, 512):
        fetched = depth if kind == "hnsw" else depth * REFINED
        _, found = _search(ann, queries, fetched, None, DenseFacts(kind, effort))
        shared = [len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)]
        facts = DenseFacts(kind, effort, round(float(np.mean(shared)) / depth, 4))
        if facts.recall >= RECALL_WANTED:
            break
    return facts


def _search(
    index: Any, queries: Vectors, k: int, allowed: Mask | None, facts: DenseFacts | None
) -> tuple[Vectors, Ints]:
    """FAISS's own search; exact, and only of what is allowed, where there are no `facts` of an approximate index."""
    scores, rows = index.search(
        np.ascontiguousarray(queries, np.float32), k, params=_parameters(index, k, allowed, facts)
    )
    return scores, rows


def _parameters(index: Any, k: int, allowed: Mask | None, facts: DenseFacts | None) -> Any:
    import faiss

    if facts is None:
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        return faiss.SearchParameters(sel=None if bits is None else faiss.IDSelectorBitmap(bits))
    if facts.kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(facts.effort, k))
    filled = -(-k * index.nlist // max(1, index.ntotal))  # lists that hold `k` rows, on average
    return faiss.SearchParametersIVF(nprobe=min(index.nlist, max(facts.effort, filled)))


def _write(index: Any, path: Path) -> None:
    """Through Python's file: FAISS's own raises no OSError, and says nothing of bytes lost in closing it."""
    import faiss

    with path.open("wb") as out:
        faiss.write_index(index, faiss.PyCallbackIOWriter(out.write))


def _open(path: Path) -> Any:
    import faiss

    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as damage:
        raise CollectionError(damaged(path, "FAISS cannot read it")) from damage
