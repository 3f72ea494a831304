"""Conditions on documents: values to compare, combine, print and fingerprint."""

from __future__ import annotations

import keyword
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.rows import FIELDS
from sage_nb.records.values import Document

Wanted = str | int | float | bool | tuple["str | int | float | bool", ...]
Plain = str | int | float | bool | tuple["Plain", ...]


class Filter(ABC):
    """A condition on documents; `&`, `|` and `~` make further ones.

    Filters are equal when they print the same; what they print is the expression that makes them.

    >>> recent = where(year__ge=2020) & ~where(source="numpy")
    >>> recent
    where(year__ge=2020) & ~where(source='numpy')
    >>> recent.accepts(Document("d", "text", source="scipy", meta={"year": 2021}))
    True
    """

    @property
    @abstractmethod
    def plain(self) -> tuple[Plain, ...]:
        """The filter as nested tuples of plain data, for fingerprints."""

    @abstractmethod
    def accepts(self, document: Document, /) -> bool:
        """Whether the condition holds for `document`."""

    def __and__(self, other: Filter) -> Filter:
        """Both hold."""
        if not isinstance(other, Filter):
            return NotImplemented
        return And((*_parts(self, And), *_parts(other, And)))

    def __or__(self, other: Filter) -> Filter:
        """One of them holds, or both."""
        if not isinstance(other, Filter):
            return NotImplemented
        return Or((*_parts(self, Or), *_parts(other, Or)))

    def __invert__(self) -> Filter:
        """It does not hold."""
        return Not(self)

    def __eq__(self, other: object) -> bool:
        # By what is printed, because Python takes True for 1 and 1 for 1.0, and a filter does not.
        return isinstance(other, Filter) and repr(self) == repr(other)

    def __bool__(self) -> bool:
        # `a and b` would quietly drop a: Python takes every object for true.
        raise BadValueError(f"{self} is neither true nor false; join filters with & | ~, not with and, or, not")

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, eq=False)
class Condition:
    """One field, one comparison, one value."""

    field: str
    suffix: str
    wanted: Wanted

    def holds(self, document: Document) -> bool:
        """Whether `document` has what is wanted."""
        return SUFFIXES[self.suffix](_value(document, self.field), self.wanted)

    @property
    def name(self) -> str:
        """The keyword that makes it: the suffix is left out where it goes without saying."""
        plain = self.suffix == "eq" and "__" not in self.field
        return self.field if plain else f"{self.field}__{self.suffix}"


@dataclass(frozen=True, eq=False, repr=False)
class Where(Filter):
    """All of some conditions; made by `where`."""

    conditions: tuple[Condition, ...]

    @property
    def plain(self) -> tuple[Plain, ...]:
        """("where", (field, suffix, value), …)."""
        return ("where", *((each.field, each.suffix, each.wanted) for each in self.conditions))

    def accepts(self, document: Document, /) -> bool:
        """Whether every condition holds."""
        return all(condition.holds(document) for condition in self.conditions)

    def __repr__(self) -> str:
        named = {condition.name: condition.wanted for condition in self.conditions}
        odd = {name: value for name, value in named.items() if not _is_keyword(name)}
        shown = [f"{name}={value!r}" for name, value in named.items() if name not in odd]
        return f"where({', '.join(shown + [f'**{odd!r}'] * bool(odd))})"


@dataclass(frozen=True, eq=False, repr=False)
class And(Filter):
    """`a & b & c`."""

    parts: tuple[Filter, ...]

    @property
    def plain(self) -> tuple[Plain, ...]:
        """("and", part, …)."""
        return ("and", *(part.plain for part in self.parts))

    def accepts(self, document: Document, /) -> bool:
        """Whether every part holds."""
        return all(part.accepts(document) for part in self.parts)

    def __repr__(self) -> str:
        return " & ".join(f"({part})" if isinstance(part, Or) else f"{part}" for part in self.parts)


@dataclass(frozen=True, eq=False, repr=False)
class Or(Filter):
    """`a | b | c`."""

    parts: tuple[Filter, ...]

    @property
    def plain(self) -> tuple[Plain, ...]:
        """("or", part, …)."""
        return ("or", *(part.plain for part in self.parts))

    def accepts(self, document: Document, /) -> bool:
        """Whether some part holds."""
        return any(part.accepts(document) for part in self.parts)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))


@dataclass(frozen=True, eq=False, repr=False)
class Not(Filter):
    """`~a`."""

    part: Filter

    @property
    def plain(self) -> tuple[Plain, ...]:
        """("not", part)."""
        return ("not", self.part.plain)

    def accepts(self, document: Document, /) -> bool:
        """Whether the part does not hold."""
        return not self.part.accepts(document)

    def __invert__(self) -> Filter:
        """The part itself."""
        return self.part

    def __repr__(self) -> str:
        return f"~({self.part})" if isinstance(self.part, And | Or) else f"~{self.part}"


