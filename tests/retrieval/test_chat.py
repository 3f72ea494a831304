"""Conversations: a follow-up is understood, turns are kept, tokens are streamed, and failures leave what was said."""

from __future__ import annotations

import threading

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.models.generator import GENERATORS
from sage_nb.retrieval.answer import NOTHING
from sage_nb.retrieval.follow_up import leaning
from tests.models.chat_server import refuses, serving
from tests.models.tiny_chat import TEMPLATE, tiny_chat

DOCUMENTS = [
    sage.Document("py", "Guido van Rossum designed the Python language. It appeared in 1991."),
    sage.Document("rs", "Graydon Hoare began the Rust language. It appeared in 2012."),
    sage.Document("moon", "The Moon circles the Earth in 27 days."),
]


@pytest.fixture
def book(tmp_path):
    made = sage.Collection(str(tmp_path / "book"), encoder=None)
    made.add(DOCUMENTS, progress=False)
    return made.lexical(2)


@pytest.fixture
def own(monkeypatch):
    """A generator that answers, and rewrites questions to the one given; what it was asked lies in `own.asked`."""

    def say(rewritten, answered="Guido van Rossum designed it [1]."):
        def speak(conversation):
            say.asked.append(conversation)
            text = rewritten if "Last question:" in conversation[-1].content else answered
            if isinstance(text, Exception):
                raise text
            return text

        monkeypatch.setitem(GENERATORS, "own", speak)
        return "own"

    say.asked = []
    return say


def test_without_a_generator_a_follow_up_finds_what_was_spoken_of(book):
    talk = sage.chat(book)
    assert talk.ask("Who designed the Python language?").hits[0].document.id == "py"
    second = talk.ask("When did it appear?")
    assert second.hits[0].document.id == "py"
    assert second.query.text == "When did it appear? designed Python language"
    assert len(book.search("When did it appear?").hits) == 2, "alone it does not say which"
    assert second.answer.citations[0].document == "py"
    assert [turn.question for turn in talk.turns] == ["Who designed the Python language?", "When did it appear?"]
    assert talk.ask("How many days does the Moon take to circle the Earth?").query.text.endswith("Earth?")


@pytest.mark.parametrize(
    ("question", "before", "whole"),
    [
        ("and in 1990?", "Who led the party?", "and in 1990? led party"),
        ("Why?", "Does the lock of a thread block?", "Why? lock thread block"),
        ("Is this one faster than a lock?", "What is a spin lock?", "Is this one faster than a lock? spin"),
        ("How do tides follow the moon around?", "Who wrote Python?", "How do tides follow the moon around?"),
        ("what about that?", "why?", "what about that?"),
        ("it?", " ".join(f"w{n}" for n in range(40)), "it? " + " ".join(f"w{n}" for n in range(12))),
    ],
)
def test_a_question_leans_on_the_one_before_where_it_refers_or_says_little(question, before, whole):
    assert leaning(question, before) == whole


def test_a_generator_condenses_with_the_history_in_view(book, own):
    talk = sage.chat(book, own('"Who designed the Python language?"\nI hope that helps!'))
    talk.ask("python")
    assert len(own.asked) == 1, "the first question stands as it is"
    result = talk.ask("whose work was it?")
    assert result.query.text == "Who designed the Python language?"
    asked = own.asked[1][-1].content
    assert "User: python\nAssistant: Guido van Rossum designed it [1]." in asked
    assert "Last question: whose work was it?" in asked
    assert talk.turns[1].question == "whose work was it?"
    assert "Question: Who designed the Python language?" in own.asked[2][-1].content


def test_only_the_last_turns_are_in_view(book, own):
    talk = sage.chat(book, own("python"), memory=2)
    for n in range(4):
        talk.ask(f"python {n}")
    history = own.asked[-2][-1].content
    assert [f"User: python {n}" in history for n in range(4)] == [False, True, True, False]


def test_where_the_generator_fails_the_rule_serves_and_that_is_said(book, own):
    talk = sage.chat(book, own(""))
    talk.ask("Who designed the Python language?")
    result = talk.ask("When did it appear?")
    assert result.query.text == "When did it appear? designed Python language"
    assert result.notes[0].startswith("the question was made whole by rule, since the generator 'own' gave no text")
    assert result.answer is not None


def test_a_pipeline_that_answers_is_answered_by_that(book, own):
    talk = sage.chat(book >> sage.answer(own("python"), style="list"))
    assert talk.ask("python").answer.by == "own"
    assert "list of short points" in own.asked[0][-1].content
    talk.ask("and it?")
    assert "Last question: and it?" in own.asked[1][-1].content
    other = sage.chat(book >> sage.answer(), own("Who designed the Python language?"))
    other.ask("python")
    before = len(own.asked)
    assert "Extractive" in other.ask("who?").answer.by
    assert len(own.asked) == before + 1, "it only condenses"


