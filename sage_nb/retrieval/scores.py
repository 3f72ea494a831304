"""Scores of (question, passage) pairs that a cache holds: a reranker is asked for new pairs only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import numpy.typing as npt

from sage_nb.retrieval.recall import Cell
from sage_nb.runtime.cellcache.store import Entry
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Metrics

Pair = tuple[str, str]
Held = dict[bytes, float]  # a passage's digest, its score

ITEMS_KNOWN = "items_known"  # the counter of texts and pairs that a cache held a model's word on
PAIRS = "pairs_scored"  # the counter of pairs that a model was given
PASSAGE = 16  # bytes of a passage's digest
ROW = np.dtype([("passage", f"V{PASSAGE}"), ("score", "<f4")])


@dataclass(frozen=True)
class PairScores:
    """The scores by one model that a cell's cache holds, a value for each question."""

    cell: Cell
    model: str
    stage: str
    metrics: Metrics

    def scored(self, pairs: Sequence[Pair], score: Callable[[Sequence[Pair]], Sequence[float]]) -> list[float]:
        """A score for each pair, in their order; `score` is called once, for the new ones, each of them once.

        A NaN is no score: it is given back, and asked for again next time.
        """
        held = self._held({question for question, _ in pairs})
        new = [pair for pair in dict.fromkeys(pairs) if _digest(pair[1]) not in held[pair[0]]]
        fresh = dict(zip(new, score(new) if new else (), strict=True))
        for (question, passage), value in fresh.items():
            held[question][_digest(passage)] = value
        self._keep({question: {p: s for p, s in held[question].items() if not isnan(s)} for question, _ in new})
        self.metrics.count(ITEMS_KNOWN, len(set(pairs)) - len(new))
        return [held[question][_digest(passage)] for question, passage in pairs]

    def known(self, pairs: Sequence[Pair]) -> dict[Pair, float]:
        """The scores that are held of these pairs."""
        held = self._held({question for question, _ in pairs})
        found = {pair: held[pair[0]].get(_digest(pair[1])) for pair in pairs}
        known = {pair: score for pair, score in found.items() if score is not None}
        self.metrics.count(ITEMS_KNOWN, len(known))
        return known

    def _held(self, questions: set[str]) -> dict[str, Held]:
        keys = {question: self._key(question) for question in questions}
        found = self.cell.get(list(keys.values()))
        return {question: _unpacked(found.get(key, b"")) for question, key in keys.items()}

    def _keep(self, held: Mapping[str, Held]) -> None:
        entries = [
            Entry(self._key(question), _packed(scores), self.cell.name, self.stage) for question, scores in held.items()
        ]
        self.cell.cache.put(entries)

    def _key(self, question: str) -> str:
        return fingerprint(("pairs", self.model, question))


def _digest(passage: str) -> bytes:
    return hashlib.blake2b(passage.encode("utf8", "surrogatepass"), digest_size=PASSAGE).digest()


def _packed(scores: Held) -> bytes:
    rows: npt.NDArray[np.void] = np.array(list(scores.items()), ROW)
    return rows.tobytes()


def _unpacked(data: bytes) -> Held:
    rows = np.frombuffer(data, ROW)
    return dict(zip((bytes(each) for each in rows["passage"]), rows["score"].tolist(), strict=True))
