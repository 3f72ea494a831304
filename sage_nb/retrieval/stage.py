"""Pipelines are values: `>>` then, `+` fuse, `*` weigh, `|` union, `&` intersect, `%` cut (PyTerrier's algebra).

A stage describes and loads nothing; equal structure is equal; what cannot work is refused when it is written.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, cast

from typing_extensions import Unpack

from sage_nb.errors import BadValueError
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.applying import Applying
from sage_nb.retrieval.described import Described, Kind
from sage_nb.retrieval.fusion import get_fusion
from sage_nb.retrieval.given import check_k, check_weights, printed, unnamed
from sage_nb.retrieval.path import Path
from sage_nb.retrieval.questions import as_queries, check_text
from sage_nb.retrieval.ranking import Answering, Cutting, Fusing, Retrieving, Scaling, failed, query_id, unfused
from sage_nb.retrieval.recall import in_cell
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.yaml import from_yaml, stage, to_yaml
from sage_nb.runtime.environment import Environment, LocalEnvironment
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.check import name_of

BATCH = (32, 0.005)  # questions an operator takes at once: enough for a model's batches to fill, few enough to see come


@dataclass(frozen=True)
class Stage(Described):
    """One step of a pipeline, or a whole one: cheap to build, print, compare, hash and ship.

    >>> Cut(10) == Cut(10), Cut(10) >> Cut(5)
    (True, Cut(k=10) % 5)
    """

    def on_stream(self, stream: Stream, /, **how: Unpack[How]) -> Stream:
        """`Result`s with questions in, answered out; by default one that an operator fails on has that `error`."""
        return self.laid(stream, Path(), how)[0]

    def search(self, text: str, *, cell: str | None = None) -> Result:
        """Ask one question, `cell` as in `run`; raises BadValueError where it has no text, and what operators raise."""
        question = Query("q", check_text(text, "the question"))
        return Run.alone(self, question, in_cell(LocalEnvironment("search"), cell))

    def run(
        self, questions: object, *, env: Environment | None = None, cell: str | None = None, **how: Unpack[How]
    ) -> Run:
        """Ask many: strings, `Query`s, a DataFrame with a `query` column, or a path of queries.

        The Run is under way when this returns, with the settings of `env`; iterate it to have results as they come,
        `.results` waits for all. What stages give is kept in the cache of `%%sage` cells, and looked for there first,
        under the name `cell`, if there is one. `how`: parallelism, retry, timeout … of every operator.
        """
        return Run.begun(self, as_queries(questions), in_cell(env or LocalEnvironment("run"), cell), **how)

    def to_yaml(self) -> str:
        """The pipeline as YAML; BadValueError where it holds code."""
        return to_yaml(self)

    @staticmethod
    def from_yaml(text: str) -> Stage:
        """The pipeline that `to_yaml` wrote: registered stages and plain arguments, and nothing that runs code.

        Raises BadValueError for anything else, UnknownNameError for a stage or an argument that is not known.
        """
        return as_stage(from_yaml(text), "a pipeline")

    def __rshift__(self, then: object) -> Stage:
        return reduce(Then, _chain(as_stage(then, ">>")), self)

    def __add__(self, other: object) -> Stage:
        parts = (*_operands(self), *_operands(as_stage(other, "+")))
        return Fused(tuple(stage for stage, _ in parts), "rrf", tuple(weight for _, weight in parts))

    def __mul__(self, weight: object) -> Stage:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise BadValueError(f"a pipeline is weighed with a number, as in 0.7 * {self!r}, got {weight!r}")
        return Weighted(self, float(weight))

    __rmul__ = __mul__

    def __or__(self, other: object) -> Stage:
        return _combined(self, as_stage(other, "|"), "max")

    def __and__(self, other: object) -> Stage:
        return _combined(self, as_stage(other, "&"), "min")

    def __mod__(self, k: int) -> Stage:
        return self >> Cut(k)


@dataclass(frozen=True)
class Operation(Stage):
    """A stage that is one operator."""

    @property
    def batch(self) -> tuple[int, float]:
        """How many questions it takes at once, and the seconds that the first waits for the others."""
        return BATCH

    @abstractmethod
    def function(self) -> Retrieving:
        """The running half, copied for each subtask and opened where it runs."""

    def function_after(self, path: Path) -> Retrieving:  # noqa: ARG002  most want to know nothing of it
        """The running half of one that results come to by `path`."""
        return self.function()

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """The operator behind `stream`."""
        on, label = path.then(self), self.label
        options: Any = {"name": label, "batch": self.batch, "on_error": partial(failed, label), **how}
        if not self.runs_model and "num_gpus" in options.get("resources", ()):
            options["resources"] = {name: each for name, each in options["resources"].items() if name != "num_gpus"}
        function, mark = self.function_after(path), on.mark(label, kept=self.keeps)
        return stream.map(Answering(function, mark, waits=self.waits), **options), on


@dataclass(frozen=True)
class Chain(Stage):
    """A stage that is several, one behind the other."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Stage, ...]:
        """These."""

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """Those of each step, in turn."""
        for step in self.steps:
            stream, path = step.laid(stream, path, unnamed(how))
        return stream, path


