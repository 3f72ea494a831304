"""Other programs for the same work, each used as its own documentation shows; `sage-nb bench index --peers` asks them.

A module here is a program, its `PEER` a class: made with `Settings` it loads its models, `index` takes the documents,
and `search` gives the best of them for a question. Libraries are imported where they are used, so that a peer which is
not installed fails alone. `python -m tests.benchmarks.peers NAME FOLDER` runs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Text(NamedTuple):
    """A document, as every peer is given it: its title stands in its text."""

    id: str
    text: str


@dataclass(frozen=True)
class Settings:
    """What is the same for all: two models' folders; the hits that are retrieved by each way, reranked, and shown."""

    encoder: str
    reranker: str
    retrieved: int = 100
    reranked: int = 50
    k: int = 10


Ranking = list[tuple[str, float]]  # ids of documents with their scores, best first


class Peer:
    """A program."""

    packages: ClassVar[tuple[str, ...]] = ()  # whose versions are written down

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def prepare(self, documents: Sequence[Text]) -> str:
        """Whatever is chosen before it is measured; says what was."""
        return ""

    def index(self, documents: Sequence[Text]) -> None:
        """Take these documents, in place of all earlier ones."""
        raise NotImplementedError

    def search(self, question: str) -> Ranking:
        """The best `k` documents."""
        raise NotImplementedError

    def search_all(self, questions: Sequence[str]) -> list[Ranking]:
        """The best for each question: by the program's own way of asking many, where it has one."""
        return [self.search(question) for question in questions]
