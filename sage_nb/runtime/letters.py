"""The dead letters that a job with a checkpoint folder keeps there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder


def letters_folder(checkpoints: str) -> Folder:
    """Where they lie, by the folder of its checkpoints.

    >>> letters_folder("memory://ckpt")
    Folder('memory://ckpt/dead-letters')
    """
    return Folder(checkpoints).child("dead-letters")


def letters_in(folder: Folder) -> Iterator[DeadLetter]:
    """Those committed, in the order of their files."""
    for name in folder.names():
        if name.endswith(".jsonl"):
            for line in folder.get(name).splitlines():
                yield msgspec.json.decode(line, type=DeadLetter)
