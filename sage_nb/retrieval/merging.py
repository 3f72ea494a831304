"""Rankings of several sources as one: what is down is left out, what says the same twice stands once, quotas hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from sage_nb.errors import SageError
from sage_nb.index.text import indexed_text
from sage_nb.records.values import Hit, Result, Step
from sage_nb.retrieval.evidence import Candidate, Evidence, needs_words, pooled
from sage_nb.retrieval.fusion import Ranking, get_fusion
from sage_nb.retrieval.near import NearDuplicates
from sage_nb.retrieval.ranking import CACHED, COMPUTED, placed, together
from sage_nb.retrieval.recall import Known, Passing, result_of
from sage_nb.retrieval.routing import Routed
from sage_nb.retrieval.yardstick import Yardstick
from sage_nb.stream.function import Context, MapFunction

POOLED = "pooled"
Quota = tuple[int, int]  # hits of a source: at least, at most
Arrived = tuple[Any, ...]  # a Routed question, and what each source has made of it: a Passing, or None


@dataclass(frozen=True)
class Merge:
    """How: see `multi_source`. `kinds` and `floors` are what is known of the scores of each source."""

    label: str
    names: tuple[str, ...]
    weights: tuple[float, ...]
    quotas: tuple[Quota, ...]
    fusion: str
    near: float | None
    on_error: str
    k: int
    kinds: tuple[Evidence, ...]
    floors: tuple[float | None, ...]
    folders: tuple[str, ...]


class Merging(MapFunction[Arrived, Passing]):
    """The running half of `MultiSource`, behind its sources."""

    def __init__(self, how: Merge) -> None:
        self.how = how

    def open(self, context: Context, /) -> None:
        """Open the yardstick."""
        self._metrics = context.metrics
        self._yardstick = Yardstick(self.how.folders)
        self._yardstick.open(context)

    def map(self, value: Arrived, /) -> Passing:
        """One ranking of the sources that answered.

        Raises SageError where none did, or where none may be missing.
        """
        routed: Routed = value[0]
        found: Sequence[Passing | None] = value[1:]
        known = next((each for each in found if isinstance(each, Known)), None)
        self._metrics.count(CACHED if known else COMPUTED)
        asked = result_of(routed.value)
        if known or asked.error:  # each branch was told so
            return known or asked
        answers = {at: found[at] for at, weight in enumerate(routed.weights) if weight}
        down = {at: why for at, each in answers.items() if (why := _lacking(each))}
        self._check(down, len(answers))
        sound = {at: result_of(each) for at, each in answers.items() if each is not None and at not in down}
        weights = [own * share for own, share in zip(self.how.weights, routed.weights, strict=True)]
        return self._said(asked, sound, down, self._hits(asked, sound, weights))

    def _check(self, down: Mapping[int, str], asked: int) -> None:
        why = "; ".join(f"{self.how.names[at]}: {reason}" for at, reason in down.items())
        if len(down) == asked:
            raise SageError(f"all {asked} sources are down: {why}" if asked > 1 else f"the only source is down: {why}")
        if down and self.how.on_error == "fail":
            raise SageError(f"a source is down: {why}; with on_error='degrade' the others are served")

    def _said(self, asked: Result, sound: Mapping[int, Result], down: Mapping[int, str], hits: Sequence[Hit]) -> Result:
        names = self.how.names
        own = together([asked, *(_told(names[at], asked, result) for at, result in sound.items())])
        lost = [f"{names[at]} is missing: {why}" for at, why in down.items()]
        bare = msgspec.structs.replace(
            own, notes=(*own.notes, *lost), missing=(*own.missing, *(names[at] for at in down))
        )
        return placed(bare, self.how.label, [(hit, hit.score) for hit in hits])

    def _hits(self, asked: Result, sound: Mapping[int, Result], weights: Sequence[float]) -> list[Hit]:
        candidates = grouped(sound, self.how.near)
        if self.how.fusion == POOLED:
            kinds, words = self.how.kinds, [0.0] * len(candidates)
            if needs_words(kinds):
                words = self._yardstick.scores(asked.query.text, [each.hit.document for each in candidates])
            totals = pooled(candidates, kinds, words, weights)
        else:
            totals = self._fused(candidates, weights)
        groups: dict[int, list[Candidate]] = {}
        for each in candidates:
            groups.setdefault(each.group, []).append(each)
        order = sorted(totals, key=lambda group: (-totals[group], groups[group][0].hit.document.id, group))
        owners = {group: groups[group][0].source for group in order}
        chosen = within(order, owners, self.how.quotas, self.how.k)
        return [merged(groups[group], self.how.names, totals[group]) for group in chosen]

    def _fused(self, candidates: Sequence[Candidate], weights: Sequence[float]) -> dict[int, float]:
        """A score for each group by a fusion rule: each source's ranking is scaled by itself."""
        rankings = []
        for at, floor in enumerate(self.how.floors):
            scores: dict[int, float] = {}
            for hit, source, group in candidates:
                if source == at:
                    scores.setdefault(group, hit.score)
            keys = tuple(("", str(group)) for group in scores)
            rankings.append(Ranking(keys, tuple(scores.values()), floor))
        return {int(group): score for (_, group), score in get_fusion(self.how.fusion)(rankings, weights).items()}