def where(**conditions: object) -> Filter:
    """Documents for which every condition holds: `field=value` or `field__suffix=value`.

    A field is `id`, `text`, `title`, `source`, `parent` or a key of `meta`. Suffixes: `eq` (the default),
    `ne`, `lt`, `le`, `gt`, `ge`, `in`, `nin`, `contains`, `startswith`, `exists`. A value of another type
    than the field's is not equal to it, nor less, nor greater; numbers are one type, bool another. For
    a field that is missing or None only `ne`, `nin` and `exists=False` hold; "" does not exist either.

    >>> where(year__ge=2020, source="numpy")
    where(source='numpy', year__ge=2020)
    >>> where(source__in={"numpy", "scipy"}).accepts(Document("d", "text", source="scipy"))
    True
    """
    if not conditions:
        raise BadValueError("where() names no condition; write for example where(source='numpy')")
    made = {each.name: each for each in (_condition(name, value) for name, value in conditions.items())}
    if len(made) < len(conditions):
        raise BadValueError(f"where({', '.join(conditions)}) repeats a condition; join filters with &")
    return Where(tuple(made[name] for name in sorted(made)))


def from_plain(plain: Any) -> Filter:
    """The filter whose `plain` this is.

    >>> from_plain((~where(year=1) & where(source="a")).plain)
    ~where(year=1) & where(source='a')
    """
    match plain:
        case ("not", part):
            return ~from_plain(part)
        case ("and" | "or" as word, *parts) if parts:
            return reduce(and_ if word == "and" else or_, map(from_plain, parts))
        case ("where", *conditions) if conditions and all(map(_is_plain_condition, conditions)):
            return where(**{f"{each[0]}__{each[1]}": each[2] for each in conditions})
    raise BadValueError(f"{plain!r:.80} is no filter; write ('where', (field, suffix, value)), 'and', 'or' or 'not'")


def _is_plain_condition(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 3 and isinstance(given[0], str) and isinstance(given[1], str)


def _condition(name: str, value: object) -> Condition:
    field, bar, suffix = name.rpartition("__")
    if not bar:
        field, suffix = name, "eq"
    if suffix not in SUFFIXES:
        raise UnknownNameError.of("filter suffix", suffix, SUFFIXES)
    if not field:
        raise BadValueError(f"{name!r} names no field; write for example source__{suffix}=…")
    return Condition(field, suffix, _wanted(name, suffix, value))


def _wanted(name: str, suffix: str, value: object) -> Wanted:
    match suffix:
        case "in" | "nin":
            return _several(name, value)
        case "contains" | "startswith" if not isinstance(value, str):
            raise BadValueError(f"{name} takes a string, got {value!r}")
        case "exists" if not isinstance(value, bool):
            raise BadValueError(f"{name} takes True or False, got {value!r}")
    return _one(name, value)


def _several(name: str, value: object) -> tuple[str | int | float | bool, ...]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise BadValueError(f"{name} takes a list, got {value!r}; write {name}=[{value!r}]")
    distinct = {repr(one): one for one in (_one(name, each) for each in value)}
    return tuple(sorted(distinct.values(), key=lambda one: (_kind(one).__name__, one)))


def _one(name: str, value: object) -> str | int | float | bool:
    match value:
        case bool():
            return value
        case str():
            return str.__str__(value)
        case numbers.Integral():  # numpy's integers too
            return int(value)
        case numbers.Real() if math.isfinite(value):
            return float(value)
        case None:
            raise BadValueError(f"{name}=None holds for nothing; ask with the suffix __exists=False")
    raise BadValueError(f"{name} takes a string, a finite number or a bool, got {value!r}")


def _value(document: Document, field: str) -> object:
    return getattr(document, field) if field in FIELDS else document.meta.get(field)


def _kind(value: object) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _equal(value: object, wanted: Wanted) -> bool:
    return _kind(value) is _kind(wanted) and value == wanted


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[object, Wanted], bool]:
    # Strings compare like numbers here; the types are checked as equal, which mypy cannot follow.
    return lambda value, wanted: _kind(value) is _kind(wanted) and compare(value, wanted)  # type: ignore[arg-type]


def _among(value: object, wanted: Wanted) -> bool:
    return isinstance(wanted, tuple) and any(_equal(value, one) for one in wanted)


def _contains(value: object, wanted: Wanted) -> bool:
    return isinstance(value, str) and isinstance(wanted, str) and wanted in value


def _starts(value: object, wanted: Wanted) -> bool:
    return isinstance(value, str) and isinstance(wanted, str) and value.startswith(wanted)


SUFFIXES: dict[str, Callable[[object, Wanted], bool]] = {
    "eq": _equal,
    "ne": lambda value, wanted: not _equal(value, wanted),
    "lt": _ordered(lambda value, wanted: value < wanted),
    "le": _ordered(lambda value, wanted: value <= wanted),
    "gt": _ordered(lambda value, wanted: value > wanted),
    "ge": _ordered(lambda value, wanted: value >= wanted),
    "in": _among,
    "nin": lambda value, wanted: not _among(value, wanted),
    "contains": _contains,
    "startswith": _starts,
    "exists": lambda value, wanted: (value not in (None, "")) is wanted,
}


def _parts(part: Filter, kind: type[And | Or]) -> Iterable[Filter]:
    return part.parts if isinstance(part, kind) else (part,)


def _is_keyword(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
