"""Where a retriever looks: a collection's folder and, perhaps, a filter. A value: it ships, compares and prints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sage_nb.errors import BadValueError, CollectionError
from sage_nb.index.folder import IndexFolder
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.filters import Filter


def home() -> Path:
    """The folder that holds collections: `SAGE_HOME`, else `.sage` where the kernel was started."""
    return Path(os.environ.get("SAGE_HOME") or ".sage").absolute()


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
    """The collection at `path`, of which only what `only` accepts."""

    path: str
    only: Filter | None = None

    @property
    def name(self) -> str:
        """The collection's own name."""
        return Path(self.path).name

    def __repr__(self) -> str:
        given = self.name if Path(self.path).parent == home() / "collections" else self.path
        return f"Collection({given!r})" + (f".where({self.only!r})" if self.only is not None else "")


def searchable(folder: IndexFolder) -> Snapshot:
    """The current snapshot; refused where there is nothing in it."""
    snapshot = folder.snapshot()
    if not snapshot.rows:
        beside = [path.parent.name for path in folder.path.parent.glob("*/MANIFEST") if path.parent != folder.path]
        near = get_close_matches(folder.path.name, beside, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise CollectionError(
            f"the collection {folder.path.name!r} is empty{hint or '; add documents to it with .add(...)'}"
        )
    return snapshot