@stage("then")
@dataclass(frozen=True, repr=False)
class Then(Chain):
    """`first >> second`; refused where the second lacks what it needs. Chains lean left: (a >> b) >> c."""

    first: Stage
    second: Stage

    def __post_init__(self) -> None:
        if self.second.needs == "ranking" and self.first.gives == "query":
            raise BadValueError(
                f"{self.second!r} needs a ranking and {self.first!r} gives none; put a retriever between them"
            )

    def __repr__(self) -> str:
        if isinstance(self.second, Cut):
            return f"{bracketed(self.first)} % {self.second.k}"
        return f"{bracketed(self.first)} >> {bracketed(self.second)}"

    @property
    def needs(self) -> Kind:
        """What the first stage needs."""
        return self.first.needs

    @property
    def gives(self) -> Kind:
        """What the second stage gives."""
        return self.second.gives

    @property
    def floor(self) -> float | None:
        """The last stage's, unless that leaves scores as they are."""
        return self.first.floor if self.second.keeps_scores else self.second.floor

    @property
    def steps(self) -> tuple[Stage, ...]:
        """Those of the first, then those of the second."""
        return (*self.first.steps, *self.second.steps)


@dataclass(frozen=True, repr=False)
class Applied(Operation):
    """A function of one's own: a Result in, a Result out, of the same question; or a `MapFunction` that does so."""

    code: Any

    def __repr__(self) -> str:
        return name_of(self.code)

    def function(self) -> Retrieving:
        """The function, each of whose results is checked."""
        return Applying(self.code, self.label)


@stage("cut")
@dataclass(frozen=True)
class Cut(Operation):
    """The first `k` of each ranking."""

    k: int

    def __post_init__(self) -> None:
        check_k(self.k, "%")

    @property
    def needs(self) -> Kind:
        """A ranking to cut."""
        return "ranking"

    @property
    def keeps_scores(self) -> bool:
        """Yes."""
        return True

    @property
    def keeps(self) -> bool:
        """No."""
        return False

    @property
    def label(self) -> str:
        """As it is written."""
        return f"% {self.k}"

    def function(self) -> Retrieving:
        """`Result.top` of each."""
        return Cutting(self.k)


@stage("weighted")
@dataclass(frozen=True, repr=False)
class Weighted(Chain):
    """A pipeline whose word counts `weight` times in the fusion it stands in; alone, its scores are scaled."""

    stage: Stage
    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise BadValueError(f"a weight must be 0 or more and finite, got {self.weight}")

    def __repr__(self) -> str:
        return f"{printed(self.weight)} * {bracketed(self.stage)}"

    @property
    def needs(self) -> Kind:
        """What the stage needs."""
        return self.stage.needs

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The stage's, then its scores scaled."""
        return (*self.stage.steps, Scale(self.weight))


@stage("scale")
@dataclass(frozen=True)
class Scale(Operation):
    """Every score times `weight`."""

    weight: float

    @property
    def needs(self) -> Kind:
        """A ranking to scale."""
        return "ranking"

    @property
    def keeps(self) -> bool:
        """No."""
        return False

    @property
    def label(self) -> str:
        """As hits' steps name it."""
        return f"x{self.weight:g}"

    def function(self) -> Retrieving:
        """A `Scaling`."""
        return Scaling(self.weight)


