"""The steps of a pipeline told apart, and what changed from those of an earlier run to these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Protocol

import msgspec

from sage_nb.retrieval.source import Source
from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown

LEGIBLE = 60  # characters of two arguments that are shown side by side


class StepFacts(msgspec.Struct, frozen=True):
    """A step: its kind and label, its arguments as printed, and the digest of each part of what it depends on.

    `unknown` says why its results cannot be kept, "" where they can.
    """

    kind: str
    label: str
    shown: dict[str, str]
    parts: dict[str, str]
    unknown: str = ""


class Told(Protocol):
    """A stage, as far as its history wants to know it; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def label(self) -> str:
        """Its name."""
        ...

    @property
    def by_id(self) -> bool:
        """Whether its results may depend on a question's id."""
        ...

    @property
    def steps(self) -> Sequence[Any]:
        """The stages of its chain."""
        ...

    @property
    def branches(self) -> Sequence[Any]:
        """The pipelines that it puts together."""
        ...

    def identity(self) -> Fingerprinted | Unknown:
        """What its results depend on."""
        ...


def leaves(stage: Told) -> Iterator[Told]:
    """All steps of a pipeline, those of branches before what puts them together."""
    for step in stage.steps:
        for branch in step.branches:
            yield from leaves(branch)
        yield step


def step_facts(stage: Told) -> tuple[StepFacts, ...]:
    """Of each step."""
    return tuple(map(_facts, leaves(stage)))


def changes(before: Sequence[StepFacts], now: Sequence[StepFacts]) -> dict[str, list[str]]:
    """What is new in each step, by its label: "k 50 → 100", "code changed", "new"; nothing where it is as before.

    A step is compared with the one of its kind that is most like it.
    """
    left = list(before)
    found: dict[str, list[str]] = {}
    for step in now:
        same = [each for each in left if each.kind == step.kind]
        old = min(same, key=lambda each: len(_differences(each, step)), default=None)
        if old is None:
            found[step.label] = ["new"]
            continue
        left.remove(old)
        found[step.label] = _differences(old, step)
    return found


def _facts(step: Told) -> StepFacts:
    shown = {field.name: _shown(getattr(step, field.name)) for field in fields(step)}
    identity = step.identity()
    kind = type(step).__name__
    if isinstance(identity, Unknown):
        return StepFacts(kind, step.label, shown, {}, identity.reason)
    return StepFacts(kind, step.label, shown, dict(identity.parts))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (Source, str, int, float, bool, type(None))) else f"{value!r:.80}"


def _differences(before: StepFacts, now: StepFacts) -> list[str]:
    named = [
        f"{name} {before.shown[name]} → {value}" if len(before.shown[name] + value) <= LEGIBLE else f"{name} changed"
        for name, value in now.shown.items()
        if name in before.shown and before.shown[name] != value
    ]
    told = {text.partition(" ")[0] for text in named}
    return named + [
        f"{name} changed"
        for name, digest in now.parts.items()
        if before.parts.get(name, digest) != digest and name not in told
    ]
