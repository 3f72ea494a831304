"""Values of the documents that were found, to filter by: choices, ranges, parts of texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.filters import Filter, where
from sage_nb.records.values import Scalar
from sage_nb.retrieval.joined import PARTS
from sage_nb.retrieval.trace import Trace

CHOICES = 30  # values of a field to choose among; of more one gives a part of a text, or the ends of a range
OWN = {"start", "end", "section", "parent", PARTS}  # of the meta: what the package itself writes there
TO = "…"  # between the ends of a range


@dataclass(frozen=True)
class Facets:
    """The fields of documents that have been seen, with their values, and of which what is chosen.

    >>> facets = Facets({"year": {2020, 2021}, "source": {"guide"}}).choosing("year", "2021")
    >>> facets.only
    where(year=2021)
    >>> [facet["name"] for facet in facets.drawn()]  # one source only is no choice
    ['year']
    """

    seen: dict[str, set[Scalar]] = field(default_factory=dict)
    chosen: dict[str, tuple[str, Filter]] = field(default_factory=dict)

    @property
    def only(self) -> Filter | None:
        """All that is chosen, as one filter."""
        made = [each for _, each in self.chosen.values()]
        return reduce(and_, made) if made else None

    def see(self, trace: Trace) -> None:
        """Note the values of what was found."""
        for document in (hit.document for stop in trace.stops for hit in stop.result.hits):
            for name, value in (("source", document.source), *document.meta.items()):
                if name not in OWN and value not in ("", None):
                    self.seen.setdefault(name, set()).add(value)

    def choosing(self, name: str, given: str) -> Facets:
        """With what a person chose of a field: a value, "low…high", or a part of a text; "" for anything.

        Raises BadValueError for what is no choice.
        """
        if name not in self.seen:
            raise BadValueError(f"no document that was found has a field {name!r}; choose one of {sorted(self.seen)}")
        made = self._filter(name, given.strip()) if given.strip(f" {TO}") else None
        others = {field: each for field, each in self.chosen.items() if field != name}
        return Facets(self.seen, others if made is None else {**others, name: (given, made)})

    def drawn(self) -> list[dict[str, Any]]:
        """As JavaScript draws them; a field of which there is one value only is no choice."""
        return [
            {
                "name": name,
                "kind": self._kind(name),
                "values": list(self._texts(name)) if self._kind(name) == "choice" else [],
                "chosen": self.chosen[name][0] if name in self.chosen else "",
            }
            for name, values in self.seen.items()
            if len(values) > 1 or name in self.chosen
        ]

    def _kind(self, name: str) -> str:
        values = self.seen[name]
        if len(values) <= CHOICES:
            return "choice"
        return "range" if all(isinstance(value, (int, float)) for value in values) else "text"

    def _filter(self, name: str, given: str) -> Filter:
        if self._kind(name) == "text":
            return where(**{f"{name}__contains": given})
        if self._kind(name) == "choice":
            if given not in (texts := self._texts(name)):
                raise BadValueError(f"no document that was found has {name}={given!r}; choose one of {list(texts)}")
            return where(**{f"{name}__eq": texts[given]})
        low, _, high = given.partition(TO)
        try:
            ends = {f"{name}__{end}": float(text) for end, text in (("ge", low), ("le", high)) if text.strip()}
        except ValueError as error:
            raise BadValueError(f"a range of {name} is two numbers, as in 1{TO}9, got {given!r}") from error
        return where(**ends)

    def _texts(self, name: str) -> dict[str, Scalar]:
        """The values by how they are written, numbers before texts."""
        numbers = sorted(value for value in self.seen[name] if isinstance(value, (int, float)))
        texts = sorted(value for value in self.seen[name] if isinstance(value, str))
        return {str(value): value for value in (*numbers, *texts)}