def grouped(results: Mapping[int, Result], near: float | None) -> list[Candidate]:
    """The hits of all sources, those that are first in their ranking first, and which of them say nearly the same.

    A document that several sources found is one; near-duplicates are one where they are of different sources.
    """
    hits = sorted(
        ((hit, at) for at, result in results.items() for hit in result.hits), key=lambda each: (each[0].rank, each[1])
    )
    seen = NearDuplicates(near) if near is not None else None
    first: dict[tuple[str, str], int] = {}
    candidates: list[Candidate] = []
    for place, (hit, source) in enumerate(hits):
        group = seen.place(indexed_text(hit.document)) if seen else place
        if group < place and candidates[group].source == source:
            group = place
        group = first.setdefault((hit.collection, hit.document.id), group)
        candidates.append(Candidate(hit, source, group if group == place else candidates[group].group))
    return candidates


def merged(group: Sequence[Candidate], names: Sequence[str], score: float) -> Hit:
    """The first hit of a group, with the steps of all, each under its source's name, and where the others lie."""
    best = group[0].hit
    steps = chain.from_iterable((_step(names[at], step) for step in hit.steps) for hit, at, _ in group)
    own = (best.collection, best.document.id)
    others = dict.fromkeys((each.hit.collection, each.hit.document.id) for each in group)
    also = (*best.also, *(other for other in others if other != own))
    return msgspec.structs.replace(best, score=score, steps=tuple(steps), also=also)


def within(order: Sequence[int], owners: Mapping[int, int], quotas: Sequence[Quota], k: int) -> list[int]:
    """The first `k` of an order, of each owner at most its quota; and at least, where it has so many.

    >>> within([7, 8, 9], {7: 0, 8: 0, 9: 1}, [(0, 2), (1, 2)], k=2)
    [7, 9]
    """
    taken: Counter[int] = Counter()
    allowed = []
    for group in order:
        if taken[owners[group]] < quotas[owners[group]][1]:
            taken[owners[group]] += 1
            allowed.append(group)
    kept, rest = allowed[:k], allowed[k:]
    counts = Counter(owners[group] for group in kept)
    for group in rest:
        if counts[owners[group]] >= quotas[owners[group]][0]:
            continue
        spare = next((each for each in reversed(kept) if counts[owners[each]] > quotas[owners[each]][0]), None)
        if spare is None:
            break
        kept.remove(spare)
        kept.append(group)
        counts[owners[spare]] -= 1
        counts[owners[group]] += 1
    places = {group: place for place, group in enumerate(order)}
    return sorted(kept, key=places.__getitem__)


def _lacking(answer: Passing | None) -> str:
    return "it gave no ranking" if answer is None else result_of(answer).error


def _step(name: str, step: Step) -> Step:
    return step if step.stage == name else Step(f"{name}: {step.stage}", step.rank, step.score)


def _told(name: str, asked: Result, result: Result) -> Result:
    """What a source says of its result, under its name; and that it found nothing."""
    empty = () if result.hits else ("nothing found",)
    notes = (f"{name}: {note}" for note in (*result.notes, *empty) if note not in asked.notes)
    missing = (f"{name}: {each}" for each in result.missing if each not in asked.missing)
    return Result(result.query, (), tuple(notes), missing=tuple(missing))
