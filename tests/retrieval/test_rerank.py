"""Rerank: what is looked at, what stays behind, and what a budget of time allows."""

from __future__ import annotations

import time

import numpy as np
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.models.registry import CROSS_ENCODERS
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import QUESTIONS, animals, check_laws, check_value, given, ids, run_cached

HITS = [(f"d{n}", "x" * n, 10.0 - n) for n in range(6)]  # the last is the longest


class Longest:
    """A scorer that likes long passages, and takes a while for each."""

    name, fingerprint, truncated = "longest", "1", 0
    pause = 0.0

    def __init__(self):
        self.asked = []

    def score(self, pairs):
        time.sleep(self.pause * len(pairs))
        self.asked += pairs
        return np.array([len(passage) for _, passage in pairs], np.float32)


@pytest.fixture
def scorer(monkeypatch):
    made = Longest()
    monkeypatch.setitem(CROSS_ENCODERS, "longest", lambda: made)
    return made


def rerank(**given):
    return sage.rerank(model="longest", **given)


@pytest.mark.parametrize("how", [{"k": 5}, {"k": 15, "top": 4}, {"k": 12, "top": 7, "budget": 1e6}, {"budget": 1e6}])
def test_it_keeps_the_laws_of_a_stage(tmp_path, scorer, how):
    assert check_laws(tmp_path, rerank(**how))[0].hits


def test_what_is_not_looked_at_stays_behind_in_its_order(scorer):
    found = (given(*HITS) >> rerank(k=5, top=3)).search("x")
    assert ids(found) == ["d2", "d1", "d0", "d3", "d4"]
    assert [hit.score for hit in found] == [2.0, 1.0, 0.0, -1.0, -2.0]  # one less each, as before
    assert [hit.steps[-1].stage for hit in found] == ["rerank"] * 3 + ["behind"] * 2
    assert len(scorer.asked) == 3
    assert not found.missing


def test_scores_never_rise_where_those_before_did(scorer):
    def turned(result):
        return sage.Result(result.query, tuple(reversed(result.hits)))

    found = (given(*HITS[:4]) >> turned >> rerank(k=9, top=2)).search("x")
    assert ids(found) == ["d3", "d2", "d1", "d0"]
    assert [hit.score for hit in found] == [3.0, 2.0, 2.0, 2.0]


def test_nor_where_those_before_rise_behind_the_window(scorer):
    found = (given(*HITS[:5]) >> sage.reorder() >> rerank(k=9, top=1)).search("x")
    assert ids(found) == ["d0", "d2", "d4", "d3", "d1"]  # of 10, 8, 6, 7 and 9 before
    assert [hit.score for hit in found] == [0.0, -2.0, -4.0, -4.0, -4.0]


def test_a_top_beyond_the_ranking_is_all_of_it(scorer):
    pipe = given(*HITS)
    assert ids((pipe >> rerank(k=6, top=99)).search("x")) == ids((pipe >> rerank(k=6)).search("x"))


def test_a_cascade_is_two_of_them(scorer):
    pipe = given(*HITS) >> rerank(k=6, top=4) >> rerank(k=6, top=2)
    assert ids(pipe.search("x")) == ["d3", "d2", "d1", "d0", "d4", "d5"]


def test_a_budget_is_kept_and_said(scorer):
    scorer.pause = 0.02
    many = [(f"d{n:03}", "x" * n, -float(n)) for n in range(100)]
    run = (given(*many) >> rerank(k=100, budget=200)).run(["one", "two"])
    for result in run.results:
        done = sum(hit.steps[-1].stage == "rerank" for hit in result.hits)
        assert 1 <= done <= 10, "each takes 20 ms or more"
        assert ids(result) == [f"d{n:03}" for n in (*reversed(range(done)), *range(done, 100))]
        assert result.notes == (f"rerank: {done} of 100 within 200 ms",)
        assert result.missing == (f"rerank of {100 - done} hits",)
    assert len(scorer.asked) == sum(hit.steps[-1].stage == "rerank" for result in run.results for hit in result.hits)


def test_without_the_budget_being_heeded_the_test_before_would_fail(scorer, monkeypatch):
    monkeypatch.setattr("sage_nb.retrieval.pace.Pace.fits", lambda self, seconds: 1000)
    scorer.pause = 0.001
    many = [(f"d{n:03}", "x" * n, -float(n)) for n in range(100)]
    found = (given(*many) >> rerank(k=100, budget=1)).search("x")
    assert sum(hit.steps[-1].stage == "rerank" for hit in found) == 100


def test_what_a_budget_cut_is_not_kept_but_the_scores_of_its_pairs_are(tmp_path, scorer):
    pipe, cache = animals(tmp_path).lexical(20) >> rerank(k=20, budget=1500), CellCache(tmp_path / "cache")
    asked = QUESTIONS[:1]
    scorer.pause = 0.15  # 3 seconds for all 20
    try:
        first = run_cached(pipe, cache, asked).results[0]
        assert first.missing
        known = len(scorer.asked)
        scorer.pause = 0.0
        second = run_cached(pipe, cache, asked)
        rerun = next(counts for name, counts in second.stages.items() if name.startswith("rerank"))
        assert (rerun["cached"], rerun["computed"], rerun["items_known"]) == (0, 1, known)
        assert not second.results[0].missing
        assert len(scorer.asked) == len(set(scorer.asked)) == len(second.results[0].hits), "each pair once"
        third = run_cached(pipe, cache, asked)
        assert third.results == second.results
        assert sum(stage["computed"] for stage in third.stages.values()) == 0
    finally:
        cache.close()


def test_a_deeper_top_scores_the_new_pairs_only(tmp_path, scorer):
    retrieved, cache = animals(tmp_path).lexical(20), CellCache(tmp_path / "cache")
    try:
        run_cached(retrieved >> rerank(k=20, top=4), cache)
        before = len(scorer.asked)
        found = run_cached(retrieved >> rerank(k=20, top=6), cache).results
        assert len(scorer.asked) - before == 2 * sum(bool(result.hits) for result in found)
        assert found == (retrieved >> rerank(k=20, top=6)).run(QUESTIONS).results
    finally:
        cache.close()


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: sage.rerank(top=0), r"top= of rerank\(\), hits, must be a whole number of 1 or more, got 0"),
        (lambda: sage.rerank(top=2.5), "must be a whole number of 1 or more, got 2.5"),
        (lambda: sage.rerank(budget=0), "budget= .*in milliseconds, must be a finite number above 0, got 0"),
        (lambda: sage.rerank(budget="1s"), "budget= .*in milliseconds, must be a finite number above 0, got '1s'"),
        (lambda: sage.rerank(budget=float("nan")), "must be a finite number above 0, got nan"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(build, sentence):
    with pytest.raises(BadValueError, match=sentence):
        build()


def test_a_passage_longer_than_the_model_reads_is_cut_and_that_is_said():
    asked = given(("short", "A moon."), ("long", "word " * 3_000)) >> sage.rerank()
    assert asked.search("moon").notes == ("the question, or a passage, was cut to what the reranker reads",)
    assert not (given(("short", "A moon.")) >> sage.rerank()).search("moon").notes


def test_it_prints_what_was_given_only():
    check_value(sage.rerank())
    assert repr(sage.rerank(7, budget=50, top=9)) == "rerank(k=7, top=9, budget=50)"
