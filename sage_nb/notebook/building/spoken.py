"""A pipeline as the text of a `%%sage` cell, in the names that a notebook has for its collections and functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from sage_nb.errors import SageError
from sage_nb.models.generator import Generator
from sage_nb.notebook.cell import pipeline_of
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Cut, Stage, Then, bracketed
from sage_nb.retrieval.view import View

WIDTH = 72  # characters of a pipeline that stays on one line


@dataclass(frozen=True, repr=False)
class Called(Source):
    """A source that prints as what a notebook calls it."""

    called: str = field(kw_only=True)
    in_parts: bool = field(kw_only=True)

    @property
    def whole(self) -> bool:
        """Whether the one that it stands for is."""
        return not self.in_parts

    def __repr__(self) -> str:
        return f"{self.called}{self.filtered}"


class Named:
    """Stands for a function under the name that a notebook has for it."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, value: Any) -> Any:
        """Never called: it prints."""
        return value


class Names:
    """What a notebook calls collections, views of them, and functions."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        held = [(name, value) for name, value in namespace.items() if not name.startswith("_") and name.isidentifier()]
        self._views = [(view.source, name) for name, view in held if isinstance(view, View)]
        self._others = {id(value): name for name, value in reversed(held)}

    def source(self, source: Source) -> Source:
        """Its stand-in: under its own name, or that of the collection that it filters, or what opens that."""
        whole = replace(source, only=None)
        for wanted, only in ((source, None), (whole, source.only)):
            name = next((name for known, name in self._views if known == wanted), None)
            if name is not None:
                return Called(source.path, only, called=name, in_parts=not source.whole)
        return Called(source.path, source.only, called=repr(whole), in_parts=not source.whole)

    def function(self, function: Any) -> Any:
        """Its stand-in, or itself where there is no name for it."""
        name = self._others.get(id(function))
        return function if name is None else Named(name)


def expression(pipeline: Stage, namespace: Mapping[str, Any]) -> str:
    """The pipeline as a cell says it: on one line, or a step a line where that would be long.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> print(expression(rerank(k=100, model="models/cheap") >> rerank(k=10, model="models/strong", top=30), {}))
    rerank(k=100, model='models/cheap')
    >> rerank(k=10, model='models/strong', top=30)
    """
    said = named(pipeline, namespace)
    text = _lines(said, " ")
    return text if len(text) <= WIDTH else _lines(said, "\n")


def named(pipeline: Stage, namespace: Mapping[str, Any]) -> Stage:
    """The pipeline, printing collections and functions as the notebook calls them; it is there to be looked at."""
    made: Stage = _called(pipeline, Names(namespace))
    return made


def unsaid(text: str, pipeline: Stage, namespace: Mapping[str, Any]) -> str:
    """Why this text does not make that pipeline; "" where it does.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> unsaid("rerank(k=3)", rerank(k=3), {}), unsaid("rerank(k=3)", rerank(k=4), {})
    ('', 'a cell cannot say this pipeline: as it is written it is another')
    """
    nameless = ", ".join(_nameless(pipeline, Names(namespace)))
    if nameless:
        return f"a cell cannot say this pipeline: the notebook has no name for {nameless}; give it one"
    try:
        made = pipeline_of(text, dict(namespace))
    except (SageError, NameError, AttributeError, TypeError, ValueError) as error:
        return f"a cell cannot say this pipeline: {error}"
    return "" if made == pipeline else "a cell cannot say this pipeline: as it is written it is another"


def _lines(pipeline: Stage, between: str) -> str:
    """Steps behind each other; a cut is written behind what it cuts."""
    text, whole = "", True  # whole: it can be cut as it stands
    for step in _steps(pipeline):
        if not text:
            text = repr(step) if step is pipeline else bracketed(step)
        elif isinstance(step, Cut):
            text, whole = f"{text if whole else f'({text})'} % {step.k}", False
        else:
            text, whole = f"{text}{between}>> {bracketed(step)}", False
    return text


def _steps(pipeline: Stage) -> Iterator[Stage]:
    if type(pipeline) is Then:
        yield from _steps(pipeline.first)
        yield pipeline.second
    else:
        yield pipeline


def _called(value: Any, names: Names) -> Any:
    """A copy of a pipeline, or of an argument of one, in which everything is called as the notebook calls it."""
    if isinstance(value, Source):
        return names.source(value)
    if isinstance(value, tuple):
        return tuple(_called(each, names) for each in value)
    if _ours(value):
        given = {each.name: getattr(value, each.name) for each in fields(value)}
        changed = {name: _called(each, names) for name, each in given.items()}
        return replace(value, **{name: each for name, each in changed.items() if each is not given[name]})
    return names.function(value) if callable(value) else value


def _nameless(value: Any, names: Names) -> Iterator[str]:
    """Functions in a pipeline that there is no name for."""
    if isinstance(value, tuple):
        for each in value:
            yield from _nameless(each, names)
    elif _ours(value):
        yield from _nameless(tuple(getattr(value, each.name) for each in fields(value)), names)
    elif callable(value) and names.function(value) is value:
        yield getattr(value, "__name__", type(value).__name__)


def _ours(value: Any) -> bool:
    """Whether it is a stage of ours, whose arguments can be looked at."""
    ours = type(value).__module__.startswith("sage_nb.")
    return ours and is_dataclass(value) and isinstance(value, Stage) and not isinstance(value, Generator)
