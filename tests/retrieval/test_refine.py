"""Refining stages: what is left, in which order, with which spans; and the laws of a stage for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.errors import BadValueError, ModelError
from sage_nb.models.registry import ENCODERS
from sage_nb.records.chunk import count_tokens
from sage_nb.retrieval.mmr import marginal_relevance
from sage_nb.retrieval.refine import ends_first
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import QUESTIONS, animals, check_laws, given, ids, run_cached

TEXT = "Rays scatter at dusk.  Bees sleep! (A remark.) Rays bend in glass. 蜂は眠る。光は曲がる。\n\n- a point\n- rays"


class Letters:
    """An encoder that counts vowels."""

    name, dimension, fingerprint, truncated = "letters", 5, "1", 0

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        counts = np.array([[0.1 + text.lower().count(each) for each in "aeiou"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def letters(monkeypatch):
    made = Letters()
    monkeypatch.setitem(ENCODERS, "letters", lambda: made)
    return made


@pytest.mark.parametrize(
    "build",
    [
        lambda: sage.min_score(0.5),
        lambda: sage.dedup(0.4),
        sage.reorder,
        lambda: sage.mmr(6, 0.4, encoder="letters"),
        lambda: sage.compress(40, encoder="letters"),
        lambda: (
            sage.dedup(0.6) >> sage.mmr(6, encoder="letters") >> sage.compress(60, encoder="letters") >> sage.reorder()
        ),
    ],
    ids=["min_score", "dedup", "reorder", "mmr", "compress", "all"],
)
def test_it_keeps_the_laws_of_a_stage(tmp_path, letters, build):
    found = check_laws(tmp_path, build())
    assert any(result.hits for result in found)


def test_the_bundled_encoder_serves_and_many_questions_are_answered_as_each_alone(tmp_path):
    pipe = animals(tmp_path).lexical(8) >> sage.mmr(5, 0.4) >> sage.compress(60)
    many = pipe.run(QUESTIONS[:3]).results
    for question, result in zip(QUESTIONS, many, strict=False):
        alone = pipe.run([question]).results[0]
        assert ids(alone) == ids(result)
        assert [hit.spans for hit in alone] == [hit.spans for hit in result]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in result], abs=2e-2)  # bf16 on some


def test_what_leaves_scores_as_they_are_leaves_their_floor(tmp_path):
    found = animals(tmp_path).lexical(8)
    kept = found >> sage.dedup() >> sage.min_score(1) >> sage.compress(60) >> sage.reorder()
    assert (found.floor, (kept % 3).floor, (kept >> sage.mmr(3)).floor) == (0.0, 0.0, None)


# least score


def test_hits_below_the_least_score_are_left_out_and_that_is_said():
    found = (given(("a", "x", 0.9), ("b", "x", 0.5), ("c", "x", 0.4)) >> sage.min_score(0.5)).search("x")
    assert ids(found) == ["a", "b"]
    assert found.notes == ("min_score: 1 of 3 hits score below 0.5",)
    assert [(step.stage, step.score) for step in found.hits[1].steps] == [("given", 0.5), ("min_score", 0.5)]
    nothing = (given(("a", "x", 0.9)) >> sage.min_score(2)).search("x")
    assert (nothing.hits, nothing.notes) == ((), ("min_score: 1 of 1 hits score below 2",))
    assert not (given(("a", "x", 0.9)) >> sage.min_score(-1)).search("x").notes


# near-duplicates


def test_of_near_duplicates_the_best_stays_with_the_rank_it_now_has():
    one = "the ant met the bee on a hill in the rain at noon"
    found = (
        given(("a", one), ("b", "something else"), ("c", one + " today"), ("d", "a third")) >> sage.dedup()
    ).search("x")
    assert [(hit.document.id, hit.rank, hit.score) for hit in found] == [("a", 1, 4.0), ("b", 2, 3.0), ("d", 3, 1.0)]
    assert found.notes == ("dedup: 1 hits left out that nearly repeat a better one",)


def test_what_is_compared_is_what_is_kept_of_a_text():
    same, other = "Rays scatter at dusk and dawn.", " Bees sleep."
    pipe = given(("a", same + other), ("b", same + " Ants work. Eels swim. Hens lay. Dogs run."))
    assert len((pipe >> sage.dedup()).search("x")) == 2

    def first_sentence(result):
        hits = tuple(sage.Hit(h.document, h.rank, h.score, h.steps, h.collection, ((0, len(same)),)) for h in result)
        return sage.Result(result.query, hits)

    assert ids((pipe >> first_sentence >> sage.dedup()).search("x")) == ["a"]


# order


@over(st.lists(st.integers(), unique=True))
def test_the_better_a_hit_is_the_nearer_it_stands_to_an_end(best_first):
    order = ends_first(best_first)
    assert sorted(order) == sorted(best_first)
    reach = [min(order.index(each), len(order) - 1 - order.index(each)) for each in best_first]
    assert reach == sorted(reach)
    assert order[:1] == best_first[:1]


def test_hits_are_reordered_with_the_scores_they_had():
    found = (given(*[(name, name) for name in "abcde"]) >> sage.reorder()).search("x")
    assert [(hit.document.id, hit.rank, hit.score) for hit in found] == [
        ("a", 1, 5.0), ("c", 2, 3.0), ("e", 3, 1.0), ("d", 4, 2.0), ("b", 5, 4.0),
    ]  # fmt: skip


# marginal relevance


def by_definition(scores, vectors, k, diversity):
    """Of Carbonell and Goldstein, pair by pair."""
    low, high = min(scores), max(scores)
    relevance = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
    chosen = []
    while len(chosen) < min(k, len(scores)):
        values = {}
        for at in range(len(scores)):
            if at not in [place for place, _ in chosen]:
                alike = max([0.0, *(float(vectors[at] @ vectors[place]) for place, _ in chosen)])
                values[at] = (1 - diversity) * relevance[at] - diversity * alike
        best = max(values, key=lambda at: (values[at], -at))
        chosen.append((best, values[best]))
    return chosen


VECTORS = st.lists(
    st.sampled_from([(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (-1, 0, 0, 0), (0.5, 0.5, 0.5, 0.5)]),
    min_size=1,
    max_size=7,
)


@over(vectors=VECTORS, data=st.data(), k=st.integers(1, 9), diversity=st.sampled_from([0, 0.25, 0.5, 1]))
def test_marginal_relevance_is_chosen_by_its_definition_and_never_rises(vectors, data, k, diversity):
    scores = sorted(data.draw(st.lists(st.integers(0, 8).map(float), min_size=len(vectors), max_size=len(vectors))))[
        ::-1
    ]
    found = marginal_relevance(scores, np.array(vectors, np.float32), k, diversity)
    wanted = by_definition(scores, np.array(vectors, np.float32), k, diversity)
    assert [place for place, _ in found] == [place for place, _ in wanted]
    values = [value for _, value in found]
    assert values == pytest.approx([value for _, value in wanted])
    assert values == sorted(values, reverse=True)
    if not diversity:
        assert [place for place, _ in found] == list(range(min(k, len(scores))))


def test_what_says_the_same_as_a_chosen_hit_waits(letters):
    pipe = given(("a", "aa", 3.0), ("b", "aaa", 2.9), ("c", "oo", 2.5), ("d", "ee", 0.0))
    assert ids((pipe >> sage.mmr(3, 0.0, encoder="letters")).search("x")) == ["a", "b", "c"]
    found = (pipe >> sage.mmr(3, 0.5, encoder="letters")).search("x")
    assert ids(found) == ["a", "c", "b"]
    assert [step.stage for step in found.hits[1].steps] == ["given", "mmr"]
    assert len((given(("a", "aa")) >> sage.mmr(3, encoder="letters")).search("x")) == 1


# compression


def test_the_sentences_nearest_to_the_question_are_kept_as_spans_of_the_text(letters):
    one = "Aa aa. Oo oo! Ee ee. Aa aa aa."
    pipe = given(("a", one), ("b", "Ii ii. Uu uu."), ("c", "Eee. Aaa.")) >> sage.compress(12, encoder="letters")
    found = pipe.search("a?")
    assert [(hit.document.id, hit.text, hit.score) for hit in found] == [
        ("a", "Aa aa. … Aa aa aa.", 3.0),
        ("c", "Aaa.", 1.0),
    ]
    assert found.hits[0].spans == ((0, 6), (21, 30))
    assert found.hits[0].document.text == one
    assert found.notes == ("compress: 3 of 8 sentences, of 2 of 3 hits",)


@over(
    text=st.text("aeo. !\n-A,", max_size=80), other=st.sampled_from([TEXT, "", "a " * 400]), tokens=st.integers(1, 60)
)
def test_a_budget_is_kept_and_spans_are_apart_in_order_and_within_the_text(text, other, tokens):
    ENCODERS["letters"] = Letters
    try:
        pipe = given(("a", TEXT), ("b", text), ("c", other)) >> sage.compress(tokens, encoder="letters")
        found = pipe.search("rays and bees")
    finally:
        del ENCODERS["letters"]
    assert sum(count_tokens(hit.text) for hit in found) <= tokens
    assert found.hits, "a sentence that is too long is cut"
    for hit in found:
        edges = [edge for span in hit.spans for edge in span]
        assert edges == sorted(set(edges))
        assert all(0 <= edge <= len(hit.document.text) for edge in edges)
        assert all(hit.document.text[start:end].strip() for start, end in hit.spans)


def test_where_all_fits_all_is_kept_as_it_was(letters):
    found = (given(("a", TEXT), ("b", "")) >> sage.compress(1000, encoder="letters")).search("rays")
    assert ids(found) == ["a"], "what has no text has nothing to keep"
    assert found.hits[0].spans == ()
    assert not found.notes


def test_a_second_compression_takes_from_what_the_first_has_kept(letters):
    pipe = given(("a", TEXT), ("b", "Bees hum. Rays do not."))
    first = (pipe >> sage.compress(30, encoder="letters")).search("rays")
    second = (pipe >> sage.compress(30, encoder="letters") >> sage.compress(10, encoder="letters")).search("rays")
    kept = {hit.document.id: hit.spans for hit in first}
    assert second.hits
    for hit in second:
        for start, end in hit.spans:
            assert any(low <= start < end <= high for low, high in kept[hit.document.id] or ((0, 99),))


# what is computed


def test_another_budget_encodes_nothing_anew(tmp_path, letters):
    retrieved, cache = animals(tmp_path).lexical(9), CellCache(tmp_path / "cache")
    try:
        run_cached(retrieved >> sage.compress(30, encoder="letters"), cache)
        before = list(letters.asked)
        assert len(set(before)) == len(before) > 0
        again = run_cached(retrieved >> sage.compress(20, encoder="letters"), cache)
        assert letters.asked == before
        assert again.results == (retrieved >> sage.compress(20, encoder="letters")).run(QUESTIONS).results
    finally:
        cache.close()


def test_a_text_that_comes_twice_is_encoded_once(letters):
    (given(("a", "same"), ("b", "same"), ("c", "other")) >> sage.mmr(2, encoder="letters")).search("x")
    assert sorted(letters.asked) == ["other", "same"]


# bad input


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: sage.min_score("high"), r"min_score\(\) must be a finite number, got 'high'"),
        (lambda: sage.min_score(float("nan")), r"min_score\(\) must be a finite number, got nan"),
        (lambda: sage.dedup(0), "near-duplicates need a threshold above 0, and 1 at the most, got 0"),
        (lambda: sage.mmr(0), r"mmr\(\) needs k, a whole number of 1 or more, got 0"),
        (lambda: sage.mmr(5, 1.5), r"diversity= of mmr\(\) must be from 0 \(as ranked\) to 1, got 1.5"),
        (lambda: sage.mmr(5, "much"), r"diversity= of mmr\(\) must be a finite number, got 'much'"),
        (lambda: sage.compress(0), r"tokens= of compress\(\) must be a whole number of 1 or more, got 0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(build, sentence):
    with pytest.raises(BadValueError, match=sentence):
        build()


def test_an_encoder_that_is_not_there_or_gives_nonsense_is_said(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no/such-model"):
        (given(("a", "x")) >> sage.mmr(2, encoder="no/such-model")).search("x")

    class Broken(Letters):
        def encode(self, texts):
            return np.full((len(texts), 5), np.nan)

    monkeypatch.setitem(ENCODERS, "broken", Broken)
    with pytest.raises(BadValueError, match="the vector of 'a passage' holds NaN or infinity"):
        (given(("a", "a passage")) >> sage.mmr(2, encoder="broken")).search("x")
