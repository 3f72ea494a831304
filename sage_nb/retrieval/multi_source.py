"""Multi-source retrieval: a question asked of several sources at once, whose rankings become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.records.values import Result
from sage_nb.retrieval.evidence import evidence_of
from sage_nb.retrieval.function_source import FunctionSource
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.given import check_k, check_number, check_weights, unnamed
from sage_nb.retrieval.identity import digest_of
from sage_nb.retrieval.merging import POOLED, Arrived, Merge, Merging, Quota
from sage_nb.retrieval.near import NearDuplicates
from sage_nb.retrieval.path import Path, Patience
from sage_nb.retrieval.ranking import failed, query_id
from sage_nb.retrieval.recall import Known, Passing, result_of
from sage_nb.retrieval.routes import Routes
from sage_nb.retrieval.routing import Routing, astray, led, routed_id
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.check import callable_with, name_of

ANY: Quota = (0, 1_000_000_000)
Route = Callable[[str], str | Iterable[str] | Mapping[str, float]] | Routes


class Searching(TypedDict, total=False):
    """The options of `multi_source`."""

    weights: Mapping[str, float] | Sequence[float]
    per_source: int | Mapping[str, int | Quota]
    fusion: str
    timeout: float | None
    on_error: Literal["degrade", "fail"]
    route: Route | None
    near: float | None
    k: int


@stage("multi_source")
@dataclass(frozen=True, repr=False)
class MultiSource(Stage):
    """Sources under names, on the same question, each in a thread of its own; see `multi_source`."""

    names: tuple[str, ...]
    parts: tuple[Stage, ...]
    weights: tuple[float, ...] = ()
    quotas: tuple[Quota, ...] = ()
    fusion: str = POOLED
    timeout: float | None = 30.0
    on_error: str = "degrade"
    route: object = None
    near: float | None = 0.9
    k: int = 100

    def __post_init__(self) -> None:
        check_k(self.k, "multi_source()")
        _check_parts(self.names, self.parts)
        object.__setattr__(self, "weights", check_weights(self.weights, len(self.parts)))
        object.__setattr__(self, "quotas", self.quotas or (ANY,) * len(self.parts))
        _check_quotas(self.names, self.quotas, self.k)
        if self.fusion not in (POOLED, *FUSIONS):
            raise UnknownNameError.of("fusion rule", str(self.fusion), (POOLED, *FUSIONS))
        if self.timeout is not None:
            check_number(self.timeout, "timeout= of multi_source(), in seconds,", above=0)
        if self.on_error not in ("degrade", "fail"):
            raise UnknownNameError.of("on_error= of multi_source()", str(self.on_error), ("degrade", "fail"))
        if self.near is not None:
            NearDuplicates(self.near)
        if self.route is not None and not isinstance(self.route, Routes):
            callable_with(self.route, 1, "route=")

    def __repr__(self) -> str:
        sources = ", ".join(f"{name!r}: {part!r}" for name, part in zip(self.names, self.parts, strict=True))
        given = {name: value for name, value in self._given().items() if value is not None}
        options = "".join(f", {name}={value}" for name, value in given.items())
        return f"multi_source({{{sources}}}{options})"

    @property
    def branches(self) -> tuple[Stage, ...]:
        """The sources."""
        return self.parts

    @property
    def label(self) -> str:
        """The name of the last step of its hits."""
        return "multi_source"

    @property
    def keeps(self) -> bool:
        """No: its sources do."""
        return False

    def inward(self, path: Path) -> Path:
        """Sources can be done without."""
        return path.into_branch(Patience(self.timeout))

    def identity(self) -> Fingerprinted | Unknown:
        """Unknown where a source cannot be read: the others are served all the same."""
        try:
            return super().identity()
        except SageError as error:
            return Unknown(str(error))

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """The question routed, a branch of its own thread for each source, gathered question by question, merged."""
        on, inner = path.then(self), dict(unnamed(how))
        routed = self._routed(stream, path, inner)
        inner.pop("on_error", None)  # what becomes of a source that fails is decided behind all of them
        branches = [self._branch(at, (stream, routed), path, inner) for at in range(len(self.parts))]
        where: Any = {name: inner[name] for name in ("parallelism", "resources", "together") if name in inner}
        gathered = routed.gather(*branches, on=(routed_id, *(query_id for _ in branches)), **where)
        merging: Any = {"name": self.label, "on_error": partial(_unmerged, self.label), **unnamed(how)}
        return gathered.map(Merging(self._merge()), **merging), on

    def _routed(self, stream: Stream, path: Path, how: Mapping[str, Any]) -> Stream:
        routing: Any = {"on_error": partial(astray, "route", len(self.parts)), **how, "name": "route"}
        counting = tuple(float(weight > 0) for weight in self.weights)
        what = ("route", self.names, counting, digest_of(self.route) or id(self.route))
        return path.once(stream, what, lambda: stream.map(Routing(self.names, counting, self.route), **routing))

    def _branch(self, at: int, come: tuple[Stream, Stream], path: Path, how: Mapping[str, Any]) -> Stream:
        """A source, in a thread of its own, behind what has come: as it came where all of it is for that source."""
        stream, routed = come
        inward = self.inward(path)
        options: Any = {name: each for name, each in how.items() if name in ("parallelism", "resources", "together")}
        name = f"to {self.names[at]}"
        if self.route is None and self.weights[at]:
            what = ("to", self.parts[at].sameness)
            asked = path.once(stream, what, lambda: stream.key_by(query_id).map(_as_it_came, name=name, **options))
        else:
            leading = partial(led, at, inward.depth)
            asked = path.once(routed, ("to", at), lambda: routed.key_by(routed_id).map(leading, name=name, **options))
        try:
            return self.parts[at].laid(asked, inward, how)[0]  # type: ignore[arg-type]
        except SageError as error:
            return asked.map(partial(_closed, str(error), inward.depth), name=self.names[at], **options)

    def _merge(self) -> Merge:
        return Merge(
            self.label,
            self.names,
            self.weights,
            self.quotas,
            self.fusion,
            self.near,
            self.on_error,
            self.k,
            tuple(map(evidence_of, self.parts)),
            tuple(part.floor for part in self.parts),
            tuple(sorted(self.folders)),
        )

    def _given(self) -> dict[str, str | None]:
        """The options that are not as they are left out, printed."""
        weights = {name: each for name, each in zip(self.names, self.weights, strict=True) if each != 1}
        quotas = {name: each for name, each in zip(self.names, self.quotas, strict=True) if each != ANY}
        route = self.route if isinstance(self.route, Routes) or self.route is None else name_of(self.route)
        plain = {name: getattr(self, name) for name in ("fusion", "timeout", "on_error", "near", "k")}
        changed = {n: repr(v) for n, v in plain.items() if v != type(self).__dataclass_fields__[n].default}
        return {
            "weights": repr(weights) if weights else None,
            "per_source": repr(quotas) if quotas else None,
            "route": None if route is None else str(route),
            **changed,
        }


def multi_source(sources: Mapping[str, Stage | Callable[[str], object]], **options: Unpack[Searching]) -> Stage:
    """A question asked of several sources at the same time; the best `k` of what they find, as one ranking.

    A source is a pipeline over a collection of any model, filtered where you like (`papers.where(year=2020).dense(9)`),
    or a function of a question's text (an endpoint's client, say) that gives Documents, best first, pairs of Document
    and score, or a Result. Each step of a hit names its source, as in "papers: bm25".

    - `fusion`: "pooled" ranks all hits by what they can be compared by, as if they came from one collection (see
      `sage_nb.retrieval.evidence`, with its sources); any rule of `fuse` scales each source's ranking by itself, which
      is worse where sources have nothing in common: each has a first place to give.
    - `weights`: how much the word of each source counts, by name (1 for the others) or in their order; 0: not asked.
    - `per_source`: hits of a source, at the most; or by name that, or (at least, at most) of the `k`.
    - `timeout`: seconds that a source may take for each of its steps, which take questions by the batch; one that is
      late three times running rests for 30.
    - `on_error`: a source that fails or is late is named in the Result's `missing`, a note says why, and the rest is
      served ("degrade"), or the question fails ("fail"). It fails where all are down.
    - `route`: a function of the question's text, to names of the sources to ask, or weights by name; or what
      `learn_routes` has learned.
    - `near`: hits of different sources that resemble each other so much are one hit, with the steps of both, and
      `also` where the others lie; None: never. See `sage_nb.retrieval.near`.

    A source that finds nothing says so in a note. Equal scores are ordered by the documents' ids.

    Raises BadValueError for what is no source, or where an option does not fit the sources.

    >>> from sage_nb.records.values import Document
    >>> def wiki(text):
    ...     return [Document("light", f"All about {text}.")]
    >>> def news(text):
    ...     raise ConnectionError("refused")
    >>> found = multi_source({"wiki": wiki, "news": news}, weights={"wiki": 2.0}).search("rays")
    >>> [(hit.document.id, hit.collection) for hit in found], found.missing
    ([('light', 'wiki')], ('news',))
    """
    if unknown := set(options) - Searching.__optional_keys__:
        raise UnknownNameError.of("option of multi_source()", min(unknown), Searching.__optional_keys__)
    if not isinstance(sources, Mapping) or not sources:
        raise BadValueError(
            f"multi_source() takes sources by name, {{'papers': papers.hybrid(20), …}}, got {sources!r:.60}"
        )
    names: tuple[str, ...] = tuple(sources)
    parts = tuple(_source(name, given) for name, given in sources.items())
    rest: Any = {name: each for name, each in options.items() if name not in ("weights", "per_source")}
    weights = _weights(names, options.get("weights") or ())
    return MultiSource(names, parts, weights, _quotas(names, options.get("per_source")), **rest)


def _source(name: str, given: object) -> Stage:
    if isinstance(given, Stage):
        return given
    if not callable(given) or isinstance(given, type):
        raise BadValueError(
            f"the source {name!r} is {given!r:.60}; give a pipeline such as papers.hybrid(20), or a function of a "
            f"question's text"
        )
    return FunctionSource(name, callable_with(given, 1, f"the source {name!r}"))


def _check_parts(names: Sequence[str], parts: Sequence[Stage]) -> None:
    if len(names) != len(parts) or not parts or len(set(names)) != len(names):
        raise BadValueError(f"multi_source() needs a name of its own for each source, got {names!r} for {len(parts)}")
    for name, part in zip(names, parts, strict=True):
        if not isinstance(name, str) or not name.strip():
            raise BadValueError(f"a source is called by a name, got {name!r}")
        if part.needs != "query" or part.gives != "ranking":
            raise BadValueError(f"the source {name!r} must begin and end with a retriever, got {part!r}")


def _weights(names: Sequence[str], given: Mapping[str, float] | Sequence[float]) -> tuple[float, ...]:
    if isinstance(given, Mapping):
        _check_names("weights", given, names)
        return tuple(given.get(name, 1.0) for name in names) if given else ()
    return tuple(given)


def _quotas(names: Sequence[str], given: int | Mapping[str, int | Quota] | None) -> tuple[Quota, ...]:
    if given is None:
        return ()
    if isinstance(given, Mapping):
        _check_names("per_source", given, names)
    by_name = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    quotas = [by_name.get(name, ANY) for name in names]
    return tuple(each if isinstance(each, tuple) else (0, each) for each in quotas)


def _check_names(option: str, given: Mapping[str, object], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise UnknownNameError.of(f"source in {option}=", str(name), names)


def _check_quotas(names: Sequence[str], quotas: Sequence[Any], k: int) -> None:
    if len(quotas) != len(names):
        raise BadValueError(f"{len(names)} sources have {len(quotas)} quotas; give one for each")
    for name, quota in zip(names, quotas, strict=True):
        match quota:
            case (int(least), int(most)) if 0 <= least <= most and most >= 1:
                continue
        raise BadValueError(
            f"per_source of {name!r} is a number of hits, 1 or more, or (at least, at most), got {quota!r}"
        )
    if (total := sum(least for least, _ in quotas)) > k:
        raise BadValueError(f"per_source asks for at least {total} hits, and k={k}; raise k, or ask for fewer")


def _as_it_came(value: Passing) -> Passing:
    return value


def _closed(reason: str, depth: int, value: Passing) -> Passing:
    """What comes of a source that cannot even be laid out."""
    if isinstance(value, Known) and value.depth >= depth:
        return value
    result = result_of(value)
    return result if result.error else Result(result.query, (), error=reason)


def _unmerged(label: str, gathered: Arrived, error: Exception) -> Result:
    """The result of a question whose sources were all down, or that could do without none."""
    return failed(label, gathered[0].value, error)
