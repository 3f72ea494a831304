"""Answer: a text made of the best passages of a ranking, with citations that are checked against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import msgspec

from sage_nb.errors import BadValueError, GeneratorError, UnknownNameError
from sage_nb.models import openai_chat, transformers_chat  # noqa: F401  the generators that YAML knows
from sage_nb.models.generator import Conversation, Generator, as_generator, check_tokens
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records.markup import shortened
from sage_nb.records.values import Answer, Hit, Result
from sage_nb.retrieval.citations import Checked, Checking, Draft, read
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.extractive import Extracting, Extractive, Limits
from sage_nb.retrieval.given import check_k
from sage_nb.retrieval.prompt import Prompt, prompt
from sage_nb.retrieval.ranking import Retrieving
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.vectors import Embedding
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context, MapFunction

QUOTES = Extractive()
QUOTED = 8  # questions that are answered together by quoting
NOTHING = "Nothing was found for this question."


Asked = tuple[Result, Sequence[Hit]]  # and those of its hits that are read


class Style(NamedTuple):
    """What a style asks of a generator, and how many sentences or points it takes of an extractive answer."""

    asked: str
    sentences: int
    points: bool = False


STYLES = {
    "short": Style("Answer in one or two sentences.", 2),
    "long": Style("Answer in a paragraph of up to six sentences.", 5),
    "list": Style("Answer as a list of short points, each on a line of its own that begins with '- '.", 5, points=True),
}


@stage("answer")
@dataclass(frozen=True, repr=False)
class Reply(Operation):
    """An answer to each question from the first `k` hits, by a generator or by extraction; see `answer()`."""

    generator: Generator | Extractive = QUOTES
    style: str = "short"
    cite: bool = True
    k: int = 5
    max_tokens: int | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        check_k(self.k, "answer()")
        if self.style not in STYLES:
            raise UnknownNameError.of("style", str(self.style), STYLES)
        if not isinstance(self.cite, bool):
            raise BadValueError(f"cite= of answer() is True or False, got {self.cite!r}")
        if self.max_tokens is not None:
            check_tokens(self.max_tokens)
        if isinstance(self.generator, Extractive) and self.prompt is not None:
            raise BadValueError(
                "answer(prompt=…) is for a generator, and Extractive() has no use for it; leave one out"
            )
        if not isinstance(self.generator, Extractive):
            _ = self.writer, self.template

    def __repr__(self) -> str:
        given = [(each.name, getattr(self, each.name), each.default) for each in fields(self)]
        return f"answer({', '.join(f'{name}={value!r}' for name, value, default in given if value != default)})"

    @property
    def needs(self) -> Kind:
        """A ranking to answer from."""
        return "ranking"

    @property
    def keeps_scores(self) -> bool:
        """Yes."""
        return True

    @property
    def runs_model(self) -> bool:
        """At least the one that scores or checks sentences."""
        return True

    @property
    def batch(self) -> tuple[int, float]:
        """A few: what is in hand is what a stop or a kill costs."""
        return (QUOTED if isinstance(self.generator, Extractive) else self.generator.at_once), 0.005

    @property
    def writer(self) -> Generator:
        """The generator, within `max_tokens`."""
        if isinstance(self.generator, Extractive):
            raise BadValueError("Extractive() writes nothing: it quotes; name a generator")
        return self.generator if self.max_tokens is None else self.generator.limited(self.max_tokens)

    @property
    def template(self) -> Prompt:
        """Its prompt: a file of one's own, or the package's."""
        name = self.prompt or ("answer" if self.cite else "answer_plain")
        return prompt(name).checked("question", "passages", "style")

    def beside(self) -> Mapping[str, Any]:
        """The prompt's text, and the weights of the model that scores or checks sentences."""
        if isinstance(self.generator, Extractive):
            return {"scorer": self.generator.fingerprint}
        return {"template": self.template.text, "checker": MODELS.encoder_fingerprint() if self.cite else ""}

    def function(self) -> Retrieving:
        """A `Replying`."""
        return Replying(self)