@stage("fused")
@dataclass(frozen=True, repr=False)
class Fused(Stage):
    """Several pipelines on the same question, made one ranking by a fusion rule; `a + b + c` is one fusion of three."""

    parts: tuple[Stage, ...]
    rule: str = "rrf"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        get_fusion(self.rule)
        object.__setattr__(self, "weights", check_weights(self.weights, len(self.parts)))
        for part in self.parts:
            if part.gives != "ranking":
                raise BadValueError(f"{part!r} gives no ranking to fuse; end it with a retriever")

    def __repr__(self) -> str:
        if self.sign is None:
            weights = "" if set(self.weights) == {1.0} else f", weights={self.weights}"
            return f"fuse({', '.join(map(repr, self.parts))}, by={self.rule!r}{weights})"
        weighed = zip(self.parts, self.weights, strict=True)
        return self.sign.join(bracketed(p) if w == 1 else f"{printed(w)} * {bracketed(p)}" for p, w in weighed)

    @property
    def sign(self) -> str | None:
        """The operator that it is written with; None where it takes `fuse()`: the operator would open a part, say."""
        match self.rule:
            case "rrf":
                plain = [part for part, weight in zip(self.parts, self.weights, strict=True) if weight == 1]
                return None if any(_operands(part) != [(part, 1.0)] for part in plain) else " + "
            case "max" | "min" if set(self.weights) == {1.0}:
                opened = any(_operands_of(part, self.rule) != (part,) for part in self.parts)
                return None if opened else {"max": " | ", "min": " & "}[self.rule]
        return None

    @property
    def needs(self) -> Kind:
        """A ranking, if any part needs one."""
        return "ranking" if any(part.needs == "ranking" for part in self.parts) else "query"

    @property
    def branches(self) -> tuple[Stage, ...]:
        """The parts."""
        return self.parts

    @property
    def label(self) -> str:
        """The rule."""
        return self.rule

    @property
    def keeps(self) -> bool:
        """No: its parts do."""
        return False

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """A branch for each part, gathered question by question, then fused."""
        inner: Any = unnamed(how)
        first, *others = [part.laid(stream, self.inward(path), inner)[0] for part in self.parts]
        where: Any = {name: inner[name] for name in ("parallelism", "resources", "together") if name in inner}
        gathered = first.gather(*others, on=query_id, **where)
        fusing = Fusing(tuple(map(repr, self.parts)), self.rule, self.weights, tuple(p.floor for p in self.parts))
        options: Any = {"name": self.label, "on_error": partial(unfused, self.rule), **inner}
        return gathered.map(fusing, **options), path.then(self)


def fuse(*parts: Stage, by: str = "rrf", weights: Sequence[float] = ()) -> Stage:
    """Fuse rankings by the rule called `by`: rrf, isr, minmax, tmm, zscore, dbsf, borda, condorcet, max or min.

    Raises UnknownNameError for another rule, BadValueError where the weights don't match.

    >>> fuse(Applied(len) % 10, Applied(max), by="tmm", weights=(0.3, 0.7))
    fuse(len % 10, max, by='tmm', weights=(0.3, 0.7))
    """
    if len(parts) < 2:
        raise BadValueError(f"fuse() needs two pipelines or more, got {len(parts)}")
    return Fused(tuple(as_stage(part, "fuse()") for part in parts), by, tuple(weights))


def as_stage(value: object, sign: str) -> Stage:
    """`value`, or the stage that applies it, if it is a function; `sign` is what a sentence calls who was given it."""
    if isinstance(value, Stage):
        return value
    if callable(value) and not (isinstance(value, type) and issubclass(value, Stage)):
        return Applied(value)
    raise BadValueError(f"{sign} takes pipelines and functions of a Result, got {value!r} ({type(value).__name__})")


def _chain(stage: Stage) -> list[Stage]:
    return [*_chain(stage.first), stage.second] if isinstance(stage, Then) else [stage]


def _operands(stage: Stage) -> list[tuple[Stage, float]]:
    """The parts of a sum with their weights: nested sums are opened, so that `+` is associative."""
    if isinstance(stage, Fused) and stage.rule == "rrf":
        return list(zip(stage.parts, stage.weights, strict=True))
    return [(stage.stage, stage.weight)] if isinstance(stage, Weighted) else [(stage, 1.0)]


def _combined(left: Stage, right: Stage, rule: str) -> Stage:
    return Fused((*_operands_of(left, rule), *_operands_of(right, rule)), rule)


def _operands_of(stage: Stage, rule: str) -> tuple[Stage, ...]:
    plain = isinstance(stage, Fused) and stage.rule == rule and set(stage.weights) == {1.0}
    return cast(Any, stage).parts if plain else (stage,)


def bracketed(stage: Stage) -> str:
    """`stage` printed so that it can stand inside an expression."""
    operators = isinstance(stage, (Then, Weighted)) or (isinstance(stage, Fused) and stage.sign is not None)
    return f"({stage!r})" if operators else repr(stage)


Pipeline = Stage  # a whole pipeline is a stage
