"""A conversation over a pipeline: follow-up questions are made whole by what was said before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sage_nb.errors import BadValueError, GeneratorError
from sage_nb.models.generator import Generator
from sage_nb.records import markup
from sage_nb.records.values import Result, answer_html
from sage_nb.retrieval.answer import Reply, Replying, answerer
from sage_nb.retrieval.extractive import Extractive
from sage_nb.retrieval.follow_up import condensed, leaning
from sage_nb.retrieval.given import check_whole
from sage_nb.retrieval.prompt import prompt as prompt_of
from sage_nb.retrieval.questions import check_text
from sage_nb.retrieval.stage import Stage, Then
from sage_nb.runtime.context import LocalContext

SHOWN = 20  # turns that are shown, the last ones; all are in `turns`


class Turn(msgspec.Struct, frozen=True):
    """What was asked, the question that stood for it, and the result."""

    question: str
    asked: str
    result: Result

    @property
    def said(self) -> str:
        """The answer's text, or why there is none."""
        result = self.result
        return result.answer.marked if result.answer else " · ".join(result.remarks) or "No answer."


class Chat:
    """The conversation; made by `chat`. Not for two threads at once."""

    def __init__(self, pipe: Stage, reply: Reply, condenser: Generator | Extractive, prompt: str, memory: int) -> None:
        self._pipe, self._reply, self._condenser, self._memory = pipe, reply, condenser, memory
        self._prompt = prompt_of(prompt).checked("history", "question")
        self._turns: list[Turn] = []

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What has been asked and answered, oldest first."""
        return tuple(self._turns)

    def ask(self, text: str) -> Result:
        """Ask; the result's `query` is the question that stood for it.

        Raises BadValueError for a question without text, and what an operator raises; then nothing is remembered.
        """
        *_, result = self.stream(text)
        if not isinstance(result, Result):
            raise BadValueError(f"the answer to {text!r:.60} ended without a result; ask again")
        return result

    def stream(self, text: str) -> Iterator[str | Result]:
        """The pieces of the answer as they come, then the Result; remembered when all of it has been read.

        >>> from sage_nb.retrieval.stage import Applied
        >>> for piece in chat(Applied(lambda result: result)).stream("is anybody there?"):
        ...     print(piece if isinstance(piece, str) else len(piece.hits))
        Nothing was found for this question.
        0
        """
        check_text(text, "the question")
        asked, notes = self._whole(text)
        found = self._pipe.search(asked)
        replying = Replying(self._reply)
        replying.open(LocalContext(name=self._reply.label))
        try:
            for piece in replying.stream(msgspec.structs.replace(found, notes=(*notes, *found.notes))):
                if isinstance(piece, Result):
                    self._turns.append(Turn(text, asked, piece))
                yield piece
        finally:
            replying.close()

    def clear(self) -> None:
        """Forget what was said."""
        self._turns.clear()

    def _whole(self, text: str) -> tuple[str, tuple[str, ...]]:
        """The question that stands for `text`, and what is to be said of it."""
        if not self._turns:
            return text, ()
        before = self._turns[-1].asked
        if isinstance(self._condenser, Extractive):
            return leaning(text, before), ()
        history = [(turn.question, turn.said) for turn in self._turns[-self._memory :]]
        try:
            writer = self._condenser.opened()
            try:
                return condensed(writer, self._prompt, history, text), ()
            finally:
                writer.close()
        except GeneratorError as error:
            return leaning(text, before), (f"the question was made whole by rule, since {error}",)

    def __repr__(self) -> str:
        return f"<Chat over {self._pipe!r} >> {self._reply!r}: {len(self._turns)} turns>"

    def __str__(self) -> str:
        """The conversation in text."""
        lines = [f"? {turn.question}{_as_asked(turn)}\n{turn.said}" for turn in self._turns[-SHOWN:]]
        return "\n\n".join([*self._left_out(), *lines]) or "Nothing has been asked yet."

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        """What IPython writes where there is no HTML."""
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        """The conversation as a notebook shows it."""
        above = "".join(f"<div class='sage-quiet mathjax_ignore'>{each}</div>" for each in self._left_out())
        turns = "".join(map(_turn_html, self._turns[-SHOWN:])) or "<div>Nothing has been asked yet.</div>"
        return f"{markup.STYLE}<div class='sage-chat mathjax_ignore'>{above}{turns}</div>"

    def _left_out(self) -> list[str]:
        return [f"the last {SHOWN} of {len(self._turns)} turns"] if len(self._turns) > SHOWN else []


def chat(
    pipe: Stage,
    generator: Generator | Extractive | str | None = None,
    *,
    prompt: str = "condense",
    memory: int = 5,
) -> Chat:
    """A conversation over a pipeline: `.ask(text)` gives a Result with an answer, `.stream(text)` its pieces first.

    A question after the first is made one that can be understood alone, since retrievers remember nothing: the
    generator rewrites it by `prompt` (see `sage.prompt("condense")`, or a file of one's own), with the last `memory`
    turns in view. This is history-aware query rewriting (Vakulenko et al., "Question Rewriting for Conversational
    Question Answering", WSDM 2021). Without a generator, or where it fails, words of the question before are added by a
    rule; see `retrieval.follow_up.leaning`.

    A pipeline that ends with `answer(…)` is answered by that, and its generator condenses unless another is given; any
    other is answered by `answer(generator)`.

    >>> chat(Stage.from_yaml("{sage_nb: 1, pipeline: {cut: {k: 3}}}"))
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: chat() needs a pipeline that begins with a retriever, and Cut(k=3) needs a ranking
    """
    if not isinstance(pipe, Stage):
        raise BadValueError(f"chat() needs a pipeline, got {pipe!r:.60} ({type(pipe).__name__})")
    if pipe.needs == "ranking":
        raise BadValueError(f"chat() needs a pipeline that begins with a retriever, and {pipe!r} needs a ranking")
    check_whole(memory, "memory= of chat()")
    first, reply = pipe, None
    if isinstance(pipe, Then) and isinstance(pipe.second, Reply):
        first, reply = pipe.first, pipe.second
    condenser = (reply or Reply()).generator if generator is None else answerer(generator)
    return Chat(first, reply or Reply(condenser), condenser, prompt, memory)


def _as_asked(turn: Turn) -> str:
    return f"  (asked as: {turn.asked})" if turn.asked != turn.question else ""


def _turn_html(turn: Turn) -> str:
    asked = f"<div class='sage-asked'>{markup.escape(turn.question).text}</div>"
    whole = f"<div class='sage-quiet mathjax_ignore'>{markup.escape(_as_asked(turn).strip()).text}</div>"
    said = answer_html(turn.result) if turn.result.answer else f"<div>{markup.escape(turn.said).text}</div>"
    return f"{asked}{whole if turn.asked != turn.question else ''}{said}"
