"""The default reranker's score: what the bundled models say of a passage, weighed with what was said before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from sage_nb.models.registry import LATE_INTERACTION
from sage_nb.models.weights import RERANKER
from sage_nb.records.values import Hit, Step

MODELS_MIXED = {LATE_INTERACTION: 1.0, RERANKER: 0.25}  # models that are asked, and how much their word counts
CLOSELY = 20  # hits that the second of them reads, the best by all else: more cost time, and gain no nDCG@10
EARLIER = {"bm25": 1.0, "dense": 0.5}  # steps of the hits that count, where there are any
BEFORE = 1.0  # how much the ranking as it came counts where there are none


def best_first(hits: Sequence[Hit], scores: Mapping[int, float]) -> list[int]:
    """The places that have scores, the best first."""
    return sorted(scores, key=lambda at: (-scores[at], hits[at].document.id, hits[at].collection))


def with_step(hits: Sequence[Hit], model: str, scored: Iterable[tuple[int, float]]) -> list[Hit]:
    """The hits; those at the places that the model scored with one more step: its score, and the rank by this alone."""
    made, scores = list(hits), dict(scored)
    for rank, at in enumerate(best_first(hits, scores), start=1):
        made[at] = msgspec.structs.replace(made[at], steps=(*made[at].steps, Step(model, rank, scores[at])))
    return made


def mixed(hits: Sequence[Hit]) -> list[float]:
    """A score for each: the weighted mean of its steps' standard scores among these hits.

    A step's scores have mean 0 and deviation 1 over the hits (a standard score; as a fusion, Montague & Aslam, CIKM
    2001), so that steps of unlike units can be weighed. A hit that a step did not rank has the least score that the
    step gave. The mean is of this question's hits: it tells which passage is better, not how good one is. Where several
    questions were asked in one's place, a hit has BM25 scores for each of them, or for another than its neighbour: then
    the ranking as it came counts, which was made of all.

    >>> from sage_nb.records.values import Document
    >>> def hit(name, **scores):
    ...     return Hit(Document(name, ""), 1, 0.0, tuple(Step(step, 1, score) for step, score in scores.items()))
    >>> mixed([hit("a", bm25=3.0, dense=0.9), hit("b", bm25=1.0, dense=0.5)])
    [1.0, -1.0]
    """
    if not hits:
        return []
    shares = standards(hits)
    total = sum(weight * standard for weight, standard in shares.values())
    mean: list[float] = np.asarray(total / sum(weight for weight, _ in shares.values())).tolist()
    return mean


def standards(hits: Sequence[Hit]) -> dict[str, tuple[float, np.ndarray]]:
    """By step its weight in the mean, and what it says of each hit, as a standard score."""
    weights = {**({} if any(map(_repeats, hits)) else EARLIER), **MODELS_MIXED}
    columns = {name: column for name in weights if (column := _column(hits, name)) is not None}
    if not columns.keys() & EARLIER.keys():
        columns["before"], weights["before"] = np.array([hit.score for hit in hits], np.float64), BEFORE
    return {name: (weights[name], _standard(column)) for name, column in columns.items()}


def _repeats(hit: Hit) -> bool:
    """Whether an earlier step scored it more than once, for one question or another."""
    names = [step.stage for step in hit.steps if step.stage in EARLIER]
    return len(set(names)) < len(names)


def _column(hits: Sequence[Hit], name: str) -> np.ndarray | None:
    """What the step called `name` gave each hit; None where it ranked none."""
    given = [hit.scores.get(name) for hit in hits]
    known = [score for score in given if score is not None]
    return np.array([min(known) if score is None else score for score in given], np.float64) if known else None


def _standard(column: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1; all 0 where there is no difference worth the name."""
    deviation = column.std()
    return (column - column.mean()) / deviation if deviation > 1e-9 else np.zeros_like(column)
