"""Where a retriever looks: a collection's folder and, perhaps, a filter. A value: it ships, compares and prints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sage_nb.errors import BadValueError
from sage_nb.records.disk import home
from sage_nb.records.filters import Filter, Where
from sage_nb.retrieval.reader import FolderReader, Reader
from sage_nb.retrieval.resources import Collections
from sage_nb.stream.function import Context


def locate(name: str | os.PathLike[str]) -> Path:
    """The folder of a collection: a plain name lies in `home()`, a path is taken as it is.

    >>> locate("handbook").relative_to(home()).as_posix()
    'collections/handbook'
    """
    if not isinstance(name, (str, os.PathLike)) or not isinstance(text := os.fspath(name), str):
        raise BadValueError(f"a collection is called by a name or a path, got {name!r} ({type(name).__name__})")
    if not text.strip() or "\0" in text or text in {".", ".."}:
        raise BadValueError(f"a collection cannot be called {text!r}; give it a name such as 'handbook', or a path")
    if isinstance(name, str) and "/" not in text and os.sep not in text:
        return home() / "collections" / text
    return Path(text).expanduser().absolute()


@dataclass(frozen=True)
class Source:
    """The collection at `path`, of which only what `only` accepts.

    >>> from sage_nb.records.filters import where
    >>> Source("/a", where(year=2020)), Source("/a", ~where(year=2020))
    (Collection('/a').where(year=2020), Collection('/a').where(~where(year=2020)))
    """

    path: str
    only: Filter | None = None

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self.path.rpartition(os.sep)[2]

    @property
    def whole(self) -> bool:
        """Whether it is read in one piece."""
        return True

    def reader(self, context: Context) -> Reader:
        """Opened where a function runs."""
        return FolderReader(context.get(Collections).folder(self.path), self.only)

    def __repr__(self) -> str:
        return f"{self.collection}{self.filtered}"

    @property
    def collection(self) -> str:
        """The expression that opens it."""
        room, _, name = self.path.rpartition(os.sep)
        given = name if room == f"{home()}{os.sep}collections" else self.path
        return f"Collection({given!r})"

    @property
    def filtered(self) -> str:
        """`.where(year=2020)`, where conditions can be named so; `.where(filter)` of any other filter; "" of none."""
        if self.only is None:
            return ""
        by_name = isinstance(self.only, Where) and all(each.name != "self" for each in self.only.conditions)
        return f".{self.only!r}" if by_name else f".where({self.only!r})"
