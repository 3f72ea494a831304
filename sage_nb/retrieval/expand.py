"""What a generator makes of a question before it is searched: other wordings, parts, passages that might answer it."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from sage_nb.errors import GeneratorError
from sage_nb.models.generator import Conversation, Generator, as_generator
from sage_nb.records.markup import shortened
from sage_nb.records.values import Expansion, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.prompt import prompt as prompt_called
from sage_nb.retrieval.ranking import Retrieving
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s*")
_QUOTES = "\"'`\u201c\u201d\u2018\u2019"
_COLONS = (":", "\uff1a")


@dataclass(frozen=True, repr=False)
class Wording(Operation):
    """Expands each question by `n` texts of a generator, told so by a prompt (one of ours, or a file of one's own)."""

    generator: Generator
    n: int
    prompt: str

    def __post_init__(self) -> None:
        prompt_called(self.prompt).checked(*self.told(""))

    def __repr__(self) -> str:
        return f"{self.prompt}({self.generator!r}, n={self.n})"

    @property
    def gives(self) -> Kind:
        """Another question for the next retriever."""
        return "query"

    @property
    def runs_model(self) -> bool:
        """The generator's, where that is here."""
        return True

    def beside(self) -> Mapping[str, Any]:
        """The words of its prompt."""
        return {"words": prompt_called(self.prompt).text}

    def function(self) -> Retrieving:
        """An `Expanding`."""
        return Expanding(self)

    def told_of(self, texts: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002  who asks them tells of them
        """What a reader should know of the texts that are used."""
        return ()

    @abstractmethod
    def told(self, question: str) -> Mapping[str, str]:
        """What is put into the prompt's places."""

    @property
    @abstractmethod
    def asks(self) -> int:
        """How many texts the generator is asked for."""

    @abstractmethod
    def taken(self, question: str, written: Sequence[str]) -> tuple[str, ...]:
        """What of the texts is used."""


class Expanding(MapFunction[Result, Result]):
    """The running half of a `Wording`."""

    def __init__(self, stage: Wording) -> None:
        self.stage, self._prompt = stage, prompt_called(stage.prompt)

    def open(self, context: Context, /) -> None:
        """Open the generator; raises GeneratorError, or MissingExtraError, where that cannot be done."""
        self._writer = self.stage.generator.opened()
        self._metrics = context.metrics

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """All that a batch needs is asked of the generator at once; who gets nothing stays as it is, which is said."""
        asked: list[Conversation] = [
            self._prompt.filled(**self.stage.told(result.query.text))
            for result in batch
            for _ in range(self.stage.asks)
        ]
        with self._metrics.model_time(len(asked)):
            written = iter(self._writer.attempts(asked))
        return [self._expanded(result, [next(written) for _ in range(self.stage.asks)]) for result in batch]

    def close(self) -> None:
        """Close the generator."""
        self._writer.close()

    def _expanded(self, result: Result, written: Sequence[str | GeneratorError]) -> Result:
        texts = self.stage.taken(result.query.text, [each for each in written if isinstance(each, str)])
        missing = [f"{self.stage!r}: {each}" for each in written if isinstance(each, GeneratorError)]
        if not texts and not missing:
            missing = [f"{self.stage!r}: there was nothing in the generator's answer to search for"]
        before = result.expansion or Expansion()
        return msgspec.structs.replace(
            result,
            hits=(),
            notes=(*result.notes, *self.stage.told_of(texts)),
            missing=(*result.missing, *dict.fromkeys(missing)),
            expansion=msgspec.structs.replace(before, passages=texts) if texts else result.expansion,
        )


@stage("hyde")
@dataclass(frozen=True, repr=False)
class Hyde(Wording):
    """Expands each question by `n` passages that might answer it."""

    n: int = 1
    prompt: str = "hyde"

    def __post_init__(self) -> None:
        check_k(self.n, "hyde()", "n")
        super().__post_init__()

    def __repr__(self) -> str:
        own = "" if self.prompt == "hyde" else f", prompt={self.prompt!r}"
        return f"hyde({self.generator!r}, n={self.n}{own})"

    @property
    def asks(self) -> int:
        """A text for each passage."""
        return self.n

    def told_of(self, texts: Sequence[str]) -> tuple[str, ...]:
        """How they begin: they are searched for, and are in no step of a hit."""
        return (f"hyde: {', '.join(f'“{shortened(text)}”' for text in texts)}",) if texts else ()

    def told(self, question: str) -> Mapping[str, str]:
        """The question."""
        return {"question": question}

    def taken(self, question: str, written: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002  the whole texts
        """Each text as it is; equal ones count as often as they were written."""
        return tuple(text.strip() for text in written)


@dataclass(frozen=True, repr=False)
class Rewording(Wording):
    """Expands each question by up to `n` other questions, a line of the generator's text each."""

    @property
    def asks(self) -> int:
        """One text."""
        return 1

    def told(self, question: str) -> Mapping[str, str]:
        """The question, and how many are wanted."""
        return {"question": question, "n": str(self.n)}

    def taken(self, question: str, written: Sequence[str]) -> tuple[str, ...]:
        """The first `n` lines that are new questions."""
        lines = chain.from_iterable(text.splitlines() for text in written)
        return tuple(questions_in(lines, but=question))[: self.n]


def questions_in(lines: Iterable[str], *, but: str) -> list[str]:
    """The questions in these lines: without bullets, numbers and quotes; each once, and not the one in `but`.

    A line that ends with a colon announces others and is none.

    >>> questions_in(["Here are three:", "1. What is light?", "2) 'What is a ray?'", "- what is light?"], but="Light?")
    ['What is light?', 'What is a ray?']
    """
    found = {but.strip().casefold(): but}
    for line in lines:
        text = _BULLET.sub("", line).strip().strip(_QUOTES).strip()
        if text and not text.endswith(_COLONS):
            found.setdefault(text.casefold(), text)
    return [*found.values()][1:]


def hyde(generator: Generator | str, n: int = 1, *, prompt: str = "hyde") -> Stage:
    """Expand the question by `n` made-up passages that answer it, for the dense or hybrid retriever that comes next.

    HyDE (Gao, Ma, Lin & Callan, ACL 2023; arXiv:2212.10496, 2022): a passage that answers the question is nearer to
    those that do than the question is, even where its facts are wrong. The retriever takes the mean of the vectors,
    q' = (q + p₁ + … + pₙ) / (n + 1). Only a generator that does not always write the same has use for n above 1. Where
    it fails, or writes nothing, the question itself is searched, and the result says so in `missing`.

    >>> import sage_nb as sage
    >>> @sage.generator("optician")
    ... def optician(conversation):
    ...     return "Glass bends light because light is slower in it."
    >>> hyde("optician")
    hyde('optician', n=1)
    """
    return Hyde(as_generator(generator), n, prompt)
