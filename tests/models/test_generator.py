"""Generators of one's own: registered, shipped, and checked in what they give."""

from __future__ import annotations

import subprocess
import sys

import cloudpickle
import pytest

import sage_nb as sage
from sage_nb.errors import GeneratorError
from sage_nb.models.generator import GENERATORS, Registered, as_generator
from sage_nb.retrieval.identity import _part

HELLO = [sage.Message("user", "hello")]


@pytest.fixture
def own(monkeypatch):
    """Registers a function, for one test."""

    def register(function, name="own"):
        monkeypatch.setitem(GENERATORS, name, function)
        return as_generator(name)

    return register


def test_a_function_of_a_conversation_writes(own):
    writer = own(lambda said: f"{said[-1].role} said {said[-1].content}").opened()
    assert writer.write([HELLO, [sage.Message("system", "x")]]) == ["user said hello", "system said x"]
    assert list(writer.stream(HELLO)) == ["user said hello"]


def test_pieces_are_streamed_and_written_as_one_text(own):
    writer = own(lambda said: iter(["he", "llo"])).opened()
    assert list(writer.stream(HELLO)) == ["he", "llo"]
    assert writer.write([HELLO]) == ["hello"]


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (None, "the generator 'own' gave a NoneType; return a text, or its pieces"),
        ([1], "the generator 'own' gave a int; return a text"),
        ("", "the generator 'own' gave no text; look at its prompt"),
        ([" ", "\n"], "the generator 'own' gave no text"),
        ([], "the generator 'own' gave no text"),
    ],
)
def test_what_is_no_text_is_an_error_in_a_sentence(own, gives, said):
    with pytest.raises(GeneratorError, match=said):
        own(lambda _: gives).opened().write([HELLO])


@pytest.mark.parametrize("pieces", [False, True])
def test_a_function_that_fails_is_an_error_in_a_sentence(own, pieces):
    def late(said):
        yield "half a "
        raise OSError("no server")

    def at_once(said):
        raise OSError("no server")

    with pytest.raises(GeneratorError, match="the generator 'own' failed: OSError: no server; look at its function"):
        own(late if pieces else at_once).opened().write([HELLO])


def test_one_that_fails_costs_no_other_its_text(own):
    writer = own(lambda said: said[0].content).opened()
    texts = writer.attempts([HELLO, [sage.Message("user", "")], HELLO])
    assert texts[0] == texts[2] == "hello"
    assert isinstance(texts[1], GeneratorError)


def test_an_unknown_name_is_refused_with_the_nearest(own):
    own(str, "parrot")
    with pytest.raises(sage.UnknownNameError, match="unknown generator 'parot'; did you mean 'parrot'"):
        as_generator("parot")
    with pytest.raises(sage.BadValueError, match="a generator is a Generator or the name of a registered one, got 3"):
        as_generator(3)
    with pytest.raises(sage.BadValueError, match=r"a function is registered by @sage.generator\('name'\)"):
        as_generator(len)


def test_it_takes_its_function_to_a_process_that_has_never_heard_of_it(own, tmp_path):
    made = own(lambda said: said[0].content[::-1])
    (tmp_path / "made").write_bytes(cloudpickle.dumps(made))
    code = (
        "import sys, pickle; from sage_nb.models.generator import Message; "
        "made = pickle.load(open(sys.argv[1], 'rb')); print(made.opened().write([[Message('user', 'abc')]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "made")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['cba']"


def test_another_function_under_the_name_is_another_identity(own):
    first = _part(own(lambda said: "one"))
    again = _part(own(lambda said: "one"))
    other = _part(own(lambda said: "other"))
    assert first.digest == again.digest != other.digest
    assert own(str) == Registered("own")
