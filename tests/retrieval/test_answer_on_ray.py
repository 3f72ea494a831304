"""On actors questions are answered as here: by quoting, by a server, and by a function that is registered only here."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.models.generator import GENERATORS
from sage_nb.runtime.ray.environment import RayEnvironment
from tests.models.chat_server import echoes, serving
from tests.retrieval.laws import QUESTIONS, animals


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster):
    """Every test here wants it."""


def answered_alike(pipe):
    here = pipe.run(QUESTIONS)
    there = pipe.run(QUESTIONS, env=RayEnvironment("asked"))
    assert there.results == here.results
    assert all(result.answer is not None for result in here.results)
    return here.results


def test_quoted_answers_and_those_of_ones_own_function_are_the_same_on_actors(tmp_path, monkeypatch):
    monkeypatch.setitem(GENERATORS, "only here", lambda said: f"{len(said[-1].content)} animals met [1]. Cows fly [9].")
    book = animals(tmp_path).lexical(4)
    answered_alike(book >> sage.answer())
    (first, *_) = answered_alike(book >> sage.answer("only here"))
    assert first.answer.by == "only here"
    assert first.answer.unsupported


def test_actors_ask_a_server(tmp_path):
    with serving(echoes) as server:
        chat = sage.OpenAIChat(server.url, "m", concurrency=1)
        answered_alike(animals(tmp_path).lexical(4) >> sage.answer(chat))
        assert len(server.asked) == 2 * (len(QUESTIONS) - 1)
