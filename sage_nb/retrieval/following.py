"""What to ask in the next round of a search, given what the last one has found: by a rule, a function, a generator."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sage_nb.errors import BadValueError, GeneratorError
from sage_nb.index.analysis import STOP_WORDS
from sage_nb.index.text import indexed_text
from sage_nb.models.generator import Conversation, Generator
from sage_nb.records.surrogates import encodable
from sage_nb.records.values import Result
from sage_nb.retrieval.prompt import Prompt
from sage_nb.retrieval.recall import given
from sage_nb.retrieval.scores import ITEMS_KNOWN
from sage_nb.runtime.cellcache.store import Entry
from sage_nb.stream.check import name_of
from sage_nb.stream.fingerprint import fingerprint
from sage_nb.stream.function import Context

NAMES = 12  # words that are added to a question
SHOWN = 5  # passages that a generator is shown

_WORD = re.compile(r"\w[\w'\u2019-]*")

Next = str | GeneratorError | None  # the next question, why there is none, or that nothing is left to ask
Rule = Callable[[Result], str | None]


class Turn(NamedTuple):
    """All that a question has found so far, and what of it is new with the last round."""

    found: Result
    new: Result


class Asker(Protocol):
    """Decides what is asked next."""

    def open(self, context: Context, /) -> None:
        """Acquire what it needs."""
        ...

    def asked(self, turns: Sequence[Turn], /) -> list[Next]:
        """The next question of each."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ByRule:
    """Asks a function of what is new."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def open(self, context: Context, /) -> None:
        """Nothing to acquire."""

    def asked(self, turns: Sequence[Turn], /) -> list[Next]:
        """What it gives for each; BadValueError where that is neither a text nor None."""
        return [self._checked(self._rule(turn.new)) for turn in turns]

    def close(self) -> None:
        """Nothing to let go of."""

    def _checked(self, made: object) -> str | None:
        if made is not None and not isinstance(made, str):
            raise BadValueError(
                f"{name_of(self._rule)} gave a {type(made).__name__}; ask= of iterative() gives the next question, "
                f"or None where there is none"
            )
        return made


class ByGenerator:
    """Asks a generator, and keeps what it says in the cell's cache, by all that it was told.

    `model` is what its words depend on; "" where that cannot be told, and nothing is kept.
    """

    def __init__(self, generator: Generator, prompt: Prompt, model: str) -> None:
        self._generator, self._prompt, self._model = generator, prompt, model

    def open(self, context: Context, /) -> None:
        """Open the generator, and find the cache."""
        self._writer, self._metrics = self._generator.opened(), context.metrics
        self._cell, self._name = given(context) if self._model else None, context.name

    def asked(self, turns: Sequence[Turn], /) -> list[Next]:
        """The first line of what it writes for each, all in one call; None where it writes "enough"."""
        told = [self._prompt.filled(question=turn.found.query.text, passages=shown(turn.found)) for turn in turns]
        keys = [self._key(conversation) for conversation in told]
        held = self._cell.get(keys) if self._cell else {}
        written: dict[str, str | GeneratorError] = {key: text.decode() for key, text in held.items()}
        self._metrics.count(ITEMS_KNOWN, len(written))
        written |= self._written({key: one for key, one in zip(keys, told, strict=True) if key not in written})
        return [question_in(written[key]) for key in keys]

    def close(self) -> None:
        """Close the generator."""
        self._writer.close()

    def _written(self, told: Mapping[str, Conversation]) -> dict[str, str | GeneratorError]:
        """What is new, by its key; what is a text is kept."""
        with self._metrics.model_time(len(told)):
            made = dict(zip(told, self._writer.attempts(list(told.values())) if told else (), strict=True))
        if self._cell:
            texts = {key: encodable(each).encode() for key, each in made.items() if isinstance(each, str)}
            self._cell.cache.put([Entry(key, text, self._cell.name, self._name) for key, text in texts.items()])
        return made

    def _key(self, conversation: Conversation) -> str:
        return fingerprint(("text", self._model, tuple((each.role, each.content) for each in conversation)))


def question_in(written: str | GeneratorError) -> Next:
    r"""The first line of a generator's text, if that is a question; an error as it is.

    >>> question_in("Where was Ada Byron born?\nBecause"), question_in("Enough.")
    ('Where was Ada Byron born?', None)
    """
    if isinstance(written, GeneratorError):
        return written
    line = next((line.strip() for line in written.splitlines() if line.strip()), "")
    return None if not line or line.casefold().strip(".!") == "enough" else line


def shown(found: Result) -> str:
    """The best passages, numbered, as a prompt has them."""
    passages = [indexed_text(hit.document) for hit in found.hits[:SHOWN]]
    return "\n\n".join(f"[{number}] {passage}" for number, passage in enumerate(passages, 1))


def names(new: Result) -> str | None:
    """The question with the names that its best new passage brings to light: what `iterative` asks next.

    A name is a word with a capital letter (no stop word) that the question lacks; where there is none, as in scripts
    without capitals, all the words of the passage are taken for names. The first 12 count.

    >>> from sage_nb.records.values import Document, Hit, Query
    >>> passage = Document("p", "The engine was described by Ada Lovelace.")
    >>> names(Result(Query("q", "who is the mother of who described the Engine"), (Hit(passage, 1, 1.0),)))
    'who is the mother of who described the Engine Ada Lovelace'
    """
    known = {word.casefold() for word in _WORD.findall(new.query.text)} | STOP_WORDS
    words = {word.casefold(): word for word in reversed(_WORD.findall(indexed_text(new.hits[0].document)))}
    fresh = [word for name, word in reversed(words.items()) if name not in known]
    found = [word for word in fresh if word[0].isupper()] or fresh
    return " ".join([new.query.text, *found[:NAMES]]) if found else None
