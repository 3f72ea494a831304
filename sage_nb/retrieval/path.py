"""What a question has come through when it reaches an operator, and the key under which its result there is kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown
from sage_nb.stream.api import Stream
from sage_nb.stream.fingerprint import fingerprint

NOT_KEPT = "not kept"
Laid = TypeVar("Laid")


class Step(Protocol):
    """A stage, as far as a path wants to know it."""

    @property
    def label(self) -> str:
        """What its results are listed under."""
        ...

    @property
    def by_id(self) -> bool:
        """Whether its results may depend on a question's id."""
        ...

    @property
    def generations(self) -> Mapping[str, int]:
        """The collections that it reads, by folder, and how often each had been changed by now."""
        ...

    @property
    def folders(self) -> frozenset[str]:
        """The folders of the collections that it reads."""
        ...

    def identity(self) -> Fingerprinted | Unknown:
        """What its results depend on, beside the question."""
        ...


@dataclass(frozen=True)
class Patience:
    """Of a pipeline that can be done without: what it cannot open, or takes too long for, fails its questions only.

    Each call may take `seconds`, or as long as it takes where that is None.
    """

    seconds: float | None


@dataclass(frozen=True)
class Mark:
    """Where an operator stands in a pipeline whose results are kept.

    `depth` counts the stages of the outermost chain up to here; `key` is None where nothing is kept. `by_id` says that
    the question's id counts, not only its text. `generations` are those of all collections read so far.
    """

    stage: str
    depth: int
    key: str | None = None
    by_id: bool = False
    generations: tuple[tuple[str, int], ...] = ()
    patience: Patience | None = None


class Shared:
    """What has been laid of a graph in which several pipelines stand: equal operators behind an equal stream are one.

    In such a graph each operator looks for its own results: where a question stands in one pipeline says nothing of the
    others, so that none may be let pass because a later stage of one knows it.
    """

    def __init__(self) -> None:
        self._held: dict[Any, Any] = {}
        self.stages = 0  # that were laid

    def once(self, stream: Stream, path: Path, what: Hashable, lay: Callable[[], Laid]) -> Laid:
        """What `lay` gives, or gave for an equal `what` behind the same stream."""
        key = (what, stream.node, stream.output, stream.partition, replace(path, depth=0, branch=False))
        if key not in self._held:
            self._held[key] = lay()
        held: Laid = self._held[key]
        return held

    def stage(self, stream: Stream, path: Path, what: Hashable, lay: Callable[[], Laid]) -> Laid:
        """The same, counted."""

        def counted() -> Laid:
            self.stages += 1
            return lay()

        return self.once(stream, path, what, counted)


@dataclass(frozen=True)
class Path:
    """The way from the question to here, through stages; in a branch, `depth` is that of the whole fusion.

    `folders` are those of the collections on it. `unknown` says why nothing is kept from here on; NOT_KEPT where
    nobody asked for it. `shared` is what has been laid by pipelines of the same graph, where there are several.
    """

    depth: int = 0
    branch: bool = False
    key: str = ""
    by_id: bool = False
    generations: tuple[tuple[str, int], ...] = ()
    folders: frozenset[str] = frozenset()
    unknown: str = NOT_KEPT
    patience: Patience | None = None
    shared: Shared | None = field(default=None, compare=False, repr=False)

    @classmethod
    def kept(cls, shared: Shared | None = None) -> Path:
        """The beginning of a pipeline whose results are kept."""
        return cls(unknown="", shared=shared)

    def once(self, stream: Stream, what: Hashable, lay: Callable[[], Laid]) -> Laid:
        """What `lay` puts behind a stream that has come by this path; where pipelines share a graph, only once."""
        return lay() if self.shared is None else self.shared.once(stream, self, what, lay)

    def then(self, step: Step) -> Path:
        """The way on, through one more stage."""
        deeper = self.depth + (not self.branch)
        on = replace(self, depth=deeper, folders=self.folders | step.folders)
        if self.unknown:
            return on
        identity = step.identity()
        if isinstance(identity, Unknown):
            return replace(on, unknown=f"{step.label}: {identity.reason}")
        return replace(
            on,
            key=fingerprint((self.key, identity.digest)),
            by_id=self.by_id or step.by_id,
            generations=tuple(sorted({**dict(self.generations), **step.generations}.items())),
        )

    def into_branch(self, patience: Patience | None = None) -> Path:
        """The beginning of a branch of the next stage; one that can be done without has `patience`."""
        return replace(self, depth=self.depth + (not self.branch), branch=True, patience=patience or self.patience)

    def into_questions(self) -> Path:
        """The beginning of a pipeline that the next stage asks questions of its own, as if they were asked alone."""
        unknown = NOT_KEPT if self.unknown == NOT_KEPT else ""
        depth = self.depth + (not self.branch)
        return Path(depth, branch=True, unknown=unknown, patience=self.patience, shared=self.shared)

    def mark(self, stage: str, *, kept: bool) -> Mark:
        """For the operator that this way leads through last."""
        key = self.key if kept and not self.unknown else None
        return Mark(stage, self.depth, key, self.by_id, self.generations, self.patience)
