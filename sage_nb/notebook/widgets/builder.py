"""A pipeline built by choosing: a form on the left, its graph on the right, and below the cell that says the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import traitlets
from IPython.core.getipython import get_ipython

from sage_nb.errors import BadValueError, SageError
from sage_nb.notebook.building.catalogue import catalogue
from sage_nb.notebook.building.draft import Draft
from sage_nb.notebook.building.graph import graph_of
from sage_nb.notebook.building.spoken import Names, expression, named, unsaid
from sage_nb.notebook.display import short
from sage_nb.notebook.widgets.drawn import Drawn
from sage_nb.records import markup
from sage_nb.records.disk import home
from sage_nb.records.drawing import drawing, drawn
from sage_nb.records.surrogates import encodable
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.view import View

EDITS: Mapping[str, Callable[..., None]] = {
    "set": Draft.set,
    "choose": Draft.choose,
    "choose_value": Draft.choose_value,
    "add": Draft.add,
    "search_too": Draft.search_too,
    "remove": Draft.remove,
    "move": Draft.move,
}


class PipelineBuilder(Drawn):
    """Builds a pipeline of the collections at hand, or opens one: choose, see its graph, take its `%%sage` cell.

    To choose from are the collections of the home and those that the notebook has names for, also parts of them
    (`book.where(…)`) and shards. Whatever pipeline is opened is shown as it is: stages that the form has no fields for
    stay, as their expression. `pipeline` is what has been built, `cell` the cell that builds it, which binds it to
    `called`; in JupyterLab and Notebook 7 a button puts it below, `insert` does elsewhere. `wrong` says what keeps the
    form from being a pipeline; until that is mended, `pipeline` and `cell` are those before. `names` are the
    notebook's.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> builder = PipelineBuilder(rerank(k=100) >> rerank(k=10, model="models/mine"), names={})
    >>> builder.on_edit("set", path=[1], name="k", given="5")  # as the page does
    >>> builder.on_call("best")
    >>> print(builder.cell)
    %%sage best
    rerank(k=100) >> rerank(k=5, model='models/mine')
    >>> builder.on_edit("set", path=[1], name="k", given="0")
    >>> builder.pipeline
    rerank(k=100) >> rerank(k=5, model='models/mine')
    >>> builder.insert()
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: rerank() needs k, a whole number of 1 or more, got 0
    >>> "rerank" in builder.html(), builder.text().endswith("got 0")
    (True, True)
    """

    name: ClassVar[str] = "builder"
    parts: ClassVar[tuple[str, ...]] = ("graph", "cells", "fields")
    chain: traitlets.List[Any] = traitlets.List().tag(sync=True)
    sources: traitlets.List[Any] = traitlets.List().tag(sync=True)
    choices: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    graph: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    called = traitlets.Unicode("pipeline").tag(sync=True)
    cell = traitlets.Unicode().tag(sync=True)
    wrong = traitlets.Unicode().tag(sync=True)
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, pipeline: Stage | None = None, *, called: str = "pipeline", names: Mapping[str, Any] | None = None
    ) -> None:
        if pipeline is not None and not isinstance(pipeline, Stage):
            raise BadValueError(f"PipelineBuilder opens a pipeline, got a {type(pipeline).__name__}")
        super().__init__(called=_checked(called))
        shell: Any = get_ipython()
        self._names = names if names is not None else shell.user_ns if shell else {}
        self._draft = Draft(list(_at_hand(self._names)), pipeline)
        self._pipeline: Stage | None = None
        self.set_trait("own_id", self.model_id or "")
        self._show()

    @property
    def pipeline(self) -> Stage:
        """What has been built; raises BadValueError where that is nothing yet."""
        if self._pipeline is None:
            raise BadValueError(self.wrong)
        return self._pipeline

    def insert(self) -> None:
        """Put the cell below the one that calls this; where there are no cells, it is what is typed next."""
        shell: Any = get_ipython()
        if self.wrong or shell is None:
            raise BadValueError(self.wrong or "there is no notebook to put a cell into; print(builder.cell) shows it")
        shell.set_next_input(self.cell)

    def on_edit(self, change: str, **how: Any) -> None:
        """Change the form, as a method of `Draft` does; what cannot be is said, and changes nothing."""
        self._edit(partial(EDITS[change], self._draft, **how))

    def on_call(self, name: str) -> None:
        """The name that the cell binds the pipeline to."""
        self._edit(lambda: self.set_trait("called", _checked(name)))

    def html(self) -> str:
        """The graph, and the cell below it."""
        wrong = f"<div>{markup.escape(self.wrong).text}</div>" if self.wrong else ""
        made = None if self._pipeline is None else named(self._pipeline, self._names)
        picture = "" if made is None else drawing(*graph_of(made), "the pipeline")
        return (
            f"<div class='sage-builder mathjax_ignore'>{picture}<pre>{markup.escape(self.cell).text}</pre>{wrong}</div>"
        )

    def text(self) -> str:
        """The cell."""
        return "\n".join(each for each in (self.cell, self.wrong) if each)

    def _edit(self, change: Callable[[], None]) -> None:
        try:
            change()
        except SageError as error:
            self.set_trait("wrong", encodable(str(error)))
        else:
            self._show()

    def _show(self) -> None:
        self._draft.know(list(_at_hand(self._names)))
        with self.hold_sync():
            names = Names(self._names)
            self.set_trait("sources", [encodable(short(repr(names.source(each)))) for each in self._draft.held.sources])
            self.set_trait("choices", catalogue())
            self.set_trait("chain", deepcopy(self._draft.chain))
            try:
                self._built(self._draft.stage())
            except SageError as error:
                self.set_trait("wrong", encodable(str(error)))

    def _built(self, pipeline: Stage) -> None:
        said = expression(pipeline, self._names)
        self._pipeline = pipeline
        self.set_trait("cell", encodable(f"%%sage {self.called}\n{said}"))
        self.set_trait("graph", drawn(*graph_of(named(pipeline, self._names))))
        self.set_trait("wrong", encodable(unsaid(said, pipeline, self._names)))


def _at_hand(names: Mapping[str, Any]) -> Iterator[Source]:
    """The collections, and parts of them, that the notebook has names for, then those of the home."""
    yield from (view.source for name, view in names.items() if isinstance(view, View) and not name.startswith("_"))
    yield from (Source(str(Path(each).parent)) for each in sorted((home() / "collections").glob("*/MANIFEST")))


def _checked(name: str) -> str:
    if not name.isidentifier():
        raise BadValueError(f"a pipeline is bound to a Python name, got {name!r:.60}")
    return name
