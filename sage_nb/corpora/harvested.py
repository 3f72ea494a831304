"""What was read of a package's documentation, kept until something is installed or removed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sage_nb.errors import BadValueError
from sage_nb.records.codec import decode, encode
from sage_nb.records.disk import LIBRARIES, home, is_below, replace
from sage_nb.records.values import Document

STDLIB = "stdlib"


@dataclass(frozen=True)
class NotImported:
    """A package or module whose documentation is missing from the stream, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Harvest:
    """What one child sent."""

    documents: tuple[Document, ...]
    skipped: tuple[NotImported, ...]
    failed: str = ""

    def loss(self, package: str) -> str:
        """What is missing of the package, in a sentence; nothing where all is there.

        The standard library always lacks the modules of other systems: they are listed, but no cause for alarm.
        """
        if self.failed:
            return f"{package!r} is not (fully) in: {self.failed}"
        if not self.skipped or package == STDLIB:
            return ""
        first, number = self.skipped[0], len(self.skipped)
        names = "1 module or name" if number == 1 else f"{number:,} modules or names"
        return f"{package!r} is in without {names} that raised, the first {first.name!r}: {first.reason}"

    @property
    def lasting(self) -> bool:
        """Whether another look would find the same: what was missing, if anything, were modules that it imports."""
        return not self.failed and all(each.reason.startswith("ModuleNotFoundError") for each in self.skipped)


@dataclass(frozen=True)
class Kept:
    """A harvest, and what it was made from."""

    state: tuple[str, ...]
    harvest: Harvest


def harvested(package: str, read: Callable[[str], Harvest]) -> Harvest:
    """What is kept of an installed package in `pydocs` of the home; else what `read` gives, which is then kept.

    Delete its file there to have it read again.
    """
    state, place = _state(package), home() / "pydocs" / package
    if state is None:
        return read(package)
    with suppress(OSError, BadValueError):  # none is there, or it is damaged: it is made anew
        kept = decode(place.read_bytes(), Kept)
        if kept.state == state:
            return kept.harvest
    harvest = read(package)
    if harvest.lasting or (package == STDLIB and not harvest.failed):
        with suppress(OSError, BadValueError):  # a home that takes nothing, or a text that is none (half a surrogate)
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(place, encode(Kept(state, harvest)))
    return harvest


def _state(package: str) -> tuple[str, ...] | None:
    """What a package's documentation depends on; None where that cannot be told, for the package is no installed one.

    An installed package counts by the folders that installers fill: they change whenever one comes, goes or is
    upgraded, also those that the package imports.
    """
    places = [Path(each) for each in LIBRARIES] + sorted(Path(__file__).parent.glob("*.py"))
    if package != STDLIB:
        origin = _origin(package)
        if origin not in {"built-in", "frozen"} and not is_below(os.path.realpath(origin), LIBRARIES):
            return None
        places += [Path(origin)]
    changed = (f"{place} {place.stat().st_mtime_ns}" for place in places if place.exists())
    return sys.version, os.environ.get("PYTHONOPTIMIZE", ""), *sys.path, *changed


def _origin(package: str) -> str:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return ""
    return (spec.origin if spec else None) or ""
