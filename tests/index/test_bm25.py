"""Scores, held against the libraries whose names the variants bear."""

from __future__ import annotations

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bm25s
import numpy as np
import pytest
import rank_bm25
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.index.bm25 import Weighting
from tests.index.making import index

WORDS = ["ant", "bee", "cow", "dog", "eel", "fox"]
corpora = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), min_size=2, max_size=12)
queries = st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=4)
LIBRARY = {"okapi": rank_bm25.BM25Okapi, "l": rank_bm25.BM25L, "plus": rank_bm25.BM25Plus}


def scores_by_row(corpus, query, weighting):
    with tempfile.TemporaryDirectory() as folder:
        texts = {f"d{row:02}": " ".join(words) for row, words in enumerate(corpus)}
        half = dict(list(texts.items())[: len(texts) // 2])
        rest = {name: text for name, text in texts.items() if name not in half}
        snapshot = index(Path(folder), half, rest).snapshot()
        found = snapshot.lexical(query, 100, weighting, None)
        return {snapshot.document(row).id: score for row, score in found}


def holds_one(words, query):
    return bool(set(words) & set(query))


@pytest.mark.parametrize("variant", sorted(LIBRARY))
@settings(max_examples=40, deadline=None)
@given(corpora, queries)
def test_scores_equal_rank_bm25s(variant, corpus, query):
    expected = LIBRARY[variant](corpus, k1=1.2, b=0.75).get_scores(query)
    found = scores_by_row(corpus, query, Weighting(variant))
    wanted = {f"d{row:02}": expected[row] for row, words in enumerate(corpus) if holds_one(words, query)}
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("variant", ["lucene", "robertson"])
@settings(max_examples=40, deadline=None)
@given(corpora, queries)
def test_scores_equal_bm25s(variant, corpus, query):
    library = bm25s.BM25(method=variant, k1=1.2, b=0.75, dtype="float64")
    library.index(corpus, show_progress=False)
    known = [word for word in query if any(word in words for words in corpus)]
    expected = library.get_scores(known) if known else np.zeros(len(corpus))
    found = scores_by_row(corpus, query, Weighting(variant))
    wanted = {f"d{row:02}": expected[row] for row, words in enumerate(corpus) if holds_one(words, query)}
    assert found == pytest.approx(wanted, abs=1e-6)


def test_questions_asked_by_several_threads_score_as_alone(tmp_path):
    rng = np.random.default_rng(3)
    texts = {f"d{row:03}": " ".join(rng.choice(WORDS, 4)) for row in range(400)}
    snapshot = index(tmp_path, texts).snapshot()
    asked = [list(pair) for pair in itertools.combinations(WORDS, 2)] * 20
    alone = [snapshot.lexical(words, 5, Weighting(), None) for words in asked]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda words: snapshot.lexical(words, 5, Weighting(), None), asked))
    assert together == alone


def test_of_equal_scores_the_first_by_id_are_kept(tmp_path):
    snapshot = index(tmp_path, dict.fromkeys("dbca", "ant bee"), {"e": "ant"}).snapshot()
    found = snapshot.lexical(["ant", "bee"], 2, Weighting(), None)
    assert [snapshot.passage(each.row) for each in found] == ["a", "b"]


def test_a_bad_parameter_is_named():
    with pytest.raises(BadValueError, match="finite k1 >= 0 and 0 <= b <= 1, got k1=1.2 and b=2"):
        Weighting(b=2)
    with pytest.raises(BadValueError, match="got k1='x' and b=0.75"):
        Weighting(k1="x")
    with pytest.raises(UnknownNameError, match="unknown BM25 variant 'okapy'; did you mean 'okapi'"):
        Weighting("okapy")
