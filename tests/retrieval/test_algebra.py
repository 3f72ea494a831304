"""The algebra: laws, refusals, and scores by hand."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from itertools import count

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.values import Document, Hit
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Cut, Fused, Operation
from sage_nb.stream.function import MapFunction


class Giving(MapFunction):
    def __init__(self, ids):
        self.ids = ids

    def map(self, value):
        hits = [(Hit(Document(name, name), 0, 0.0, (), "c"), float(10 - n)) for n, name in enumerate(self.ids)]
        return ranked(value, "fixed", hits)


@dataclass(frozen=True)
class Fixed(Operation):
    ids: tuple[str, ...]

    def function(self):
        return Giving(self.ids)


@dataclass(frozen=True)
class Rewrite(Operation):
    @property
    def gives(self):
        return "query"

    def function(self):
        return MapFunction()


A, B, D = Fixed(("a", "b")), Fixed(("b", "c")), Fixed(("d",))


def found(stage):
    return [(hit.document.id, hit.score) for hit in stage.search("x")]


def test_plus_is_reciprocal_rank_fusion():
    assert found(A + B) == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61), ("c", 1 / 62)]


def test_weights_weigh_the_ranks():
    assert found(2 * A + 0.5 * B) == [("b", 2 / 62 + 0.5 / 61), ("a", 2 / 61), ("c", 0.5 / 62)]


def test_plus_flattens_with_its_weights():
    assert (A + B) + D == A + (B + D) == Fused((A, B, D), "rrf", (1.0, 1.0, 1.0))
    assert Fused((A, B, D), "rrf", (0.5, 1.0, 2.0)) == 0.5 * A + (B + 2 * D)


def test_union_takes_the_best_rank_and_intersection_the_worst():
    assert found(A | B) == [("a", 1.0), ("b", 1.0), ("c", 0.5)]
    assert found(A & B) == [("b", 0.5)]
    assert (A | B) | D == A | (B | D)


def test_percent_cuts_and_a_fusion_keeps_every_steps_word():
    (only,) = ((A + B) % 1).search("x").hits
    assert [(step.stage, step.rank) for step in only.steps] == [("fixed", 2), ("fixed", 1), ("rrf", 1)]


def test_a_weight_alone_scales_the_scores():
    assert found(0.5 * A) == [("a", 5.0), ("b", 4.5)]


def test_equal_structure_is_equal_and_ships():
    assert Fixed(("a", "b")) + Fixed(("b", "c")) == A + B
    assert hash((A + B) % 3) == hash((A + B) % 3)
    assert pickle.loads(pickle.dumps((A + B) % 3 >> sage.rerank(2))) == (A + B) % 3 >> sage.rerank(2)  # noqa: S301


def test_then_is_associative():
    assert (A >> Cut(3)) >> Cut(2) == A >> (Cut(3) >> Cut(2))


@pytest.mark.parametrize(
    "stage",
    [
        *[A + B, 2 * A + B, (A + B) % 3, A | B, A & B, A % 3 >> sage.rerank(2, "m"), sage.fuse(A, B, by="minmax")],
        *[0.123456789 * A, 0.123456789 * A + B, sage.fuse(2 * A, B), 3 * (2 * A) + B, sage.fuse(A + B, D)],
        *[2 * (A + B) + D, sage.fuse(A | B, D, by="max"), (A | B) & D, sage.fuse(A, B, by="min", weights=(1, 2))],
        *[2 * (sage.fuse(A, B, by="isr") >> sage.rerank(2)), 2 * (sage.fuse(A, B, by="isr") + D), A + (B >> Cut(2))],
    ],
)
def test_an_expression_prints_itself_back(stage):
    assert eval(repr(stage), {"Fixed": Fixed, "fuse": sage.fuse, "rerank": sage.rerank}) == stage  # noqa: S307


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Rewrite() >> sage.rerank(3), r"rerank\(k=3\) needs a ranking and Rewrite\(\) gives none; put a retr"),
        (lambda: A % 0, "% needs k, a whole number of 1 or more, got 0"),
        (lambda: sage.rerank(k=-1), r"rerank\(\) needs k, a whole number of 1 or more, got -1"),
        (lambda: sage.rerank(k=2.5), r"rerank\(\) needs k, a whole number of 1 or more, got 2.5"),
        (lambda: A + "b", r"\+ takes pipelines and functions of a Result, got 'b' \(str\)"),
        (lambda: A * "b", "a pipeline is weighed with a number, as in 0.7 \\* Fixed.*, got 'b'"),
        (lambda: -1 * A, "a weight must be 0 or more and finite, got -1.0"),
        (lambda: 0 * A + 0 * B, r"weights must be 0 or more and finite, and not all 0, got \(0.0, 0.0\)"),
        (lambda: sage.fuse(A, B, weights=(1,)), "2 rankings are fused and 1 weights given; give one for each"),
        (lambda: sage.fuse(A, B, weights="ab"), "weights must be numbers, got .'a', 'b'.; give one for each ranking"),
        (lambda: sage.fuse(A, B, weights=(float("nan"), 1)), "weights must be 0 or more and finite, .* got .nan, 1.0."),
        (lambda: sage.fuse(A), r"fuse\(\) needs two pipelines or more, got 1"),
        (lambda: Rewrite() + A, r"Rewrite\(\) gives no ranking to fuse; end it with a retriever"),
        (lambda: A.search("  "), "the question has no text; give it some words"),
        (lambda: A.run([]), "there are no questions to run; give at least one"),
        (lambda: A.run(["x", ""]), "question 'q2' has no text"),
        (lambda: A.run([sage.Query("a", "x"), sage.Query("a", "y")]), "two questions have the id 'a'; give each its"),
        (lambda: A.run({"a": 7}), r"question 'a' must be a text, got 7 \(int\)"),
        (
            lambda: A.run(str(n) for n in count()),
            "there are more than 1,000,000 questions, perhaps without end; take so",
        ),
        (lambda: A.run(7), "questions must be texts, Query objects, a DataFrame or a path, got a int"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(build, sentence):
    with pytest.raises(BadValueError, match=sentence):
        build()


def test_questions_may_come_by_name():
    assert [result.query for result in A.run({"a": "x", 7: "y"})] == [sage.Query("a", "x"), sage.Query("7", "y")]


def test_an_unknown_rule_is_named():
    with pytest.raises(UnknownNameError, match="unknown fusion rule 'rff'; did you mean 'rrf'"):
        sage.fuse(A, B, by="rff")


def test_a_function_must_give_one_result_each():
    class Dropping(MapFunction):
        def map_batch(self, batch):
            return []

    @dataclass(frozen=True)
    class Drop(Operation):
        def function(self):
            return Dropping()

    with pytest.raises(BadValueError, match=r"operator .*Drop\(\)': map_batch gave 0 for 1 values; return a list"):
        Drop().search("x")
