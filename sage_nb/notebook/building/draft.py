"""A pipeline while it is built: its form, and what a person does to it, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from sage_nb.errors import BadValueError, SageError
from sage_nb.models.generator import GENERATORS
from sage_nb.notebook.building.catalogue import (
    EACH,
    FEEDBACK,
    GROUP_OF,
    GROUPS,
    SEVERAL,
    WRAPPING,
    Field,
    fields_of,
)
from sage_nb.notebook.building.form import Chain, Held, Node, chain_of, stage_of
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage

Path = Sequence[int | str]  # to a node: a step, then the branch and the step in it, …; the name of an argument's value
ORDER = list(GROUPS)
GONE = "that step is not there any more"


class Draft:
    """The form of a pipeline, and changes to it.

    A step is found by its path: `[1]` is the second of the pipeline, `[0, 2, 1]` the second in the third branch of the
    first, `[1, "generator"]` the generator of the second.

    >>> draft = Draft([Source("/books/tales")])
    >>> draft.add("rerank")
    >>> draft.set([1], "k", "3")
    >>> draft.stage()
    Collection('/books/tales').lexical(k=100) >> rerank(k=3)
    """

    def __init__(self, sources: Sequence[Source] = (), pipeline: Stage | None = None) -> None:
        self.held = Held()
        self.chain: Chain = chain_of(pipeline, self.held) if pipeline is not None else []
        self.know(sources)
        if pipeline is None and self.held.sources:
            self.chain = [self._search(self.held.sources[0])]

    def know(self, sources: Sequence[Source]) -> None:
        """Collections to choose from, beside those that are there."""
        for source in sources:
            self.held.source(source)

    def stage(self) -> Stage:
        """The pipeline; raises what makes it none."""
        return stage_of(self.chain, self.held)

    def node(self, path: Path) -> Node:
        """The step, or the argument's value, at a path."""
        steps, at = self._place(path)
        node = steps[at]
        for name in path:
            if isinstance(name, str):
                node = self._sound(node["fields"].get(name))
        return node

    def set(self, path: Path, name: str, given: object, branch: int | None = None) -> None:
        """An argument of a step, or of one of its branches.

        Raises BadValueError for what is no such thing; then nothing is changed.
        """
        node = self.node(path)
        if branch is None:
            node["fields"][name] = self._value(_named(fields_of(node["kind"]), name), given)
        else:
            field = _named(EACH[node["kind"]], name)
            _at(node["branches"], branch)[name] = self._value(field, given)

    def choose(self, path: Path, kind: str) -> None:
        """Another kind of step in its place; what was changed of the old one, and both have, stays changed."""
        steps, at = self._place(path)
        old, new = steps[at], self._fresh(kind, self._nearest(steps))
        new["fields"].update(_alike(old, kind))
        if "branches" in new:
            held = self._branches(old)
            new["branches"] = [_bare(kind, n, each) for n, each in enumerate([*held, *new["branches"][len(held) :]])]
        steps[at] = new

    def choose_value(self, path: Path, name: str, kind: str | None) -> None:
        """Another kind of generator, answerer or inner retriever; None: what goes without saying."""
        self.node(path)["fields"][name] = None if kind is None else self._inner(kind)

    def add(self, kind: str, path: Path = ()) -> None:
        """A step where such a step belongs, in the pipeline or in the branch at `path`."""
        steps = self._chain(path)
        new = self._fresh(kind, self._nearest(steps))
        last = max((at for at, each in enumerate(steps) if _rank(each) <= ORDER.index("search")), default=-1)
        group = ORDER.index(GROUP_OF[kind])
        if kind in WRAPPING:
            new["branches"] = [{"pipe": steps[: last + 1] or new["branches"][0]["pipe"]}]
            steps[: last + 1] = [new]
        elif kind in SEVERAL and last >= 0:
            new["branches"][0]["pipe"] = [steps[last]]
            steps[last] = new
        elif kind in FEEDBACK and last >= 0:
            steps[last + 1 : last + 1] = [new, deepcopy(steps[last])]
        elif GROUP_OF[kind] == "expand":
            steps.insert(0, new)
        else:
            place = [at for at, each in enumerate(steps) if _rank(each) <= group]
            steps.insert(max(place, default=-1) + 1, new)

    def search_too(self, path: Path) -> None:
        """One more pipeline beside those of a fusion; beside a step that is none, by fusing both."""
        steps, at = self._place(path)
        node = steps[at]
        if node["kind"] not in SEVERAL:
            node = {"kind": "fused", "fields": {"rule": "rrf"}, "branches": [_bare("fused", 0, {"pipe": [node]})]}
        new = self._search(self._other(node))
        node["branches"].append(_bare(node["kind"], len(node["branches"]), {"pipe": [new]}))
        steps[at] = node

    def remove(self, path: Path, branch: int | None = None) -> None:
        """Take out a step (of one that asks a pipeline, the pipeline stays), or a branch of one that fuses them."""
        steps, at = self._place(path)
        node = steps[at]
        if branch is None:
            asks = "branches" in node and node["kind"] not in SEVERAL
            steps[at : at + 1] = node["branches"][0]["pipe"] if asks else []
            return
        _at(node["branches"], branch)
        del node["branches"][branch]
        if len(node["branches"]) == 1 and node["kind"] == "fused":
            steps[at : at + 1] = node["branches"][0]["pipe"]

    def move(self, path: Path, by: int) -> None:
        """A step up or down among its neighbours."""
        steps, at = self._place(path)
        steps.insert(max(0, at + by), steps.pop(at))

    def _place(self, path: Path) -> tuple[Chain, int]:
        """The chain that a step stands in, and where."""
        numbers = [each for each in path if isinstance(each, int)]
        steps = self._chain(numbers[:-1])
        _at(steps, numbers[-1])
        return steps, numbers[-1]

    def _chain(self, path: Path) -> Chain:
        steps = self.chain
        numbers: list[Any] = list(path)
        for step, branch in zip(numbers[::2], numbers[1::2], strict=True):
            steps = _at(_at(steps, step).get("branches", ()), branch)["pipe"]
        return steps

    def _sound(self, node: Any) -> Node:
        if not isinstance(node, dict):
            raise BadValueError(GONE)
        return node

    def _value(self, field: Field, given: Any) -> Any:
        """What a control says, as a form holds it."""
        if field.control == "source":
            _at(self.held.sources, given)
        return read(field, given)

    def _nearest(self, steps: Chain) -> Source | None:
        """What the steps search last, or else what comes first in the list."""
        found = [node["fields"]["source"] for node in steps if "source" in node["fields"]]
        return self.held.sources[found[-1]] if found else next(iter(self.held.sources), None)

    def _other(self, node: Node) -> Source:
        """A collection that none of the branches searches, if there is one."""
        used = {each["fields"]["source"] for b in node["branches"] for each in b["pipe"] if "source" in each["fields"]}
        free = [source for number, source in enumerate(self.held.sources) if number not in used]
        return next(iter(free), self._needed(self._nearest(node["branches"][-1]["pipe"])))

    def _needed(self, source: Source | None) -> Source:
        if source is None:
            raise BadValueError("there is no collection to search; make one with sage.Collection('name').add(…)")
        return source

    def _search(self, source: Source) -> Node:
        return self._fresh("hybrid" if _has_vectors(source) else "lexical", source)

    def _fresh(self, kind: str, source: Source | None) -> Node:
        """A new node, its arguments as they are by default."""
        fields = {field.name: self._start(field, source) for field in fields_of(kind) if field.control != "kept"}
        node: Node = {"kind": kind, "fields": fields}
        if kind in SEVERAL:
            node["branches"] = [_bare(kind, n, {"pipe": [self._search(self._needed(source))]}) for n in range(2)]
        elif kind in WRAPPING:
            node["branches"] = [{"pipe": [self._search(self._needed(source))]}]
        return node

    def _inner(self, kind: str) -> Node:
        """The value of an argument; a retriever that stands in another one searches what that does."""
        own = [field for field in fields_of(kind) if field.control not in ("kept", "source")]
        return {"kind": kind, "fields": {field.name: self._start(field, None) for field in own}}

    def _start(self, field: Field, source: Source | None) -> Any:
        if field.control == "source":
            return self.held.source(self._needed(source))
        if field.control == "numbers":
            return [1.0, 1.0]
        if field.name == "called":
            return next(iter(GENERATORS), "")
        if field.control == "value" and not field.optional:
            own = "generator" if GENERATORS else "openai_chat"
            return self._inner("extractive" if "extractive" in field.choices else own)
        return field.default

    def _branches(self, node: Node) -> list[Node]:
        """Those of a step, or itself as one."""
        found: list[Node] = node.get("branches", [{"pipe": [node]}])
        return found


