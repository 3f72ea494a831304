"""Down the levels of a snapshot: the best documents, the best sections of those, the best passages of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sage_nb.index.bm25 import Floats, Terms, Weighting
from sage_nb.index.dense import Vectors
from sage_nb.index.levels import Level, Scored
from sage_nb.index.lexical import Ints
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.filters import Filter
from sage_nb.records.values import Hit, Step
from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.fusion import Ranking, get_fusion
from sage_nb.retrieval.hybrid import Hybrid
from sage_nb.retrieval.lexical import Lexical

LEAF = "passage"
POOLS = ("best", "whole")
DEEPER = 10  # passages that are looked at for each group that may win by its best one's vector
ABOVE = 0.5  # how much what a passage stands in counts beside itself

Scores = dict[int, float]  # of groups, best first
Candidates = tuple[Ints, Floats]  # groups with their scores


@dataclass(frozen=True)
class Question:
    """What is looked for, and where: index terms, a unit vector where vectors are compared, a snapshot, a filter."""

    terms: Terms
    vector: Vectors | None
    snapshot: Snapshot
    only: Filter | None = None
    _scored: dict[tuple[str, Weighting], Scored] = field(default_factory=dict)

    def lexical(self, level: Level, weighting: Weighting) -> Scored:
        """Every group's BM25, worked out once."""
        key = level.name, weighting
        if key not in self._scored:
            self._scored[key] = level.lexical(self.terms, weighting)
        return self._scored[key]


class Ranks(NamedTuple):
    """The groups of a level that were found, best first: their scores, and what each ranking said of them."""

    level: Level
    scores: Scores
    steps: Mapping[int, tuple[Step, ...]]

    @property
    def standard(self) -> Scores:
        """The scores in deviations above the last one's."""
        return _fused("zscore", {"": (self.scores, None)}, (1.0,))


class Searcher:
    """Ranks the groups of a level as a retriever ranks passages.

    A group is scored as its best passage is, or (`pool="whole"`) as the text and the vector that its passages make.
    """

    def __init__(self, stage: Lexical | Dense | Hybrid, pool: str) -> None:
        self._k, self._pool = stage.k, pool
        self._weighting, self._dense = None if isinstance(stage, Dense) else Weighting(), not isinstance(stage, Lexical)
        self._rule, self._weights = "rrf", tuple[float, ...]()
        if isinstance(stage, Lexical):
            self._weighting = Weighting(stage.variant, stage.k1, stage.b)
        if isinstance(stage, Hybrid):
            self._rule, self._weights = stage.fusion, stage.weights

    def ranks(self, level: Level, rows: Ints | None, question: Question) -> Ranks:
        """The best `k` of the groups that some rows are in; all rows that the filter accepts where none are given."""
        found: dict[str, tuple[Scores, float | None]] = {}
        if self._weighting is not None:
            found["bm25"] = self._best(level, self._by_terms(level, rows, question, self._weighting)), 0.0
        if self._dense and question.vector is not None:
            found["dense"] = self._best(level, self._by_vector(level, rows, question, question.vector)), -1.0
        said = {by: scores for by, (scores, _) in found.items()}
        if len(found) > 1:
            totals = _fused(self._rule, found, self._weights)
            said[self._rule] = self._best(level, (np.array(list(totals), np.int64), np.array(list(totals.values()))))
        return Ranks(level, list(said.values())[-1], _steps(level.name, said))

    def _by_terms(self, level: Level, rows: Ints | None, question: Question, weighting: Weighting) -> Candidates:
        within = level.rows(question.only) if rows is None else rows
        if self._pool == "whole" or level.name == LEAF:
            groups, scored = level.groups_of(within), question.lexical(level, weighting)
            held = groups[scored.matched[groups]]
            return held, scored.scores[held]
        scored = question.lexical(question.snapshot.level(LEAF), weighting)
        held = within[scored.matched[within]]
        return level.best_of(held, scored.scores[held])

    def _by_vector(self, level: Level, rows: Ints | None, question: Question, vector: Vectors) -> Candidates:
        if self._pool == "whole" or level.name == LEAF:
            groups = level.groups_of(level.rows(question.only) if rows is None else rows)
            return groups, level.dense(vector, groups)
        if rows is not None:
            return level.best_of(rows, question.snapshot.level(LEAF).dense(vector, rows))
        found = question.snapshot.dense(vector[None], DEEPER * self._k, question.only)[0]
        return level.best_of(np.array([row for row, _ in found], np.int64), np.array([score for _, score in found]))

    def _best(self, level: Level, candidates: Candidates) -> Scores:
        """The `k` best; equal scores by name."""
        groups, scores = candidates
        if len(groups) > self._k:
            kept = scores >= np.partition(scores, len(scores) - self._k)[len(scores) - self._k]
            groups, scores = groups[kept], scores[kept]
        pairs = zip(groups.tolist(), scores.tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], level.called(pair[0])))[: self._k])


@dataclass(frozen=True)
class Descent:
    """From the first of `levels` down to passages: the winners of each are what the next one looks among."""

    levels: tuple[str, ...]
    coarse: Searcher
    fine: Searcher

    def hits(self, question: Question, collection: str) -> list[tuple[Hit, float]]:
        """The passages that `fine` found, each with its standard score and a share of those of what it stands in."""
        path = self._path(question)
        standards = [ranks.standard for ranks in path]
        hits = []
        for row in path[-1].scores:
            groups = [ranks.level.group(row) for ranks in path]
            steps = tuple(step for ranks, group in zip(path, groups, strict=True) for step in ranks.steps[group])
            *above, own = (standard[group] for standard, group in zip(standards, groups, strict=True))
            total = own + ABOVE * sum(above)
            hits.append((Hit(question.snapshot.document(row), 0, total, steps, collection), total))
        return hits

    def _path(self, question: Question) -> list[Ranks]:
        path: list[Ranks] = []
        rows: Ints | None = None
        for name in self.levels:
            level = question.snapshot.level(name)
            if name != LEAF and path and len(level.living) == len(path[-1].level.living):
                continue  # no document has two sections: they would say the same again
            path.append((self.fine if name == LEAF else self.coarse).ranks(level, rows, question))
            rows = level.rows_of(list(path[-1].scores), question.only)
        return path


def _fused(rule: str, found: Mapping[str, tuple[Scores, float | None]], weights: Sequence[float]) -> Scores:
    rankings = [
        Ranking(tuple(("", str(group)) for group in scores), tuple(scores.values()), floor)
        for scores, floor in found.values()
    ]
    return {int(name): score for (_, name), score in get_fusion(rule)(rankings, weights).items()}


def _steps(level: str, said: Mapping[str, Scores]) -> Mapping[int, tuple[Step, ...]]:
    steps: defaultdict[int, tuple[Step, ...]] = defaultdict(tuple)
    for by, scores in said.items():
        for rank, (group, score) in enumerate(scores.items(), start=1):
            steps[group] += (Step(f"{level} {by}", rank, score),)
    return steps
