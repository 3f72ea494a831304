"""A conversation in a notebook: the answer as it is written, each citation a button that opens its passage."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import traitlets

from sage_nb.errors import SageError
from sage_nb.notebook.widgets.drawn import Drawn
from sage_nb.records.values import Answer, Result
from sage_nb.retrieval.chat import Chat, Turn

PIECES = 0.1  # seconds between drawings of an answer that is being written
_NUMBER = re.compile(r"\[(\d{1,3})\]")


class ChatView(Drawn):
    """Shows a `sage.chat`, and asks it what is typed.

    `turns` is what has been said, as it is drawn; `writing` the beginning of the answer that is being written; `wrong`
    why the last question was not answered.

    >>> from sage_nb.retrieval.chat import chat
    >>> from sage_nb.retrieval.stage import Applied
    >>> view = ChatView(chat(Applied(lambda result: result)))
    >>> view.ask("is anybody there?")
    >>> view.turns[0]["pieces"][0]["text"]
    'Nothing was found for this question.'
    >>> view.on_clear()
    >>> view.on_ask("and now?")  # as the page does: answered beside the kernel's work
    >>> while not view.turns:
    ...     time.sleep(0.01)
    >>> view.turns[0]["question"], "and now?" in view.html(), "and now?" in view.text()
    ('and now?', True, True)
    """

    name: ClassVar[str] = "chat"
    turns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    asked = traitlets.Unicode().tag(sync=True)
    writing = traitlets.Unicode().tag(sync=True)
    wrong = traitlets.Unicode().tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        super().__init__(turns=[drawn_turn(turn) for turn in chat.turns])
        self._chat, self._one = chat, threading.Lock()

    def ask(self, text: str) -> None:
        """Ask, and show the answer as it comes; what fails is shown, and nothing is remembered of it."""
        with self._one:
            self.set_trait("asked", text)
            self.set_trait("wrong", "")
            try:
                self._stream(text)
            except SageError as error:
                self.set_trait("wrong", str(error))
            finally:
                self.set_trait("turns", [drawn_turn(turn) for turn in self._chat.turns])
                self.set_trait("asked", "")
                self.set_trait("writing", "")

    def on_ask(self, text: str) -> None:
        """A question was typed; it is answered beside the kernel's work."""
        threading.Thread(target=self.ask, args=(text,), name="sage-chat", daemon=True).start()

    def on_clear(self) -> None:
        """The conversation begins anew."""
        self._chat.clear()
        self.set_trait("turns", [])

    def html(self) -> str:
        """The conversation without a box to type in."""
        return self._chat._repr_html_()

    def text(self) -> str:
        """The same in text."""
        return str(self._chat)

    def _stream(self, text: str) -> None:
        said, drawn = "", 0.0
        for piece in self._chat.stream(text):
            said += piece if isinstance(piece, str) else ""
            if time.monotonic() - drawn >= PIECES:
                self.set_trait("writing", said)
                drawn = time.monotonic()


def drawn_turn(turn: Turn) -> dict[str, Any]:
    """A turn as JavaScript draws it: the answer in pieces, and the passages that it cites by their numbers.

    >>> from sage_nb.records.values import Query
    >>> said = Result(Query("q", "why?"), answer=Answer("So it is [1]. No.", unsupported=((14, 17),)))
    >>> for piece in drawn_turn(Turn("why?", "why?", said))["pieces"]:
    ...     print(piece)
    {'text': 'So it is ', 'cites': '', 'doubtful': False}
    {'text': '[1]', 'cites': '1', 'doubtful': False}
    {'text': '. ', 'cites': '', 'doubtful': False}
    {'text': 'No.', 'cites': '', 'doubtful': True}
    """
    answer = turn.result.answer
    pieces = pieces_of(answer) if answer else [{"text": turn.said, "cites": "", "doubtful": False}]
    return {
        "question": turn.question,
        "whole": turn.asked if turn.asked != turn.question else "",
        "pieces": pieces,
        "passages": _passages(turn.result),
        "by": answer.by if answer else "",
        "notes": list(turn.result.remarks) if answer else [],
    }


def pieces_of(answer: Answer) -> list[dict[str, Any]]:
    """An answer's text in pieces: what cites a passage, by its number, and what nothing supports."""
    numbers = {match.start(): match for match in _NUMBER.finditer(answer.text)}
    ends = {match.end() for match in numbers.values()}
    edges = {edge for pair in answer.unsupported for edge in pair}
    marks = sorted({0, len(answer.text), *numbers, *ends, *(edge for edge in edges if edge <= len(answer.text))})
    return [
        {
            "text": answer.text[start:end],
            "cites": numbers[start][1] if start in numbers else "",
            "doubtful": any(first <= start < last for first, last in answer.unsupported),
        }
        for start, end in pairwise(marks)
    ]


def _passages(result: Result) -> dict[str, Mapping[str, Any]]:
    """By number, the passage of the hit, and where in it the quotes stand."""
    cited = {each.number for each in result.answer.citations} if result.answer else set()
    return {str(hit.rank): _passage(result, hit.rank) for hit in result.hits if hit.rank in cited}


def _passage(result: Result, number: int) -> dict[str, Any]:
    hit = next(hit for hit in result.hits if hit.rank == number)
    document, quoted = hit.document, []
    for each in result.answer.citations if result.answer else ():
        at = document.text.find(each.quote) if each.number == number and each.quote else -1
        if at >= 0:
            quoted.append((at, at + len(each.quote)))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(set(quoted)):
        merged.append((max(start, merged[-1][1]) if merged else start, end))
    return {
        "title": document.title or document.id,
        "source": document.source,
        "text": document.text,
        "quoted": [list(pair) for pair in merged if pair[0] < pair[1]],
    }