class Replying(MapFunction[Result, Result]):
    """The running half of `Reply`."""

    def __init__(self, reply: Reply) -> None:
        self.k = reply.k
        style = STYLES[reply.style]
        if isinstance(reply.generator, Extractive):
            sentences = reply.generator.sentences or style.sentences
            limits = Limits(sentences, reply.max_tokens, style.points, reply.cite)
            self._by: Extracting | Generating = Extracting(reply.generator, limits, repr(reply))
        else:
            self._by = Generating(reply)

    def open(self, context: Context, /) -> None:
        """Open what answers."""
        self._by.open(context)

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """Each result with its answer; where nothing was found nobody is asked."""
        found = [(result, self._read(result)) for result in batch if result.hits]
        replied = iter(self._by.replied(found) if found else ())
        return [next(replied) if result.hits else _nothing(result) for result in batch]

    def stream(self, result: Result) -> Iterator[str | Result]:
        """The pieces of the answer's text as they come, then the result; where the generator fails that says so."""
        if result.hits and isinstance(self._by, Generating):
            yield from self._by.stream(result, self._read(result))
        else:
            (replied,) = self.map_batch([result])
            if replied.answer:
                yield replied.answer.text
            yield replied

    def close(self) -> None:
        """Let go of the generator."""
        self._by.close()

    def _read(self, result: Result) -> list[Hit]:
        """The first hits, numbered as the answer will cite them."""
        return [msgspec.structs.replace(hit, rank=n) for n, hit in enumerate(result.hits[: self.k], start=1)]


class Generating:
    """Lets a generator write, and checks what it cites."""

    def __init__(self, reply: Reply) -> None:
        self._generator, self._prompt, self._cite = reply.writer, reply.template, reply.cite
        self._style = STYLES[reply.style].asked
        self._embedding = Embedding(DEFAULT_ENCODER, repr(reply))
        self._checking = Checking(self._embedding.vectors)

    def open(self, context: Context, /) -> None:
        """Connect to the generator, or load it; and the encoder, where citations are checked."""
        self._metrics = context.metrics
        self._writer = self._generator.opened()
        if self._cite:
            self._embedding.open(context)

    def replied(self, batch: Sequence[Asked]) -> list[Result]:
        """One text for each, all asked for together; a failure costs only its own answer."""
        with self._metrics.model_time(len(batch)):
            texts = self._writer.attempts([self._conversation(*each) for each in batch])
        return self._finished(batch, texts)

    def stream(self, result: Result, hits: Sequence[Hit]) -> Iterator[str | Result]:
        """The pieces, then the result."""
        pieces: list[str] = []
        text: str | GeneratorError = ""
        try:
            for piece in self._writer.stream(self._conversation(result, hits)):
                pieces.append(piece)
                yield piece
            text = "".join(pieces)
        except GeneratorError as error:
            text = error
        yield from self._finished([(result, hits)], [text])

    def close(self) -> None:
        """Its connections."""
        self._writer.close()

    def _conversation(self, result: Result, hits: Sequence[Hit]) -> Conversation:
        passages = "\n\n".join(map(_shown, hits))
        return self._prompt.filled(question=result.query.text, passages=passages, style=self._style)

    def _finished(self, batch: Sequence[Asked], texts: Sequence[str | GeneratorError]) -> list[Result]:
        """The results with these answers, or with the reason why there is none."""
        drafts = [
            self._draft(text, len(hits)) if isinstance(text, str) else text
            for text, (_, hits) in zip(texts, batch, strict=True)
        ]
        to_check = [(draft, hits) for draft, (_, hits) in zip(drafts, batch, strict=True) if isinstance(draft, Draft)]
        checked = iter(self._checking.check(to_check) if self._cite else [Checked()] * len(to_check))
        return [
            self._without(result, draft)
            if isinstance(draft, GeneratorError)
            else self._with(result, draft, next(checked))
            for draft, (result, _) in zip(drafts, batch, strict=True)
        ]

    def _draft(self, text: str, passages: int) -> Draft:
        return Draft.of(text, passages) if self._cite else Draft(text.strip(), ())

    def _with(self, result: Result, draft: Draft, checked: Checked) -> Result:
        answer = Answer(draft.text, checked.citations, checked.unsupported, self._generator.name)
        return msgspec.structs.replace(result, answer=answer, notes=(*result.notes, *_doubts(draft, checked)))

    def _without(self, result: Result, error: GeneratorError) -> Result:
        missing = (*result.missing, f"an answer by {self._generator.name}")
        return msgspec.structs.replace(result, notes=(*result.notes, str(error)), missing=missing)


