"""Why a hit is where it is: the arithmetic of each score, worked out again from what the stage was given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import NamedTuple

import msgspec
import numpy as np

from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Weighting, weights_of
from sage_nb.index.text import indexed_text
from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.calibrate import Calibrate
from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.fusion import RRF_CONSTANT, Key, Ranking, get_fusion
from sage_nb.retrieval.lexical import Lexical, terms_of
from sage_nb.retrieval.mixture import standards
from sage_nb.retrieval.ranking import BEHIND, ranking_of
from sage_nb.retrieval.rerank import Rerank
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.stage import Cut, Fused, Scale, Stage
from sage_nb.retrieval.trace import Stop, Trace, key_of, operated

TOTALS: dict[str, Callable[[Sequence[float]], float]] = {"sum": math.fsum, "max": max, "min": min}


class Term(NamedTuple):
    """A part of a score: what it comes from, how it is worked out, and what it is."""

    what: str
    working: str
    value: float


@dataclass(frozen=True)
class Reason:
    """A stage's word on a hit, and why: the score is the `total` (sum, max, min) of its terms, where there is one."""

    stage: str
    rank: int
    score: float
    said: str
    total: str = ""
    terms: tuple[Term, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether the total of the terms is the score, to a millionth of it."""
        return bool(self.terms) and bool(self.total) and _close(TOTALS[self.total], self.terms, self.score)


def why(trace: Trace, key: Key) -> list[Reason]:
    """What each stop that ranked a document says of it, in the order of the stops; a cut has nothing to say.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document, Query
    >>> from sage_nb.retrieval.collection import Collection
    >>> from sage_nb.retrieval.trace import traced
    >>> with TemporaryDirectory() as folder:
    ...     notes = Collection(folder + "/notes", encoder=None)
    ...     _ = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
    ...     found = why(traced(notes.lexical(k=2) + notes.lexical(k=1), Query("q", "sliding windows")), ("notes", "b"))
    >>> for reason in found:
    ...     print(reason.stage, round(reason.score, 4), [(term.what, term.working) for term in reason.terms][:1])
    bm25 0.6301 [('slide', 'idf 0.6931 · 0.4545: 1 of 2 terms here, in 1 of 2 passages')]
    bm25 0.6301 [('slide', 'idf 0.6931 · 0.4545: 1 of 2 terms here, in 1 of 2 passages')]
    rrf 0.0328 [('bm25', '1 / (60 + 1)')]
    """
    found = ((stop, stop.hit(key)) for stop in trace.stops if not isinstance(stop.stage, Cut))
    return [Case(hit, stop, trace).reason for stop, hit in found if hit is not None]


@dataclass(frozen=True)
class Case:
    """A hit of a stop of a trace."""

    hit: Hit
    stop: Stop
    trace: Trace

    @property
    def key(self) -> Key:
        """What tells its document from all others."""
        return key_of(self.hit)

    @property
    def came(self) -> Result:
        """What had come to the stop."""
        return self.stop.came.result

    @property
    def before(self) -> Hit | None:
        """The hit as it came to the stop, if it did."""
        return next((each for each in self.came.hits if key_of(each) == self.key), None)

    @property
    def score_before(self) -> float:
        """The score that it came with."""
        return self.before.score if self.before else self.hit.score

    @property
    def reason(self) -> Reason:
        """The stage's word, and why."""
        if self.hit.steps and self.hit.steps[-1].stage == BEHIND:
            made = _given("not reranked: it stays behind those that were, its score shifted below theirs")
        else:
            made = reason_of(self.stop.stage, self)
        return replace(made, stage=self.stop.title, rank=self.hit.rank, score=self.hit.score)


def _given(said: str, terms: Sequence[Term] = (), total: str = "") -> Reason:
    """A reason whose place is filled in by who asked for it."""
    return Reason("", 0, 0.0, said, total, tuple(terms))


@singledispatch
def reason_of(_: Stage, case: Case) -> Reason:
    """A stage's reason for a hit's score; of one that is not looked into, that it gave it."""
    title, hit, before = case.stop.title, case.hit, case.before
    if before is None:
        return _given(f"found by {title}")
    if before.score == hit.score:
        moved = f"from rank {before.rank} to {hit.rank}" if before.rank != hit.rank else f"at rank {hit.rank}"
        return _given(f"keeps its score, {moved}")
    return _given(f"scored by {title}; it was at rank {before.rank} with {before.score:.4g}")


@reason_of.register
def _lexical(stage: Lexical, case: Case) -> Reason:
    snapshot = COLLECTIONS.folder(stage.source.path).snapshot()
    name = snapshot.manifest.settings.analyzer
    here = get_analyzer(name)(indexed_text(case.hit.document))
    counts, length = Counter(here), np.array([float(len(here))])
    weighting = Weighting(stage.variant, stage.k1, stage.b)
    of = snapshot.okapi_statistics if stage.variant == "okapi" else snapshot.statistics
    terms = []
    for term, times in weights_of(terms_of(case.came, name, stage.source.name)).items():
        live = snapshot.postings(term)[2]
        share = float(weighting.weigh(np.array([float(counts[term])]), length, of)[0])
        if live and (counts[term] or share):
            idf = weighting.idf(live, of)
            place = f"{counts[term]} of {len(here)} terms here, in {live:,} of {of.documents:,} passages"
            weighed = "" if times == 1 else f"{times:.4g} · "
            terms.append(Term(term, f"{weighed}idf {idf:.4g} · {share:.4g}: {place}", times * idf * share))
    said = f"BM25 ({stage.variant}, k1={stage.k1:g}, b={stage.b:g}): what each of the question's terms is worth"
    return _given(said, sorted(terms, key=lambda term: -term.value), "sum")


@reason_of.register
def _dense(stage: Dense, case: Case) -> Reason:
    encoder = COLLECTIONS.folder(stage.source.path).snapshot().manifest.settings.encoder
    texts = len(case.came.expansion.passages) if case.came.expansion else 0
    asked = f"mean of the question and {texts} texts" if texts else "question"
    return _given(f"the cosine of two vectors by {encoder}: of the {asked}, and of the passage")


@reason_of.register
def _scaled_by(stage: Scale, case: Case) -> Reason:
    before = case.score_before
    term = Term("before", f"{stage.weight:g} · {before:.4g}", stage.weight * before)
    return _given("its score, weighed", [term], "sum")


@reason_of.register
def _calibrated(stage: Calibrate, case: Case) -> Reason:
    before = case.score_before
    curve = f"1 / (1 + exp(-({stage.slope:.4g} · {before:.4g} + {stage.intercept:.4g})))"
    working = f"on the line between the points around {before:.4g}" if stage.points else curve
    return _given("the chance of being relevant", [Term("before", working, stage.chance(before))], "sum")


@reason_of.register
def _reranked(stage: Rerank, case: Case) -> Reason:
    if stage.model:
        return _given(f"what the model {stage.model} says of the question and the passage, read together")
    wide = replace(stage, k=max(stage.k, len(case.came.hits)))  # a hit is weighed among all that were scored
    result, _ = operated(wide, case.stop.came, case.trace.cell)
    scores = {key_of(each): each.score for each in case.came.hits}
    hits = [
        msgspec.structs.replace(each, score=scores[key_of(each)])
        for each in result.hits
        if each.steps[-1].stage != BEHIND
    ]
    place = next(at for at, each in enumerate(hits) if key_of(each) == case.key)
    shares = standards(hits)
    whole = sum(weight for weight, _ in shares.values())
    terms = [
        Term(name, f"{weight:g} · {standard[place]:.4g} / {whole:g}", float(weight * standard[place] / whole))
        for name, (weight, standard) in shares.items()
    ]
    said = f"the weighted mean of standard scores: by how many deviations it is above the mean of {len(hits)} hits"
    return _given(said, terms, "sum")


@reason_of.register
def _fused(stage: Fused, case: Case) -> Reason:
    parts = [case.trace.stops[at] for at in case.stop.reads]
    rankings = [ranking_of(part.result, each.floor) for part, each in zip(parts, stage.parts, strict=True)]
    terms = [
        Term(part.title, _working(stage.rule, ranking, weight, case.key, rankings), share)
        for part, ranking, weight, share in zip(
            parts, rankings, stage.weights, _shares(stage, rankings, case.key), strict=True
        )
    ]
    total = stage.rule if stage.rule in TOTALS else "sum"
    said = _RULES.get(stage.rule, f"the rule {stage.rule}")
    return _given(said, terms, total) if _close(TOTALS[total], terms, case.hit.score) else _given(said)


def _shares(stage: Fused, rankings: Sequence[Ranking], key: Key) -> Iterator[float]:
    """What each ranking adds: what the rule gives where the others have no weight."""
    rule = get_fusion("max" if stage.rule == "min" else stage.rule)
    for at, weight in enumerate(stage.weights):
        alone = [weight if place == at else 0.0 for place in range(len(rankings))]
        yield rule(rankings, alone).get(key, 0.0)


def _working(rule: str, ranking: Ranking, weight: float, key: Key, rankings: Sequence[Ranking]) -> str:
    if key not in ranking.keys:
        return "not in this ranking"
    rank = ranking.keys.index(key) + 1
    score = ranking.scores[rank - 1]
    worked = {
        "rrf": lambda: f"1 / ({RRF_CONSTANT} + {rank})",
        "isr": lambda: f"{sum(key in each.keys for each in rankings)} / {rank}²",
        "minmax": lambda: _scaled(score, ranking.low, ranking.high),
        "tmm": lambda: _scaled(score, ranking.low if ranking.floor is None else ranking.floor, ranking.high),
        "zscore": lambda: f"({score:.4g} - {ranking.low:.4g}) / {ranking.deviation or 1.0:.4g}",
        "dbsf": lambda: f"{score:.4g} in deviations of {ranking.deviation:.4g}, from -3 to 3",
        "borda": lambda: f"points for rank {rank}",
        "max": lambda: f"1 / {rank}",
        "min": lambda: f"1 / {rank}",
    }.get(rule, lambda: f"rank {rank}, score {score:.4g}")()
    return worked if weight == 1 else f"{weight:g} · {worked}"


def _scaled(score: float, low: float, high: float) -> str:
    return "1, since all score the same" if high <= low else f"({score:.4g} - {low:.4g}) / ({high:.4g} - {low:.4g})"


def _close(total: Callable[[Sequence[float]], float], terms: Sequence[Term], score: float) -> bool:
    return math.isclose(total([term.value for term in terms]), score, rel_tol=1e-6, abs_tol=1e-9)


_RULES = {
    "rrf": "reciprocal rank fusion: the sum of weight / (60 + rank)",
    "isr": "the sum of weight / rank², times the rankings that hold it",
    "minmax": "the sum of scores, each scaled from the least to the greatest of its ranking",
    "tmm": "the sum of scores, each scaled from the least there can be to the greatest of its ranking",
    "zscore": "the sum of scores in deviations above the last of each ranking",
    "dbsf": "the sum of scores, each scaled from three deviations below the mean to three above it",
    "borda": "points: of n documents the first gets n, the second n - 1; those that are not there share what is left",
    "condorcet": "the share of the other documents that it beats, a tie for half",
    "max": "its best weight / rank",
    "min": "its worst weight / rank",
}
