"""The dead letters of a job: those it has kept, without those that were tried again since, with what came of these."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.plain import pack, plain, unpack
from sage_nb.runtime.operators.guard import text_of
from sage_nb.runtime.progress import counted
from sage_nb.stream.encode import json_line
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import Folder

AS_TEXT = "its record is no plain data, and was kept as text"


@plain
class WrittenLetter(DeadLetter, frozen=True, omit_defaults=True):
    """A letter as a file holds it; `packed` is the record (base64 of `pack`) where JSON alone would change it."""

    packed: str = ""


class Settled(msgspec.Struct, frozen=True):
    """Letters that were tried again, and those that came of it."""

    tried: list[WrittenLetter]
    came: list[WrittenLetter]


class Letters:
    """Those of a job that are still open; with a folder, what was settled is known to every process that sees it.

    >>> letters = Letters(lambda: iter([DeadLetter("parse", "{", "ValueError: no JSON", 1)]))
    >>> letters.settle(list(letters), [])
    >>> list(letters)
    []
    """

    def __init__(self, kept: Callable[[], Iterator[DeadLetter]], folder: Folder | None = None) -> None:
        self._kept, self._folder = kept, folder and folder.child("settled")
        self._settled: list[Settled] = []

    @classmethod
    def below(cls, checkpoints: str) -> Letters:
        """Of the job with its checkpoints in that folder."""
        folder = letters_folder(checkpoints)
        return cls(lambda: _in(folder), folder)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Those open, the oldest first."""
        settled = self._past()
        closed = Counter(pack(read(line)) for each in settled for line in each.tried)
        for letter in chain(self._kept(), (read(line) for each in settled for line in each.came)):
            key = pack(letter) if closed else b""
            if closed[key]:
                closed[key] -= 1
            else:
                yield letter

    @property
    def closed(self) -> int:
        """By how many there are fewer than the job itself has put here."""
        return sum(len(each.tried) - len(each.came) for each in self._past())

    def settle(self, tried: Iterable[DeadLetter], came: Iterable[DeadLetter]) -> None:
        """Those tried again are open no more; what came of it is."""
        settled = Settled([written(each) for each in tried], [written(each) for each in came])
        if self._folder is None:
            self._settled.append(settled)
        else:
            self._folder.put(f"{len(self._past()) + 1:06d}-{uuid.uuid4().hex[:8]}.json", json_line(settled))

    def _past(self) -> Sequence[Settled]:
        if self._folder is None:
            return self._settled
        names = (name for name in self._folder.names() if name.endswith(".json"))
        return [msgspec.json.decode(self._folder.get(name), type=Settled) for name in names]


@dataclass(frozen=True)
class Retried:
    """How many letters were tried again, how many of them went through, and the letters that came of it.

    >>> print(Retried(3, 2, (DeadLetter("parse", "{", "ValueError: no JSON", 2),)))
    2 of 3 dead letters went through; still open is ValueError: no JSON (in parse)
    """

    tried: int
    passed: int
    letters: tuple[DeadLetter, ...]

    def __str__(self) -> str:
        errors = dict.fromkeys(f"{each.error:.200} (in {each.operator})" for each in self.letters)
        more = f" and {len(errors) - 1} errors more" if len(errors) > 1 else ""
        left = f"; still open is {next(iter(errors))}{more}" if errors else ""
        return f"{self.passed:,} of {counted(self.tried, 'dead letter')} went through{left}"


def letters_folder(checkpoints: str) -> Folder:
    """Where they lie, by the folder of its checkpoints.

    >>> letters_folder("memory://ckpt")
    Folder('memory://ckpt/dead-letters')
    """
    return Folder(checkpoints).child("dead-letters")


def legible(letter: DeadLetter) -> DeadLetter:
    """The letter, its record shown as text where it is no plain data, or JSON has no word for it."""
    try:
        pack(letter.record)
        json_line(letter.record)
    except (BadValueError, RecursionError):
        return msgspec.structs.replace(letter, record=text_of(letter.record), final=letter.final or AS_TEXT)
    return letter


def written(letter: DeadLetter) -> WrittenLetter:
    """The line of a letter that is legible.

    >>> written(DeadLetter("parse", [1, "a"], "ValueError: one", 1)).packed
    ''
    >>> read(written(DeadLetter("parse", (1, b"a"), "ValueError: one", 1))).record
    (1, b'a')
    """
    packed = pack(letter.record)
    exact = pack(msgspec.json.decode(json_line(letter.record))) == packed
    kept = "" if exact else base64.b64encode(packed).decode()
    return WrittenLetter(letter.operator, letter.record, letter.error, letter.attempts, letter.final, kept)


def read(line: WrittenLetter) -> DeadLetter:
    """The letter of a line."""
    record = unpack(base64.b64decode(line.packed)) if line.packed else line.record
    return DeadLetter(line.operator, record, line.error, line.attempts, line.final)


def _in(folder: Folder) -> Iterator[DeadLetter]:
    """Those committed, in the order of their files."""
    for name in folder.names():
        if name.endswith(".jsonl"):
            for line in folder.get(name).splitlines():
                yield read(msgspec.json.decode(line, type=WrittenLetter))