def read(field: Field, given: Any) -> Any:
    """What a control says, as a form holds it; BadValueError for what it cannot mean.

    >>> read(Field("k", "whole"), "12"), read(Field("top", "whole", optional=True), "")
    (12, None)
    """
    if field.optional and given in ("", None):
        return None
    if field.control == "numbers" and isinstance(given, list):
        return [read(Field(field.name, "number"), each) for each in given]
    if field.control in ("whole", "number"):
        return _number(field, given)
    if field.control in ("choice", "list") and given not in field.choices:
        raise BadValueError(f"{field.name} is one of {', '.join(map(str, field.choices))}, got {given!r:.60}")
    kinds = {"flag": bool, "source": int}
    if not isinstance(given, kinds.get(field.control, str)) or field.control in ("value", "kept"):
        raise BadValueError(f"{field.name} cannot be {given!r:.60}; choose another")
    return given


def _number(field: Field, given: Any) -> float:
    whole = field.control == "whole"
    try:
        number = int(str(given)) if whole else float(str(given))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadValueError(f"{field.name} must be a {'whole ' * whole}number, got {str(given)!r:.60}")
    return number


def _rank(node: Node) -> int:
    """Where in a pipeline such a step stands; what has no form stays with what is before it."""
    return ORDER.index(GROUP_OF.get(node["kind"], "search"))


def _named(fields: Sequence[Field], name: str) -> Field:
    found = next((field for field in fields if field.name == name), None)
    if found is None:
        raise BadValueError(f"there is no argument {name!r} here")
    return found


def _at(held: Sequence[Any], at: object) -> Any:
    if not isinstance(at, int) or not 0 <= at < len(held):
        raise BadValueError(GONE)
    return held[at]


def _alike(old: Node, kind: str) -> Node:
    """What stands in a step otherwise than by default, and fits the arguments of another kind."""
    given = old["fields"]
    defaults = {field.name: field.default for field in fields_of(old["kind"])} if given else {}
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    fitting = [
        field for field in fields_of(kind) if field.control != "choice" or changed.get(field.name) in field.choices
    ]
    return {field.name: changed[field.name] for field in fitting if field.name in changed}


def _bare(kind: str, number: int, given: Node) -> Node:
    """A branch of a step of that kind: what is given, the rest as it is by default."""
    beside = {field.name: field.default for field in EACH.get(kind, ())}
    if "name" in beside:
        beside["name"] = f"source {number + 1}"
    return {name: given.get(name, default) for name, default in [*beside.items(), ("pipe", [])]}


def _has_vectors(source: Source) -> bool:
    try:
        return bool(COLLECTIONS.folder(source.path).snapshot().manifest.settings.encoder)
    except SageError:
        return False
