"""The default reranker: which scores it weighs, what it says of each, and that it keeps the laws of a stage."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies

import sage_nb as sage
from sage_nb.models.registry import LATE_INTERACTION, Models
from sage_nb.models.weights import RERANKER
from sage_nb.records.values import Document, Hit, Step
from sage_nb.retrieval.mixture import CLOSELY, EARLIER, MODELS_MIXED, mixed
from sage_nb.retrieval.rerank import Rerank
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import QUESTIONS, animals, check_value, given, run_cached

TEXTS = [("lock", "A thread holds the lock."), ("rain", "It rains."), ("door", "The lock of a door is made of steel.")]


def hits(*columns):
    """One hit for each, with these scores by step."""
    return [
        Hit(Document(f"d{n}", ""), n + 1, -float(n), tuple(Step(name, 1, score) for name, score in column.items()))
        for n, column in enumerate(columns)
    ]


def standard(values):
    return (np.array(values) - np.mean(values)) / np.std(values)


def test_it_is_the_weighted_mean_of_standard_scores():
    bm25, near = [9.0, 4.0, 2.0], [0.2, 0.9, 0.4]
    found = mixed(hits(*({"bm25": b, LATE_INTERACTION: n} for b, n in zip(bm25, near, strict=True))))
    weights = EARLIER["bm25"], MODELS_MIXED[LATE_INTERACTION]
    wanted = (weights[0] * standard(bm25) + weights[1] * standard(near)) / sum(weights)
    np.testing.assert_allclose(found, wanted)


def test_what_a_step_did_not_rank_has_the_least_that_it_gave():
    left_out = mixed(hits({"bm25": 9.0, "dense": 0.5}, {"bm25": 4.0}, {"bm25": 2.0, "dense": 0.1}))
    least = mixed(hits({"bm25": 9.0, "dense": 0.5}, {"bm25": 4.0, "dense": 0.1}, {"bm25": 2.0, "dense": 0.1}))
    assert left_out == least


def test_without_earlier_steps_the_ranking_as_it_came_counts():
    found = mixed(hits({LATE_INTERACTION: 0.1}, {LATE_INTERACTION: 0.1}, {LATE_INTERACTION: 0.1}))
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3


def test_scores_for_several_questions_are_not_taken_for_scores_of_one():
    steps = [
        (Step("bm25", 2, 1.0), Step("bm25", 1, 9.0), Step("rrf", 1, 0.9)),  # the last question is another's part
        (Step("bm25", 1, 8.0), Step("rrf", 2, 0.8)),
        (Step("bm25", 1, 9.5), Step("rrf", 3, 0.1)),
    ]
    parts = [Hit(Document(f"d{n}", ""), n + 1, each[-1].score, each) for n, each in enumerate(steps)]
    np.testing.assert_allclose(mixed(parts), standard([0.9, 0.8, 0.1]))


@for_all(strategies.lists(strategies.floats(-1e3, 1e3), min_size=1, max_size=9), strategies.floats(0.1, 50))
def test_units_do_not_matter(scores, unit):
    one, other = (mixed(hits(*({"bm25": each * by} for each in scores))) for by in (1, unit))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_each_hit_tells_what_the_model_said():
    found = (given(*((name, text, 1.0) for name, text in TEXTS)) >> sage.rerank()).search("who holds the lock?")
    assert found.hits[0].document.id == "lock"
    said = {hit.document.id: hit.scores[LATE_INTERACTION] for hit in found}
    model = Models().cross_encoder(LATE_INTERACTION)
    wanted = model.score([("who holds the lock?", text) for _, text in TEXTS])
    np.testing.assert_allclose([said[name] for name, _ in TEXTS], wanted, atol=0.01)
    best = max(found, key=lambda hit: hit.scores[LATE_INTERACTION])
    assert {step.stage: step.rank for step in best.steps}[LATE_INTERACTION] == 1


def read_closely(found):
    """The hits that the cross-encoder read, and the others."""
    return [[hit for hit in found if (RERANKER in hit.scores) is wanted] for wanted in (True, False)]


MANY = [(f"d{n}", f"The lock of door {n} is held by thread {n * n}.", 30.0 - n) for n in range(30)]


def test_the_cross_encoder_reads_the_best_by_all_else():
    found = (given(*MANY) >> sage.rerank(k=30)).search("who holds the lock of door 7?")
    read, left = read_closely(found)
    assert (len(read), len(left)) == (CLOSELY, 30 - CLOSELY)
    bare = [msgspec.structs.replace(hit, steps=tuple(s for s in hit.steps if s.stage != RERANKER)) for hit in found]
    came = [msgspec.structs.replace(hit, score=hit.scores["given"]) for hit in bare]  # as they came to the reranker
    without = {hit.document.id: score for hit, score in zip(found, mixed(came), strict=True)}
    assert min(without[hit.document.id] for hit in read) > max(without[hit.document.id] for hit in left)
    pairs = [("who holds the lock of door 7?", hit.document.text) for hit in read]
    wanted = Models().cross_encoder(RERANKER).score(pairs)
    np.testing.assert_allclose([hit.scores[RERANKER] for hit in read], wanted, atol=0.1)
    assert {step.rank for hit in read for step in hit.steps if step.stage == RERANKER} == set(range(1, CLOSELY + 1))


def test_its_word_decides_among_them():
    """Those that it did not read count as the worst that it read."""
    found = mixed(hits(*({"bm25": 2.0, RERANKER: each} for each in (1.0, 3.0, -2.0)), {"bm25": 2.0}))
    assert found[1] > found[0] > found[2] == found[3]


def test_where_time_counts_it_is_not_asked():
    read, left = read_closely((given(*MANY) >> sage.rerank(k=30, budget=1e6)).search("who holds the lock?"))
    assert (read, len(left)) == ([], 30)
    assert Rerank(budget=9.0).models == [LATE_INTERACTION]


@pytest.mark.parametrize("how", [{"k": 20}, {"k": 20, "top": 7}, {"k": 20, "budget": 1e6}])
def test_many_questions_at_once_are_answered_as_each_alone(tmp_path, how):
    """To within what bfloat16 tells apart: the width of a batch changes the order of its sums."""
    pipe = animals(tmp_path).lexical(20) >> sage.rerank(**how)
    many = pipe.run(QUESTIONS).results
    alone = [pipe.run([question]).results[0] for question in QUESTIONS]
    for one, other in zip(many, alone, strict=True):
        scores = {hit.document.id: hit.score for hit in other}
        assert {hit.document.id: hit.score for hit in one} == pytest.approx(scores, abs=0.1)


def test_what_a_cache_holds_is_not_asked_again(tmp_path):
    cache = CellCache(tmp_path / "cache")
    try:
        pipe = animals(tmp_path).lexical(20)
        first = run_cached(pipe >> sage.rerank(5), cache)
        second = run_cached(pipe >> sage.rerank(5), cache)
        assert first.results == second.results
        assert second.stages["rerank(k=5)"]["computed"] == 0
        deeper = run_cached(pipe >> sage.rerank(6), cache)
        counts = deeper.stages["rerank(k=6)"]
        assert counts["computed"] == len(QUESTIONS)
        assert counts["model_calls"] == 0
    finally:
        cache.close()


def test_it_is_written_and_read_as_what_it_is():
    check_value(sage.rerank(5, top=20))


def test_nothing_to_rerank_stays_nothing():
    assert len((given() >> sage.rerank()).search("x")) == 0
