"""A function as a retriever: it is given a question's text, and finds documents wherever it likes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.surrogates import encodable
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.ranking import Retrieving, placed, ranked
from sage_nb.retrieval.stage import Operation
from sage_nb.stream.check import name_of
from sage_nb.stream.function import MapFunction

Scored = tuple[Hit, float]


@dataclass(frozen=True, repr=False)
class FunctionSource(Operation):
    """What `code` finds for a question's text, as the ranking of a source called `name`."""

    name: str
    code: Any

    def __repr__(self) -> str:
        return name_of(self.code)

    @property
    def label(self) -> str:
        """The source's name."""
        return self.name

    @property
    def batch(self) -> tuple[int, float]:
        """One: it is asked question by question, and each is waited for by itself."""
        return 1, 0.0

    @property
    def waits(self) -> bool:
        """Yes: for whomever the function asks."""
        return True

    def function(self) -> Retrieving:
        """A `Finding`."""
        return Finding(self)


class Finding(MapFunction[Result, Result]):
    """The running half of `FunctionSource`."""

    def __init__(self, stage: FunctionSource) -> None:
        self.stage = stage

    def map(self, value: Result, /) -> Result:
        """What the function gives, checked and in order; best first where it gives no scores."""
        name, found = self.stage.name, self.stage.code(value.query.text)
        bare = Result(value.query, (), value.notes, missing=value.missing)
        if isinstance(found, Result):
            hits = [msgspec.structs.replace(hit, collection=hit.collection or name) for hit in found.hits]
            bare = msgspec.structs.replace(bare, notes=(*bare.notes, *found.notes), missing=found.missing)
            if found.error:
                raise BadValueError(f"the source {name!r} gave a Result with an error: {found.error}")
            return placed(bare, name, [(hit, hit.score) for hit in hits])
        once = {(hit.collection, hit.document.id): (hit, score) for hit, score in reversed(scored_by(name, found))}
        return ranked(bare, name, list(once.values()))


def scored_by(name: str, found: object) -> list[Scored]:
    """What the source called `name` gave, as hits with scores; 1 / rank where it gave none.

    >>> [(hit.document.id, score) for hit, score in scored_by("web", [Document("a", "Rays."), Document("b", "Ice.")])]
    [('a', 1.0), ('b', 0.5)]
    """
    if not isinstance(found, Iterable) or isinstance(found, (str, bytes, dict)):
        raise _wrong(name, found)
    return [_scored(name, each, rank) for rank, each in enumerate(found, start=1)]


def _scored(name: str, given: object, rank: int) -> Scored:
    if isinstance(given, Hit):
        return msgspec.structs.replace(given, collection=given.collection or name), given.score
    document, score = given if isinstance(given, (tuple, list)) and len(given) == 2 else (given, 1 / rank)
    if not isinstance(document, Document):
        raise _wrong(name, given)
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadValueError(
            f"the source {name!r} gave {document.id!r} the score {score!r:.40}; scores are finite numbers"
        )
    return Hit(_encodable(document), rank, number, (), name), number


def _encodable(document: Document) -> Document:
    """As documents that are read from files: JSON of an endpoint may hold half a pair of surrogates."""
    texts = {field: encodable(getattr(document, field)) for field in ("id", "text", "title", "source", "parent")}
    return msgspec.structs.replace(document, **texts)


def _wrong(name: str, given: object) -> BadValueError:
    return BadValueError(
        f"the source {name!r} gave {given!r:.60} ({type(given).__name__}); a function gives, for a question's text, "
        f"Documents best first, (Document, score) pairs, or a Result"
    )
