"""How long a collection takes from its files to its first answer, and what memory it takes: in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from sage_nb.models.registry import encoder
from sage_nb.records.values import Document
from sage_nb.retrieval.collection import Collection

RANDOM = "random-vectors"
STATM = Path("/proc/self/statm")
HELD = ("terms.arrow", "starts.npy", "rows.npy", "frequencies.npy", "lengths.npy", "flat.faiss")  # postings and vectors


class Opened(msgspec.Struct, frozen=True):
    """Milliseconds to the first answer, and bytes that came into memory until the last."""

    ms: float
    resident: int


class RandomVectors:
    """An encoder that costs nothing, for collections whose vectors only have to be there.

    >>> RandomVectors().encode(["a", "b", "a"]).shape
    (3, 384)
    """

    name, dimension, fingerprint, truncated = RANDOM, 384, "1", 0

    def encode(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        """The same for the same text."""
        drawn = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dimension) for text in texts]
        vectors = np.array(drawn, np.float32).reshape(-1, self.dimension)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def with_vectors(path: Path) -> Collection:
    """A collection that has vectors at no cost: exact search, so that all of them are read.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = with_vectors(Path(folder) / "small")
    ...     _ = small.add([Document("d", "w1 w2")], progress=False)
    ...     held_bytes(Path(folder) / "small") > 384 * 4
    True
    """
    encoder(RANDOM)(RandomVectors)
    return Collection(path, encoder=RANDOM, dense="flat")


def opened(path: Path, questions: Sequence[str], *, ready: bool) -> Opened:
    """`answered`, in a fresh process; `ready`: when another has been asked there, so that libraries are loaded."""
    code = f"from {__name__} import answered; answered()"
    given = json.dumps({"path": str(path), "questions": list(questions), "ready": ready})
    done = subprocess.run([sys.executable, "-c", code], input=given, stdout=subprocess.PIPE, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=Opened)


def answered() -> None:
    """Open the collection that stdin names, ask its questions, and print what it took."""
    given = json.load(sys.stdin)
    if given["ready"]:
        with tempfile.TemporaryDirectory() as folder:
            small = with_vectors(Path(folder) / "small")
            small.add([Document("d", "w1 w2")], progress=False)
            small.hybrid(10).search("w1")
    encoder(RANDOM)(RandomVectors)
    before, begun = _resident(), time.perf_counter()
    collection = Collection(given["path"])
    collection.hybrid(10).search(given["questions"][0])
    ms = 1000 * (time.perf_counter() - begun)
    for question in given["questions"]:
        collection.hybrid(10).search(question)
    print(msgspec.json.encode(Opened(ms, _resident() - before)).decode())


def held_bytes(path: Path) -> int:
    """Of a collection's postings and vectors, on disk."""
    return sum(file.stat().st_size for file in (path / "segments").glob("*/*") if file.name in HELD)


def _resident() -> int:
    """Bytes in memory now; where that is not told, the most there were."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
