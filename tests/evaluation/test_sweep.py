"""Sweeps: every combination once, under its name; what is no grid is refused before anything runs."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Applied

QUESTIONS, QRELS = {"q1": "who?", "q2": "where?"}, {"q1": {"b": 1}, "q2": {"c": 1}}


def found(result):
    return ranked(result, "found", [(sage.Hit(sage.Document(each, ""), 0, 0.0), -float(ord(each))) for each in "abcd"])


def made(k, least=-200.0):
    return Applied(found) % k >> sage.min_score(least)


def swept(make=made, **how):
    return sage.sweep(make, QUESTIONS, QRELS, **{"measures": ["R@100", "RR"], **how})


def test_every_combination_is_a_pipeline_that_is_called_by_its_arguments():
    seen = swept(k=[1, 2, 3], least=(-98.5, -200.0), baseline="k=1, least=-98.5")
    assert seen.parameters == {"k": (1, 2, 3), "least": (-98.5, -200.0)}
    assert seen.names[:3] == ("k=1, least=-98.5", "k=1, least=-200.0", "k=2, least=-98.5")
    assert seen.points["k=3, least=-200.0"] == {"k": 3, "least": -200.0}
    assert seen.pipelines["k=3, least=-98.5"] == made(3, -98.5)
    assert seen.means["k=3, least=-200.0"] == {"R@100": 1, "RR": pytest.approx((1 / 2 + 1 / 3) / 2)}
    assert seen.means["k=3, least=-98.5"]["R@100"] == 0.5
    assert seen.best() == "k=3, least=-200.0"
    assert set(seen.comparisons) == set(seen.names[1:])


def test_an_argument_with_a_default_may_be_left_out():
    seen = swept(k=range(1, 3))
    assert seen.names == ("k=1", "k=2")
    assert seen.pipelines["k=2"] == made(2)


def test_of_equals_the_first_is_best():
    assert swept(k=[3, 4, 2]).best("RR") == "k=3"


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (
            lambda: swept("pipeline"),
            BadValueError,
            r"sweep\(\) takes a function that makes a pipeline .*, got 'pipeline'",
        ),
        (swept, BadValueError, r"the argument 'k' needs a list of values, as in k=\[10, 50\], got None"),
        (lambda: swept(k=3), BadValueError, "the argument 'k' needs a list of values, .* got 3"),
        (lambda: swept(k=[]), BadValueError, r"the argument 'k' needs a list of values, .* got \[\]"),
        (lambda: swept(k="ab"), BadValueError, "the argument 'k' needs a list of values, .* got 'ab'"),
        (lambda: swept(k=[1], kk=[2]), BadValueError, "'kk' is no argument of the function that makes .* has k, least"),
        (lambda: swept(k=[1, 1]), BadValueError, "two variants of the sweep have the same arguments"),
        (lambda: swept(k=range(1, 1002)), BadValueError, "is of 1 to 1,000 variants, this one has 1,001"),
        (lambda: swept(lambda: made(1)), BadValueError, "the function of a sweep has no argument that is given values"),
        (lambda: swept(lambda k: k, k=[7]), BadValueError, "the pipeline 'k=7' takes pipelines and functions .* got 7"),
        (lambda: swept(k=[1, 2], baseline="k=3"), UnknownNameError, "unknown baseline 'k=3'; did you mean 'k=2'"),
        (lambda: swept(k=[0, 1]), BadValueError, "got 0"),
    ],
)
def test_what_is_no_grid_is_said(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()
