"""Small indexes for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sage_nb.index.analysis import get_analyzer
from sage_nb.index.folder import IndexFolder
from sage_nb.index.lexical import Postings
from sage_nb.index.manifest import Settings
from sage_nb.index.segment import Origin, SegmentData
from sage_nb.index.text import indexed_text
from sage_nb.records.values import Document

SETTINGS = Settings(analyzer="plain")


def segment(texts: Mapping[str, str], vectors=None) -> SegmentData:
    """Documents by id, one passage each."""
    documents = [Document(name, text) for name, text in texts.items()]
    origins = [
        Origin(d.id, hashlib.blake2b(f"{d.id} {d.text}".encode(), digest_size=16).hexdigest(), row, 1)
        for row, d in enumerate(documents)
    ]
    analyze = get_analyzer("plain")
    return SegmentData(documents, origins, Postings.of([analyze(indexed_text(d)) for d in documents]), vectors)


def index(path: Path, *batches: Mapping[str, str]) -> IndexFolder:
    """A folder with a commit for each batch."""
    folder = IndexFolder(path)
    for batch in batches:
        folder.commit(SETTINGS, segment(batch))
    return folder
