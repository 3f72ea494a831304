"""What the retrieval functions of this process share: its loaded models and its open collections."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from sage_nb.index.folder import IndexFolder
from sage_nb.models.registry import Models
from sage_nb.runtime.context import share


class Collections:
    """Opens each collection's folder once and keeps it, so that its snapshot is read once."""

    def __init__(self) -> None:
        self._open: dict[str, IndexFolder] = {}
        self._lock = Lock()

    def folder(self, path: str) -> IndexFolder:
        """The folder at `path`, which need not exist yet."""
        with self._lock:
            return self._open.setdefault(path, IndexFolder(Path(path)))


MODELS = Models()
COLLECTIONS = Collections()
share(MODELS)
share(COLLECTIONS)
