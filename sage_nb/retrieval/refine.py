"""Refine a ranking by what is cheap to see: too low a score, near-duplicates, the order a model reads best in.

Hits keep their scores; each stage adds its step, with the new rank.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from sage_nb.records.values import Hit, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_number
from sage_nb.retrieval.near import NearDuplicates, near_duplicates
from sage_nb.retrieval.ranking import Retrieving, placed
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import MapFunction

Item = TypeVar("Item")


@dataclass(frozen=True, repr=False)
class Refined(Operation):
    """A stage that leaves out hits or moves them, looking at one ranking alone."""

    @property
    def needs(self) -> Kind:
        """A ranking to refine."""
        return "ranking"

    @property
    def keeps(self) -> bool:
        """No: it is done again in no time."""
        return False

    @property
    def keeps_scores(self) -> bool:
        """Yes."""
        return True

    def function(self) -> Retrieving:
        """A `Refining`."""
        return Refining(self)

    @abstractmethod
    def refined(self, hits: Sequence[Hit]) -> tuple[Sequence[Hit], str]:
        """The hits that remain, in their new order, and what a reader should know of it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What its step is called."""


class Refining(MapFunction[Result, Result]):
    """The running half of those stages."""

    def __init__(self, stage: Refined) -> None:
        self.stage = stage

    def map(self, value: Result, /) -> Result:
        """The hits that remain, with a note where the stage has one."""
        hits, said = self.stage.refined(value.hits)
        result = placed(value, self.stage.name, [(hit, hit.score) for hit in hits])
        return msgspec.structs.replace(result, notes=(*value.notes, f"{self.stage.name}: {said}")) if said else result


@stage("min_score")
@dataclass(frozen=True, repr=False)
class MinScore(Refined):
    """The hits that score `least` or more."""

    least: float

    def __post_init__(self) -> None:
        check_number(self.least, "min_score()")

    def __repr__(self) -> str:
        return f"min_score({self.least!r})"

    @property
    def name(self) -> str:
        """As it is written."""
        return "min_score"

    def refined(self, hits: Sequence[Hit]) -> tuple[Sequence[Hit], str]:
        """Those, in their order."""
        kept = [hit for hit in hits if hit.score >= self.least]
        return kept, f"{len(hits) - len(kept)} of {len(hits)} hits score below {self.least:g}" * (len(kept) < len(hits))


@stage("dedup")
@dataclass(frozen=True, repr=False)
class Dedup(Refined):
    """Of hits that nearly repeat each other, the first."""

    threshold: float = 0.8

    def __post_init__(self) -> None:
        NearDuplicates(self.threshold)

    def __repr__(self) -> str:
        return f"dedup(threshold={self.threshold!r})"

    @property
    def name(self) -> str:
        """As it is written."""
        return "dedup"

    def refined(self, hits: Sequence[Hit]) -> tuple[Sequence[Hit], str]:
        """Those, in their order."""
        firsts = near_duplicates([hit.text for hit in hits], self.threshold)
        kept = [hit for place, hit in enumerate(hits) if firsts[place] == place]
        return kept, f"{len(hits) - len(kept)} hits left out that nearly repeat a better one" * (len(kept) < len(hits))


@stage("reorder")
@dataclass(frozen=True, repr=False)
class Reorder(Refined):
    """The best hits first and last, the worst in the middle."""

    def __repr__(self) -> str:
        return "reorder()"

    @property
    def name(self) -> str:
        """As it is written."""
        return "reorder"

    def refined(self, hits: Sequence[Hit]) -> tuple[Sequence[Hit], str]:
        """All of them."""
        return ends_first(hits), ""


def min_score(least: float) -> Stage:
    """Only hits with a score of `least` or more, as the stage before gave it.

    Scores of most stages mean nothing from question to question: put `calibrate(...)` before, and `least` is a chance
    of being relevant. Where nothing scores as much, nothing is left.

    >>> min_score(0.5)
    min_score(0.5)
    """
    return MinScore(least)


def dedup(threshold: float = 0.8) -> Stage:
    """Without hits whose text nearly repeats that of a better hit: of the runs of three words, `threshold` are shared.

    The measure is the resemblance, common runs over all runs, of Broder, "On the resemblance and containment of
    documents", SEQUENCES 1997. A note says how many were left out.

    >>> dedup(threshold=0.9)
    dedup(threshold=0.9)
    """
    return Dedup(threshold)


def reorder() -> Stage:
    """The best hits first and last, the worst in the middle: for a generator that reads them all, put it before it.

    Language models use best what stands at the ends of a long context: Liu et al., "Lost in the Middle: How Language
    Models Use Long Contexts", TACL 2024 (arXiv 2023). Hits get the rank at which they now stand.

    >>> reorder()
    reorder()
    """
    return Reorder()


def ends_first(best_first: Sequence[Item]) -> list[Item]:
    """The first, third, fifth … then back from the last even one to the second.

    >>> ends_first([1, 2, 3, 4, 5])
    [1, 3, 5, 4, 2]
    """
    return [*best_first[::2], *best_first[1::2][::-1]]
