"""What belongs together: siblings that become their parent, and the text around a hit."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sage_nb.index.grouping import LEVELS, document_of
from sage_nb.index.levels import Level
from sage_nb.index.lexical import Mask
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.joined import is_joined, joined, parent_of, passages_in
from sage_nb.retrieval.ranking import Retrieving, ranked
from sage_nb.retrieval.reader import FolderReader
from sage_nb.retrieval.resources import Collections
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.stage import Operation
from sage_nb.stream.function import Context, MapFunction

EXPANSIONS = (None, "parent", "neighbours")
LEAST = 2  # hits that can become one


@dataclass(frozen=True)
class Around(Operation):
    """A stage that looks at what is around hits, up to the groups of `levels`, the largest first."""

    source: Source
    levels: tuple[str, ...]

    @property
    def needs(self) -> Kind:
        """A ranking of passages."""
        return "ranking"

    @property
    def keeps(self) -> bool:
        """No: it is quick."""
        return False


@dataclass(frozen=True)
class MergeUp(Around):
    """Hits that are more than the share `merge` of a group's passages become one hit with all of its text.

    The auto-merging retriever of LlamaIndex (Liu, 2022; `AutoMergingRetriever`, whose default is the same 0.5), but
    that the parent has the best of its passages' scores, not their mean, so that more of it never puts it lower.
    """

    merge: float

    @property
    def label(self) -> str:
        """As hits' steps name it."""
        return "merge"

    def function(self) -> Retrieving:
        """A `Merging`."""
        return Merging(self)


@dataclass(frozen=True)
class Widen(Around):
    """A hit's text with that of the passages beside it, or of all of its parent."""

    by: str

    @property
    def label(self) -> str:
        """What it does."""
        return f"with {self.by}"

    @property
    def keeps_scores(self) -> bool:
        """Yes."""
        return True

    def function(self) -> Retrieving:
        """A `Widening`."""
        return Widening(self)


class Looking(MapFunction[Result, Result]):
    """A running half that looks around hits, among the passages that the source's filter accepts."""

    def __init__(self, stage: Around) -> None:
        self._source, self._above = stage.source, stage.levels

    def open(self, context: Context, /) -> None:
        """Open the collection."""
        self._reader = FolderReader(context.get(Collections).folder(self._source.path), self._source.only)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All at one commit."""
        snapshot = self._reader.snapshot()
        around = Surroundings(snapshot, snapshot.allowed(self._source.only))
        return [self.looked(result, around) for result in batch]

    @abstractmethod
    def looked(self, result: Result, around: Surroundings) -> Result:
        """The result, once it has been looked at."""


@dataclass(frozen=True)
class Surroundings:
    """The passages around others, as far as they are `allowed`."""

    snapshot: Snapshot
    allowed: Mask

    def rows(self, level: str, name: str) -> list[int]:
        """The rows of a group in the order of the text; none where it is not there any more."""
        found: Level = self.snapshot.level(level)
        group = found.find(name)
        return [] if group < 0 else [row for row in found.in_order(group) if self.allowed[row]]

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The passages in these rows."""
        return [self.snapshot.document(row) for row in rows]


class Merging(Looking):
    """The running half of `MergeUp`."""

    def __init__(self, stage: MergeUp) -> None:
        super().__init__(stage)
        self._merge = stage.merge

    def looked(self, result: Result, around: Surroundings) -> Result:
        """With hits merged; as it is where none are."""
        hits, merged = list(result.hits), list[Hit]()
        for level in self._above:  # the largest first: what it takes, no smaller one wants
            siblings: defaultdict[str, list[Hit]] = defaultdict(list)
            for hit in hits:
                siblings[LEVELS[level](hit.document)].append(hit)
            for name, group in siblings.items():
                rows = around.rows(level, name) if len(group) >= LEAST else []
                if rows and len(group) > self._merge * len(rows):
                    merged.append(_parent(name, group, around.documents(rows)))
                    hits = [hit for hit in hits if all(hit is not each for each in group)]
        if not merged:
            return result
        return ranked(result, "merge", [(hit, hit.score) for hit in (*merged, *hits)])


class Widening(Looking):
    """The running half of `Widen`."""

    def __init__(self, stage: Widen) -> None:
        super().__init__(stage)
        self._by = stage.by

    def looked(self, result: Result, around: Surroundings) -> Result:
        """With more text to each hit; what a better one's text has already is not given twice."""
        shown = {name for hit in result.hits for name in (hit.document.id, *passages_in(hit.document))}
        hits = []
        for hit in result.hits:
            beside = [] if is_joined(hit.document) else self._beside(hit.document, around)
            own = hit.document.id
            new = [each for each in beside if each.id == own or each.id not in shown]
            shown.update(each.id for each in new)
            hits.append(msgspec.structs.replace(hit, document=joined(new, hit.document)) if len(new) > 1 else hit)
        return msgspec.structs.replace(result, hits=tuple(hits))

    def _beside(self, passage: Document, around: Surroundings) -> list[Document]:
        """The passage with those that belong to it; nothing where it is not in the collection any more."""
        level = self._above[-1] if self._by == "parent" else self._above[0]
        rows = around.rows(level, LEVELS[level](passage))
        names = [around.snapshot.passage(row) for row in rows]
        if passage.id not in names:
            return []
        at = names.index(passage.id)
        return around.documents(rows if self._by == "parent" else rows[max(0, at - 1) : at + 2])


def _parent(name: str, siblings: Sequence[Hit], passages: Sequence[Document]) -> Hit:
    """The hit that siblings become."""
    above = document_of(passages[0])
    best = min(siblings, key=lambda hit: hit.rank)
    whole = parent_of(passages, name, above if above != name else "")
    return msgspec.structs.replace(best, document=whole, spans=())
