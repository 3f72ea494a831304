"""Sentences are exact slices, in order, and lose nothing but space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.records.sentences import sentences


def slices(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  \n ", []),
        ("One", ["One"]),
        ("It rains. It pours.", ["It rains.", "It pours."]),
        ("Really?! “Yes.” (No.) 3 came.", ["Really?!", "“Yes.”", "(No.)", "3 came."]),
        (
            "See Fig. 3 and e.g. Python. J. K. Ray et al. Found it.",
            ["See Fig. 3 and e.g. Python.", "J. K. Ray et al. Found it."],
        ),
        ("Use os.path. then go.", ["Use os.path. then go."]),
        ("Pi is 3.14. So?", ["Pi is 3.14.", "So?"]),
        ("It falls. [1][2] It rises [3]. Up.", ["It falls. [1][2]", "It rises [3].", "Up."]),
        ("It falls. [1] It rises. [2][3]", ["It falls. [1]", "It rises. [2][3]"]),
        ("- It falls. [1]\n- It rises. [2]", ["- It falls. [1]", "- It rises. [2]"]),
        (
            "# Title\n\nText of it\nruns on\n- one\n2. two\nthree",
            ["# Title", "Text of it\nruns on", "- one", "2. two\nthree"],
        ),
        ("雨が降る。本当？はい！", ["雨が降る。", "本当？", "はい！"]),  # noqa: RUF001  as it is written
        ("Über alles. Été comme hiver.", ["Über alles.", "Été comme hiver."]),
    ],
)
def test_where_sentences_end(text, found):
    assert slices(text) == found


@given(st.text(alphabet="aB1 .!?\n-#[]。\"'\t\r\x00é", max_size=80))
def test_they_are_disjoint_in_order_and_hold_everything_but_space(text):
    spans = sentences(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert "".join("".join(slices(text)).split()) == "".join(text.split())
    assert all(each == each.strip() != "" for each in slices(text))


def test_a_long_text_takes_time_in_proportion():
    assert len(sentences("It rains. " * 50_000)) == 50_000
    assert len(sentences(" " * 300_000 + "x")) == 1
    assert len(sentences("\n" * 300_000 + "x")) == 1
    assert len(sentences("." * 300_000)) == 1