def _shown(hit: Hit) -> str:
    """A passage as a prompt shows it."""
    title = f" {hit.document.title}" if hit.document.title else ""
    return f"[{hit.rank}]{title}\n{read(hit)}"


def _doubts(draft: Draft, checked: Checked) -> Iterator[str]:
    """What a reader of the answer should know."""
    if draft.invented:
        numbers = shortened(", ".join(map(str, draft.invented)), 40)
        yield f"the answer cites {numbers} (marked [?]), and there is no such passage"
    if checked.unsupported:
        count = f"{len(checked.unsupported)} of {len(draft.claims)} claims"
        yield f"{count} of the answer have no passage that supports them"


def _nothing(result: Result) -> Result:
    missing = f" Not asked: {', '.join(result.missing)}." if result.missing else ""
    return msgspec.structs.replace(result, answer=Answer(NOTHING + missing))


def answer(
    generator: Generator | Extractive | str = QUOTES,
    *,
    style: str = "short",
    cite: bool = True,
    k: int = 5,
    max_tokens: int | None = None,
    prompt: str | None = None,
) -> Stage:
    """An answer to each question from the first `k` hits, as `Result.answer`; the ranking stays as it is.

    `Extractive()` quotes the best sentences, without an LLM. A generator (`OpenAIChat`, `TransformersChat`, the name of
    one's own) writes by the prompt "answer", or a file of one's own given as `prompt`; see `sage.prompt("answer")`.
    `style` is "short", "long" or "list"; `max_tokens` limits the answer. Only the first 6,000 characters of what is
    kept of a passage (`Hit.spans`) are read.

    With `cite` the text names its passages by [n], and `Answer.citations` are the characters of the original documents
    that support it. Each claim of a generator is held against what it cites (the measure is that of
    `retrieval.citations.Checking`; attribution as a property to check: Rashkin et al., "Measuring Attribution in
    Natural Language Generation Models", Computational Linguistics 2023): those that are not supported are in
    `Answer.unsupported` and shown as such, numbers of no passage become [?], and the result's notes tell of both.

    Where nothing was found the answer says so and nobody is asked. Where a generator fails or gives nothing the result
    has its ranking and no answer; `missing` and `notes` say why, and it is not kept in a cache.

    Raises BadValueError or UnknownNameError for arguments that make no sense.

    >>> answer(style="list", k=3)
    answer(style='list', k=3)
    >>> from sage_nb.models.generator import generator
    >>> @generator("parrot")
    ... def parrot(conversation):
    ...     return "Rays scatter [1]. They sing [2]. So they do [9]."
    >>> from sage_nb.records.values import Document, Query
    >>> hits = [
    ...     Hit(Document(f"d{n}", text), n, 1.0) for n, text in enumerate(("Rays scatter.", "Rain falls."), start=1)
    ... ]
    >>> given = lambda result: msgspec.structs.replace(result, hits=tuple(hits))
    >>> from sage_nb.retrieval.stage import Applied
    >>> result = (Applied(given) >> answer("parrot")).search("what do rays do?")
    >>> print(result.answer.marked)
    Rays scatter [1]. They sing [2]. (unsupported) So they do [?]. (unsupported)
    >>> result.answer.citations
    (Citation(document='d1', start=0, end=13, number=1, quote='Rays scatter.'),)
    """
    return Reply(answerer(generator), style, cite, k, max_tokens, prompt)


def answerer(given: object) -> Generator | Extractive:
    """What is given as who answers: an Extractive, a Generator, or the name of a registered one."""
    return given if isinstance(given, Extractive) else as_generator(given)
