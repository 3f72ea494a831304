"""Near-duplicates are those that comparing each with each would find, and fewer are compared."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.errors import BadValueError
from sage_nb.retrieval.near import NearDuplicates, near_duplicates, shingles

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), max_size=14).map(" ".join), max_size=12)


def compared(texts, threshold):
    """The oracle: each text with every one before it that repeats none."""
    places, kept = [], []
    for at, text in enumerate(texts):
        held = shingles(text)
        like = (each for each in kept if _resemblance(held, shingles(texts[each])) >= threshold - 1e-9)
        places.append(next(like, at))
        kept += [at] * (places[-1] == at)
    return places


def _resemblance(one, other):
    return len(one & other) / len(one | other) if one and other else 0.0


@given(TEXTS, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0]))
def test_it_finds_what_comparing_each_with_each_finds(texts, threshold):
    assert near_duplicates(texts, threshold) == compared(texts, threshold)


def test_case_signs_spacing_and_forms_of_a_character_do_not_count():
    assert near_duplicates(["A ﬁne  day, Ärger!", "a fine day A\u0308rger"], 1.0) == [0, 0]


def test_a_small_change_in_a_long_text_is_seen_and_a_great_one_is_not():
    words = [f"w{n}" for n in range(100)]
    small, great = [*words[:50], "new", *words[51:]], [*words[:50], *(f"v{n}" for n in range(50))]
    assert near_duplicates([" ".join(words), " ".join(small), " ".join(great)]) == [0, 0, 2]


def test_texts_of_few_words_or_none_repeat_only_their_like():
    assert near_duplicates(["ants", "Ants!", "ants run", "", "", "?!", "?!", "…"], 0.5) == [0, 0, 2, 3, 4, 5, 5, 7]


def test_chinese_is_compared_by_its_signs():
    text = "检查点在每个输入端对齐屏障然后提交状态并继续处理"
    assert near_duplicates([text, text[:-1] + "了", "窗口在数据流上滑动并汇总每个键的记录"]) == [0, 0, 2]


def test_a_chain_of_small_changes_does_not_lead_to_another_text():
    words = [f"w{n}" for n in range(40)]
    chain = [[*words[: 40 - 4 * step], *(f"v{n}" for n in range(4 * step))] for step in range(4)]
    places = near_duplicates([" ".join(each) for each in chain], 0.75)
    assert places[0] == places[1] == 0
    assert places[3] != 0


def test_few_of_many_texts_are_compared():
    random.seed(7)
    words = [f"w{n}" for n in range(500)]
    boilerplate = " ".join(words[:20])

    class Counting(NearDuplicates):
        count = 0

        def _alike(self, one, other):
            Counting.count += 1
            return super()._alike(one, other)

    seen = Counting()
    texts = [f"{boilerplate} {' '.join(random.choices(words, k=60))}" for _ in range(1000)]
    assert [seen.place(text) for text in texts] == list(range(1000))
    assert Counting.count < 2_000, "of the 499,500 pairs"


@pytest.mark.parametrize("threshold", [0, -1, 1.1, True, "high", float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(BadValueError, match="near-duplicates need a threshold above 0, and 1 at the most, got"):
        near_duplicates([], threshold)
