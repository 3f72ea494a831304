"""The numbers of a pipeline that one may want to turn, and the same pipeline with one of them turned, or narrowed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.filters import Filter
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.yaml import STAGES

Place = tuple[str | int, ...]  # the fields, and the places in tuples, that lead down to a value
Names = tuple[str, str, str]

LEAST_HITS, FINE = 100, 0.05  # how far a slider for hits goes at least, a weight's smallest change


@dataclass(frozen=True)
class Knob:
    """A number of a pipeline: where it stands, what it is called, its value, and the range to try."""

    at: Place
    name: str
    value: float
    low: float
    high: float
    step: float


def knobs(pipeline: Stage) -> list[Knob]:
    """The hits that stages keep (`k`), and the weights of what is fused.

    A knob is called as briefly as its name is its own.

    >>> from sage_nb.retrieval.collection import Collection
    >>> for knob in knobs(0.5 * Collection("a").lexical(k=20) + Collection("a").dense(k=500)):
    ...     print(knob.name, knob.value, knob.high)
    weight of lexical 0.5 1
    weight of dense 1.0 2
    k of lexical 20 100
    k of dense 500 1000
    >>> [knob.name for knob in knobs(Collection("a").lexical(k=20) | Collection("b").lexical(k=20))][-2:]
    ['k of a.lexical', 'k of b.lexical']
    """
    found = list(_knobs(pipeline, ()))
    taken = [Counter(names) for names in zip(*(names for names, _ in found), strict=True)]
    return [
        replace(knob, name=next((name for name, of in zip(names, taken, strict=True) if of[name] == 1), names[-1]))
        for names, knob in found
    ]


def turned(pipeline: Stage, at: Place, value: float) -> Stage:
    """The pipeline with another value there; a whole number where it was one.

    Raises BadValueError where the stage does not take it, or where there is no such place.

    >>> from sage_nb.retrieval.collection import Collection
    >>> turned(Collection("a").hybrid(k=20), ("weights", 1), 0.5)
    Collection('a').hybrid(k=20, weights=(1.0, 0.5))
    """
    found: Stage = _with(pipeline, at, value)
    return found


def narrowed(pipeline: Stage, only: Filter | None) -> Stage:
    """The pipeline over those documents of its collections that a filter accepts, too.

    >>> from sage_nb.records.filters import where
    >>> from sage_nb.retrieval.collection import Collection
    >>> narrowed(Collection("a").lexical(k=2), where(source="x"))
    Collection('a').where(source='x').lexical(k=2)
    """
    if only is None:
        return pipeline
    found: Stage = _mapped(pipeline, lambda source: _narrowed(source, only))
    return found


def sources(pipeline: Stage) -> list[Source]:
    """The collections that it reads, each once.

    >>> from sage_nb.retrieval.collection import Collection
    >>> [source.name for source in sources(Collection("a").hybrid(k=2) + Collection("b").lexical(k=2))]
    ['a', 'b']
    """
    found: list[Source] = []

    def note(source: Source) -> Source:
        found.append(source)
        return source

    _mapped(pipeline, note)
    return list(dict.fromkeys(found))


def _knobs(stage: Stage, at: Place) -> Iterator[tuple[Names, Knob]]:
    """Each with what it may be called, the briefest name first."""
    for each in fields(stage):
        value = getattr(stage, each.name)
        if each.name == "k":
            high = max(LEAST_HITS, 2 * value)
            yield _names("k of", stage), Knob((*at, "k"), "", value, 1, high, 1)
        elif each.name == "weight":
            yield _names("weight of", getattr(stage, "stage", stage)), _weight((*at, "weight"), value)
        elif each.name == "weights":
            parts: Sequence[Stage | str] = getattr(stage, "names", ()) or getattr(stage, "parts", ())
            for number, (part, weight) in enumerate(zip(parts, value, strict=False)):
                yield _names("weight of", part), _weight((*at, "weights", number), weight)
    for name, place, part in _parts(stage):
        yield from _knobs(part, (*at, name, *place))


def _weight(at: Place, value: float) -> Knob:
    return Knob(at, "", value, 0, max(1, math.ceil(2 * value)), FINE)


def _names(what: str, of: Stage | str) -> Names:
    if isinstance(of, str):
        return (f"{what} {of}",) * 3
    kind, source = _written(type(of)), getattr(of, "source", None)
    inside = f"{source.name}.{kind}" if isinstance(source, Source) else kind
    whole = repr(of).replace(repr(source), source.name) if isinstance(source, Source) else repr(of)
    return f"{what} {kind}", f"{what} {inside}", f"{what} {whole}"


def _written(kind: type) -> str:
    """What is typed for it."""
    known = {each: name for name, each in STAGES.items()}
    return {"cut": "%"}.get(name := known.get(kind, kind.__name__.lower()), name)


def _parts(stage: Stage) -> Iterator[tuple[str, Place, Stage]]:
    """The stages that a stage holds: in which field, at which place of it."""
    for each in fields(stage):
        value = getattr(stage, each.name)
        if isinstance(value, Stage):
            yield each.name, (), value
        elif isinstance(value, tuple):
            yield from ((each.name, (place,), part) for place, part in enumerate(value) if isinstance(part, Stage))


def _with(value: Any, at: Place, new: float) -> Any:
    if not at:
        return int(new) if isinstance(value, int) else float(new)
    first: Any = at[0]
    rest = at[1:]
    if isinstance(value, tuple) and isinstance(first, int) and first < len(value):
        return (*value[:first], _with(value[first], rest, new), *value[first + 1 :])
    if is_dataclass(value) and isinstance(first, str) and hasattr(value, first):
        return replace(value, **{first: _with(getattr(value, first), rest, new)})  # type: ignore[type-var]
    raise BadValueError(f"{value!r:.80} has no {first!r}; take the place of one of its knobs")


def _mapped(value: Any, change: Callable[[Source], Source]) -> Any:
    """`value` with each Source in it changed, those of one stage together: some must agree."""
    if isinstance(value, Source):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(each, change) for each in value)
    if not isinstance(value, Stage):
        return value
    held = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
    made = {name: _mapped(each, change) for name, each in held.items()}
    return replace(value, **made) if made != held else value


def _narrowed(source: Source, only: Filter) -> Source:
    return replace(source, only=only if source.only is None else source.only & only)
