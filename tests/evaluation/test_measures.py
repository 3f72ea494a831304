"""Measures, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sage_nb.errors import BadValueError
from sage_nb.evaluation.measures import evaluate
from sage_nb.records.values import Document, Hit, Query, Result


def result(name, *ids):
    return Result(Query(name, name), tuple(Hit(Document(i, ""), n, 0.0) for n, i in enumerate(ids, start=1)))


def test_ndcg_recall_and_reciprocal_rank_are_those_of_the_books():
    found = evaluate([result("q", "x", "b", "a")], {"q": {"a": 3, "b": 1, "c": 0}})
    gained = 1 / math.log2(3) + 3 / math.log2(4)
    assert found.mean["nDCG@10"] == pytest.approx(gained / (3 + 1 / math.log2(3)))
    assert found.mean["R@100"] == 1.0
    assert found.mean["RR"] == 0.5


def test_the_order_shown_counts_and_not_the_scores():
    assert evaluate([result("q", "b", "a")], {"q": {"a": 1}}, ["RR"]).mean == {"RR": 0.5}


def test_a_question_that_finds_nothing_counts_and_an_unjudged_one_does_not():
    results = [result("q", "a"), result("empty"), result("unjudged", "a")]
    found = evaluate(results, {"q": {"a": 1}, "empty": {"a": 1}, "unasked": {"a": 1}}, ["RR"])
    assert found.mean == {"RR": 0.5}
    assert found.by_question == {"RR": {"q": 1.0, "empty": 0.0}}


def test_whole_grades_of_any_type_are_taken():
    assert evaluate([result("q", "a")], {"q": {"a": 1.0, "b": np.int64(0)}}, ["RR"]).mean == {"RR": 1.0}


@pytest.mark.parametrize(
    ("qrels", "measure", "sentence"),
    [
        ({"q": {"a": 0.5}}, "RR", "the grade of 'a' must be a whole number, got 0.5; round it"),
        ({"p": {"a": 1}}, "RR", "none of these questions has a judgment in the qrels; check that their ids agree"),
        ({"q": {"a": 1}}, "nDCG@@", "unknown measure 'nDCG@@'; name one of ir-measures', such as nDCG@10"),
    ],
)
def test_what_cannot_be_measured_is_said(qrels, measure, sentence):
    with pytest.raises(BadValueError, match=sentence):
        evaluate([result("q", "a")], qrels, [measure])
