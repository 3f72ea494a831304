"""The client for OpenAI-compatible servers, against a real one on loopback that fails in every way we know."""

from __future__ import annotations

import sys
import threading
import time
from email.utils import formatdate

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, MissingExtraError
from sage_nb.models.openai_chat import OpenAIChat, _asked_wait
from tests.models.chat_server import answers, cuts, echoes, ends, is_silent, refuses, says, sends, serving

HELLO = [sage.Message("system", "be short"), sage.Message("user", "hello")]


def asked(server, **how):
    """The texts of one conversation, by a patient or impatient client."""
    return OpenAIChat(server.url, "m", **how).opened().write([HELLO])[0]


def test_tokens_come_as_they_are_made():
    come = threading.Event()

    def turn(handler):
        handler.open_stream()
        handler.piece("one ")
        assert come.wait(60), "the first piece must be there before the second is made"
        handler.piece("two", "stop")
        handler.end()

    with serving(turn) as server:
        pieces = OpenAIChat(server.url, "m").opened().stream(HELLO)
        assert next(pieces) == "one "
        come.set()
        assert list(pieces) == ["two"]


def test_what_is_asked_is_what_was_said(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret of another server")
    monkeypatch.setenv("MY_KEY", "k1")
    with serving(says("hi")) as server:
        assert asked(server, temperature=0.5, max_tokens=9, seed=3) == "hi"
        assert asked(server, temperature=None, api_key_env="MY_KEY") == "hi"
        first, second = server.asked
        assert [path for path, _ in server.heads] == ["/v1/chat/completions"] * 2
        assert [key for _, key in server.heads] == ["Bearer none", "Bearer k1"]
    said = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
    assert first == {"model": "m", "messages": said, "stream": True, "temperature": 0.5, "max_tokens": 9, "seed": 3}
    assert second == {"model": "m", "messages": said, "stream": True, "max_tokens": 512}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(status):
    with serving(refuses(status, [("Retry-After", "0")]), says("at ", "last")) as server:
        assert asked(server, retries=1) == "at last"
        assert len(server.asked) == 2


@pytest.mark.parametrize("turn", [cuts(), cuts("half"), ends(), ends("half"), answers(b"<html>", "text/html")])
def test_an_answer_that_is_cut_is_asked_for_again_and_nothing_of_the_half_stays(turn):
    with serving(turn, says("whole")) as server:
        assert asked(server, retries=1) == "whole"
        assert len(server.asked) == 2


def test_the_wait_that_the_server_names_is_kept():
    times = []

    def turn(handler):
        times.append(time.monotonic())
        (says("ok") if len(times) > 1 else refuses(429, [("Retry-After", "2")]))(handler)

    with serving(turn) as server:
        assert asked(server, retries=1) == "ok"
        assert times[1] - times[0] >= 2, "of itself it would have waited 1.5 s at most"
    with serving(refuses(429, [("Retry-After", "3600")])) as server:
        with pytest.raises(GeneratorError, match=r"wants to be left alone for 3600 s: HTTP 429: .*no, not now"):
            asked(server)
        assert len(server.asked) == 1


def test_a_wait_is_named_in_seconds_or_as_a_date():
    assert _asked_wait({"retry-after": "2.5"}) == 2.5
    assert _asked_wait({"retry-after": "-3"}) == 0
    assert 0 < _asked_wait({"retry-after": formatdate(time.time() + 30, usegmt=True)}) <= 30
    assert [_asked_wait({"retry-after": each}) for each in ("", "nan", "inf", "soon", "9" * 400)] == [None] * 5


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (refuses(500), r"was asked 2 times, at last: HTTP 500: .*no, not now"),
        (refuses(503, message="two\nlines"), r"HTTP 503: .*two"),
        (cuts("half"), r"was asked 2 times, at last: no connection, or one that was cut \(.*\); is it running\?"),
        (ends("half"), r"at last: its answer ended before it was finished"),
        (answers(b"<html>hello", "text/html"), "at last: its answer ended before it was finished"),
        (sends("{not json"), r"at last: it sent what is no chat \(JSONDecodeError\)"),
        (sends([1, 2]), "at last: it sent what is no chat"),
        (sends({"error": {"message": "out of memory"}}), "at last: it broke off with 'out of memory'"),
        (sends({"hello": 1}), "at last: its answer ended before it was finished"),
        (sends({"choices": [{"delta": None, "finish_reason": None}]}), "ended before it was finished"),
        (sends({"choices": [{"delta": {"content": 3}, "finish_reason": "stop"}]}), "gave a int"),
        (sends({"choices": "x"}), "at last: it sent what is no chat"),
    ],
)
def test_one_that_stays_in_trouble_is_told_in_a_sentence(turn, said):
    with serving(turn) as server:
        with pytest.raises(GeneratorError, match=said) as error:
            asked(server, retries=1)
        assert "\n" not in str(error.value)
        assert server.url in str(error.value)


def test_a_silent_server_is_not_waited_for_longer_than_allowed():
    with serving(is_silent("half")) as server:
        with pytest.raises(GeneratorError, match=r"asked 2 times, at last: it was silent for 0.3 s \(timeout=\)"):
            asked(server, retries=1, timeout=0.3)
        assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_request_that_is_wrong_is_not_made_again(status):
    with serving(refuses(status)) as server:
        with pytest.raises(GeneratorError, match=f"refused: HTTP {status}: .*; look at model and api_key_env"):
            asked(server)
        assert len(server.asked) == 1