def test_pieces_come_as_they_are_made_then_the_result(book):
    come = threading.Event()

    def turn(handler):
        handler.open_stream()
        handler.piece("Guido van Rossum ")
        assert come.wait(60)
        handler.piece("designed it [1].", "stop")
        handler.end()

    with serving(turn) as server:
        talk = sage.chat(book, sage.OpenAIChat(server.url, "m"))
        pieces = talk.stream("Who designed Python?")
        assert next(pieces) == "Guido van Rossum "
        assert talk.turns == ()
        come.set()
        assert next(pieces) == "designed it [1]."
        result = next(pieces)
        assert list(pieces) == []
    assert result.answer.citations[0].document == "py"
    assert talk.turns[0].result is result


def test_a_stream_that_fails_gives_its_pieces_and_a_result_without_an_answer(book):
    read = threading.Event()

    def turn(handler):
        handler.open_stream()
        handler.piece("Guido ")
        read.wait(60)
        handler.cut()

    with serving(turn) as server:
        talk = sage.chat(book, sage.OpenAIChat(server.url, "m"))
        pieces = talk.stream("Who designed Python?")
        assert next(pieces) == "Guido "
        read.set()
        (result,) = pieces
    assert result.answer is None
    assert "stopped in its text" in result.notes[0]
    assert "stopped in its text" in str(talk)


def test_what_is_not_read_to_its_end_is_not_remembered(book, own):
    talk = sage.chat(book, own("x", iter(["a", "b"])))
    pieces = talk.stream("python")
    next(pieces)
    pieces.close()
    assert talk.turns == ()


def test_a_server_that_refuses_leaves_the_ranking(book):
    with serving(refuses(401)) as server:
        result = sage.chat(book, sage.OpenAIChat(server.url, "m")).ask("python")
    assert result.answer is None
    assert result.hits
    assert "HTTP 401" in result.notes[0]


def test_nothing_found_is_said_and_the_conversation_goes_on(book, own):
    talk = sage.chat(book, own("python"))
    assert talk.ask("zebra").answer.text == NOTHING
    assert own.asked == []
    assert talk.ask("and now?").answer.by == "own"


def test_a_local_model_answers(book, tmp_path):
    talk = sage.chat(book, sage.TransformersChat(tiny_chat(tmp_path / "tiny", template=TEMPLATE), max_tokens=5))
    *pieces, result = talk.stream("python")
    assert "".join(pieces).strip() == result.answer.text
    assert result.answer.by.endswith("tiny")


def test_a_question_that_fails_is_raised_and_not_remembered(book):
    def broken(result):
        raise OSError("no disk")

    talk = sage.chat(book >> broken)
    with pytest.raises(sage.OperatorError, match="no disk"):
        talk.ask("python")
    with pytest.raises(BadValueError, match="the question has no text; give it some words"):
        talk.ask(" ")
    assert talk.turns == ()


def test_a_conversation_is_shown_and_nothing_in_it_runs(book, own):
    talk = sage.chat(book, own("<i>python</i>", "<script>x</script> [1] & so\n[9]"))
    assert "Nothing has been asked yet" in talk._repr_html_()
    assert str(talk) == "Nothing has been asked yet."
    talk.ask("<b>python</b>")
    talk.ask("<b>it</b>")
    html = talk._repr_html_()
    assert not any(tag in html for tag in ("<script", "<b>", "<i>"))
    assert html.count("sage-asked'") == 2
    assert "(asked as: &lt;i&gt;python&lt;/i&gt;)" in html
    assert "? <b>it</b>  (asked as: <i>python</i>)" in str(talk)
    for _ in range(20):
        talk.ask("python")
    assert "the last 20 of 22 turns" in talk._repr_html_()
    assert "22 turns" in repr(talk)
    talk.clear()
    assert talk.turns == ()


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda book: sage.chat("book"), BadValueError, "chat.. needs a pipeline, got 'book'"),
        (lambda book: sage.chat(sage.answer()), BadValueError, "that begins with a retriever"),
        (lambda book: sage.chat(book, "nobody"), UnknownNameError, "unknown generator 'nobody'"),
        (lambda book: sage.chat(book, memory=0), BadValueError, "memory= of chat.. must be a whole number"),
        (lambda book: sage.chat(book, prompt="answer"), BadValueError, r"the prompt 'answer' lacks \$history"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(book, make, error, said):
    with pytest.raises(error, match=said):
        make(book)
