"""Which document and which section the rows of a segment belong to, and the sum of each one's vectors.

Written beside the postings when a segment is: `levels.arrow` names both for each row, `document.npy` and `section.npy`
hold the sums of unit vectors, where that is less than the vectors themselves. All of it follows from the passages, so
that a segment of an older sage_nb, which has none of these files, is read by working it out. Term frequencies are not
summed here: those of a group are its rows', which the postings have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sage_nb.index.dense import Vectors
from sage_nb.index.files import read_array, read_table, write_array, write_table
from sage_nb.index.lexical import Ints
from sage_nb.records.values import Document

FILE = "levels.arrow"
MARK = " § "  # between the name of a document and the headings of its section


def document_of(passage: Document) -> str:
    """The name of the document that a passage belongs to: what contains it, or what contains that; else itself.

    A passage that was cut from a document with a `parent` belongs to that parent, as the whole document would.

    >>> document_of(Document("d#0", "text", parent="d", meta={"parent": "book"}))
    'book'
    """
    above = passage.meta.get("parent")
    return above if passage.parent and isinstance(above, str) and above else passage.parent or passage.id


def section_of(passage: Document) -> str:
    """The name of its section: that of what it was cut from, with the headings it stands under, if it knows them.

    >>> section_of(Document("d#0", "text", parent="d", meta={"section": "Guide > Use"}))
    'd § Guide > Use'
    """
    whole, headings = passage.parent or passage.id, passage.meta.get("section")
    return f"{whole}{MARK}{headings}" if headings else whole


LEVELS: dict[str, Callable[[Document], str]] = {"document": document_of, "section": section_of}


@dataclass(frozen=True)
class Grouping:
    """The groups of a segment's rows: their names, and the number of each row's."""

    names: list[str]
    numbers: Ints

    @classmethod
    def of(cls, names: Iterable[str]) -> Grouping:
        """From the name of each row's group.

        >>> Grouping.of(["a", "b", "a"]).numbers.tolist()
        [0, 1, 0]
        """
        seen: dict[str, int] = {}
        numbers = np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)
        return cls(list(seen), numbers)

    @property
    def joins(self) -> bool:
        """Whether there are fewer groups than rows."""
        return len(self.names) < len(self.numbers)

    def summed(self, vectors: Vectors) -> Vectors:
        """The sum of each group's rows: (rows, d) to (groups, d)."""
        sums = np.zeros((len(self.names), vectors.shape[1]), np.float32)
        np.add.at(sums, self.numbers, vectors)
        return sums


def write_levels(folder: Path, documents: Iterable[Document], vectors: Vectors | None) -> None:
    """The files of a segment's levels."""
    import pyarrow as pa

    passages = list(documents)
    columns: dict[str, Any] = {}
    for level, name_of in LEVELS.items():
        made = Grouping.of(map(name_of, passages))
        names = pa.array(made.names, pa.large_string())
        columns[level] = pa.DictionaryArray.from_arrays(pa.array(made.numbers.astype(np.int32)), names)
        if vectors is not None and made.joins:
            write_array(sums_of(folder, level), made.summed(vectors))
    write_table(folder / FILE, columns)


def read_grouping(folder: Path, level: str) -> Grouping:
    """The groups that `write_levels` wrote."""
    column = read_table(folder / FILE)[level].combine_chunks()
    return Grouping(column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64))


def read_sums(folder: Path, level: str) -> Vectors:
    """The sums that `write_levels` wrote, a copy in memory."""
    return np.array(read_array(sums_of(folder, level)))


def sums_of(folder: Path, level: str) -> Path:
    """The file of a level's sums."""
    return folder / f"{level}.npy"