@pytest.mark.parametrize("turn", [says(), says("", " \n"), says(None)])
def test_an_empty_answer_is_an_error_and_not_asked_for_again(turn):
    with serving(turn) as server:
        with pytest.raises(GeneratorError, match="gave no text; look at its prompt and its limit of tokens"):
            asked(server)
        assert len(server.asked) == 1


def test_a_server_that_is_not_there():
    with serving(says("x")) as server:
        gone = OpenAIChat(server.url, "m", retries=0)
    with pytest.raises(GeneratorError, match=r"was asked once: no connection, .*; is it running\?"):
        gone.opened().write([HELLO])


def test_a_stream_that_is_cut_says_so_after_the_pieces_that_came():
    read = threading.Event()

    def turn(handler):
        handler.open_stream()
        handler.piece("one ")
        read.wait(60)  # a reset takes what is not read yet along
        handler.cut()

    with serving(refuses(500, [("Retry-After", "0")]), turn) as server:
        pieces = OpenAIChat(server.url, "m", retries=3).opened().stream(HELLO)
        assert next(pieces) == "one ", "until the first piece it is asked again"
        read.set()
        with pytest.raises(GeneratorError, match="stopped in its text: no connection, or one that was cut"):
            list(pieces)
        assert len(server.asked) == 2


def test_a_stream_that_nobody_reads_on_leaves_its_place_to_others():
    with serving(is_silent("a", "b"), says("next")) as server:
        chat = OpenAIChat(server.url, "m", concurrency=1)
        writer = chat.opened()
        pieces = writer.stream(HELLO)
        assert next(pieces) == "a"
        pieces.close()
        assert chat.opened().write([HELLO]) == ["next"]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_requests_are_under_way_than_allowed_and_as_many(limit):
    full = threading.Event()

    def turn(handler):
        if handler.server.most >= limit:
            full.set()
        assert full.wait(60), "as many as allowed must come, though none is answered"
        handler.server.over.wait(0.1)  # for one too many to show
        handler.leaves()
        echoes(handler)

    with serving(turn) as server:
        writers = [OpenAIChat(server.url, "m", concurrency=limit).opened() for _ in range(2)]
        talks = [[sage.Message("user", f"n{at}")] for at in range(6)]
        texts = {}
        threads = [
            threading.Thread(target=lambda n=n, w=w: texts.update({n: w.attempts(talks)}))
            for n, w in enumerate(writers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most == limit
        assert all(len(each) == 6 for each in texts.values())


def test_texts_keep_to_their_questions_and_one_failure_costs_no_other():
    def turn(handler):
        talk = handler.server
        body = talk.asked[-1]["messages"][-1]["content"]
        refuses(400)(handler) if body == "n3" else says(body)(handler)

    with serving(turn) as server:
        talks = [[sage.Message("user", f"n{at}")] for at in range(6)]
        texts = OpenAIChat(server.url, "m", concurrency=1).opened().attempts(talks)
        assert [str(each) for each in texts[:3] + texts[4:]] == ["n0", "n1", "n2", "n4", "n5"]
        assert isinstance(texts[3], GeneratorError)


def test_without_the_library_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"OpenAIChat needs 'openai'; run: pip install 'sage-nb\[openai\]'"):
        OpenAIChat("http://localhost:1/v1", "m").opened()


def test_a_key_that_is_not_there_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(GeneratorError, match="environment variable 'NO_SUCH_KEY', which is not set"):
        OpenAIChat("http://localhost:1/v1", "m", api_key_env="NO_SUCH_KEY").opened()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_url": "localhost:8000"}, "base_url must be a server's address without a password"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url must be a server's address without a password"),
        ({"base_url": None}, "base_url must be a server's address"),
        ({"base_url": "http://[::1"}, "base_url must be a server's address"),
        ({"model": " "}, "needs the name of a model that the server offers, got ' '"),
        ({"api_key_env": "sk-abc"}, "api_key_env must be the name of an environment variable that holds the key"),
        ({"temperature": -1}, "temperature must be a number of 0 or more, or None, got -1"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"max_tokens": 0}, "max_tokens must be a whole number of 1 or more, got 0"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0, got 0"),
        ({"retries": -1}, "retries must be a whole number of 0 or more, got -1"),
        ({"concurrency": True}, "concurrency must be a whole number of 1 or more, got True"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_and_no_secret_is_repeated(given, said):
    with pytest.raises(BadValueError, match=said) as error:
        OpenAIChat(**{"base_url": "http://localhost:1/v1", "model": "m", **given})
    assert not any(secret in str(error.value) for secret in ("sk-abc", "secret"))


def test_only_what_words_depend_on_counts_for_the_cache():
    chat = OpenAIChat("http://localhost:1/v1", "m")
    patient = OpenAIChat("http://localhost:1/v1", "m", timeout=1, retries=9, concurrency=2, api_key_env="KEY")
    assert chat.fingerprint == patient.fingerprint
    others = [{"temperature": 1.0}, {"max_tokens": 3}, {"seed": 1}]
    made = {OpenAIChat("http://localhost:1/v1", "m", **each).fingerprint for each in others}
    assert len({chat.fingerprint, *made}) == 4
    assert chat.limited(3) == OpenAIChat("http://localhost:1/v1", "m", max_tokens=3)
