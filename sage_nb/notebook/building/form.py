"""A pipeline as a form and back: plain data that names stages and their arguments, whatever the pipeline is.

A chain is a list of nodes, a node `{"kind": "rerank", "fields": {"k": 10}}`. One that puts pipelines together has
`"branches"`, a chain each with what belongs to it. What there is no form for (one's own stages and functions, an
argument that is no plain value) is a node of the kind "kept": its expression, and the number under which the thing
itself is held. So nothing is lost: `stage_of(chain_of(pipeline, held), held) == pipeline` for every pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import reduce
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.notebook.building.catalogue import BY_DEFAULT, OF_BRANCHES, PIPES, SEVERAL, Field, fields_of, kind_of
from sage_nb.retrieval.hierarchical import coarse_of, fine_of
from sage_nb.retrieval.multi_source import ANY
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage, Then, as_stage
from sage_nb.retrieval.yaml import kinds

Node = dict[str, Any]
Chain = list[Node]

PLAIN: Mapping[str, tuple[type, ...]] = {
    "flag": (bool,),
    "whole": (int,),
    "number": (int, float),
    "text": (str,),
    "choice": (str,),
}
DEFAULTS = {"coarse": coarse_of, "fine": fine_of}


class Held:
    """What forms refer to by number: collections to search, and things that there is no form for."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self._kept: list[Any] = []

    def source(self, source: Source) -> int:
        """The number of a source, found or new."""
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source)

    def keep(self, value: Any) -> Node:
        """The node of what has no form."""
        self._kept.append(value)
        return {"kind": "kept", "fields": {}, "number": len(self._kept) - 1, "expression": _expression(value)}

    def kept(self, node: Node) -> Any:
        """What such a node is for."""
        return self._kept[node["number"]]


def chain_of(pipeline: Stage, held: Held) -> Chain:
    """The form of a pipeline.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> chain_of(rerank(k=3) >> rerank(k=2, model="m"), Held())[1]
    {'kind': 'rerank', 'fields': {'k': 2, 'model': 'm', 'top': None, 'budget': None}}
    """
    if type(pipeline) is Then:
        return [*chain_of(pipeline.first, held), node_of(pipeline.second, held)]
    return [node_of(pipeline, held)]


def node_of(value: Any, held: Held) -> Node:
    """The form of one stage, or of a generator or an answerer; a chain within a chain is a node, too."""
    kind = kind_of(value)
    if kind == "then":
        return {"kind": "then", "fields": {}, "branches": [{"pipe": chain_of(value, held)}]}
    if kind is None:
        return held.keep(value)
    node: Node = {"kind": kind, "fields": dict(_fields(kind, value, held))}
    if kind in PIPES:
        node["branches"] = _branches(kind, value, held)
    return node


def stage_of(chain: Chain, held: Held) -> Stage:
    """The pipeline of a form.

    Raises BadValueError for an empty one, and what the stages raise that do not take what stands in it.
    """
    if not chain:
        raise BadValueError("the pipeline has no steps yet; add a search")
    return reduce(Then, (as_stage(value_of(node, held), "a pipeline") for node in chain))


def value_of(node: Node, held: Held, within: Source | None = None) -> Any:
    """The stage, generator or answerer of a node; one that stands `within` a source searches that."""
    kind = node["kind"]
    if kind == "kept":
        return held.kept(node)
    if kind == "then":
        return stage_of(node["branches"][0]["pipe"], held)
    given = {} if within is None else {"source": within}
    for field in fields_of(kind):
        if field.name in node["fields"]:
            given[field.name] = _read(field, node["fields"][field.name], held, given.get("source"))
    if kind in PIPES:
        given |= _joined(kind, node["branches"], held)
    return kinds()[kind](**given)


def _fields(kind: str, value: Any, held: Held) -> Iterator[tuple[str, Any]]:
    source = getattr(value, "source", None)
    defaults = {each.name: each.default for each in fields(value)}
    for field in fields_of(kind):
        given = getattr(value, field.name)
        if field.control != "kept" or given != defaults[field.name]:
            yield field.name, _written(field, given, held, source)


def _written(field: Field, given: Any, held: Held, source: Source | None) -> Any:
    """An argument as it stands in a form."""
    if given is None:
        return None
    if field.control == "source":
        return held.source(given)
    if field.name in BY_DEFAULT and source is not None:
        return None if given == DEFAULTS[field.name](source) else _inside(node_of(given, held))
    if field.control == "value":
        return node_of(given, held)
    if field.control == "list":
        return ", ".join(given)
    if field.control == "numbers":
        return list(given)
    fits = isinstance(given, PLAIN.get(field.control, ())) and (field.control == "flag" or not isinstance(given, bool))
    return given if fits else held.keep(given)


def _inside(node: Node) -> Node:
    """Of a retriever of a collection that goes without saying."""
    return {**node, "fields": {name: value for name, value in node["fields"].items() if name != "source"}}


def _read(field: Field, given: Any, held: Held, source: Source | None) -> Any:
    """An argument as a stage takes it."""
    if isinstance(given, dict):
        return value_of(given, held, source if field.name in BY_DEFAULT else None)
    if field.control == "source":
        return held.sources[given]
    if given is None and field.name in BY_DEFAULT and source is not None:
        return DEFAULTS[field.name](source)
    if field.control == "list":
        return tuple(given.split(", "))
    return tuple(given) if field.control == "numbers" else given


def _branches(kind: str, value: Any, held: Held) -> list[Node]:
    """The pipelines that a stage puts together, each with what belongs to it."""
    if kind not in SEVERAL:
        return [{"pipe": chain_of(getattr(value, PIPES[kind]), held)}]
    branches = [{"weight": w, "pipe": chain_of(p, held)} for p, w in zip(value.parts, value.weights, strict=True)]
    if kind == "multi_source":
        for branch, name, (least, most) in zip(branches, value.names, value.quotas, strict=True):
            branch.update({"name": name, "at least": least, "at most": None if most == ANY[1] else most})
    return branches


def _joined(kind: str, branches: list[Node], held: Held) -> dict[str, Any]:
    """The arguments that these are."""
    pipes = tuple(stage_of(branch["pipe"], held) for branch in branches)
    if kind not in SEVERAL:
        return {PIPES[kind]: pipes[0]}
    given: dict[str, Any] = {"parts": pipes, "weights": tuple(branch["weight"] for branch in branches)}
    if "quotas" in OF_BRANCHES[kind]:
        given["names"] = tuple(branch["name"] for branch in branches)
        given["quotas"] = tuple(
            (branch["at least"], ANY[1] if branch["at most"] is None else branch["at most"]) for branch in branches
        )
    return given


def _expression(value: Any) -> str:
    """What a function is called, and how everything else prints itself."""
    return getattr(value, "__name__", "") or repr(value)
