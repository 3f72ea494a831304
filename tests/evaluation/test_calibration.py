"""Calibration: curves fitted by their own criteria, and chances that keep the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.evaluation.calibration import isotonic, platt
from sage_nb.retrieval.calibrate import Calibrate
from tests.retrieval.laws import check_laws, given, ids

POINTS = ((0.0, 0.0), (2.0, 0.25), (4.0, 0.25), (6.0, 1.0))


def drawn(seed, count=4000, slope=1.5, intercept=-2.0):
    """Scores, and which are relevant by a known curve."""
    random = np.random.default_rng(seed)
    scores = random.normal(1, 2, count)
    return scores, random.random(count) < 1 / (1 + np.exp(-slope * scores - intercept))


def chances(stage, scores):
    return np.array([stage.chance(score) for score in scores])


@pytest.mark.parametrize("how", [{"slope": 0.5, "intercept": -1.25}, {"points": POINTS}])
def test_it_keeps_the_laws_of_a_stage(tmp_path, how):
    assert any(result.hits for result in check_laws(tmp_path, sage.calibrate(**how)))


def test_scores_become_chances_in_the_order_there_was():
    found = (given(("b", "x", 5.0), ("a", "x", 3.0), ("c", "x", -9.0)) >> sage.calibrate(points=POINTS)).search("x")
    assert [(hit.document.id, hit.score) for hit in found] == [("b", 0.625), ("a", 0.25), ("c", 0.0)]
    level = (given(("b", "x", 4.0), ("a", "x", 3.0)) >> sage.calibrate(points=POINTS)).search("x")
    assert ids(level) == ["b", "a"], "equal chances stay in their order"
    assert [(step.stage, step.score) for step in level.hits[0].steps] == [("given", 4.0), ("calibrate", 0.25)]
    assert (given(("a", "x", 3.0)) >> sage.calibrate(2.0, -6.0)).search("x").hits[0].score == 0.5
    assert (given(("a", "x", 3.0)) >> sage.calibrate()).floor == 0.0


@over(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_curve_never_falls(one, other):
    low, high = sorted([one, other])
    for stage in (Calibrate(1.7, 0.3), Calibrate(points=POINTS)):
        assert 0 <= stage.chance(low) <= stage.chance(high) <= 1


def test_a_known_logistic_curve_is_found_again():
    fitted = platt(*drawn(0))
    assert (fitted.slope, fitted.intercept) == pytest.approx((1.5, -2.0), abs=0.25)


@pytest.mark.parametrize("scale", [1, 1e-3, 1e4])
def test_the_logistic_curve_is_the_most_likely_one(scale):
    """There the gradient is 0: chances agree with the targets on average, and with scores as well."""
    scores, relevant = drawn(1, 300)
    fitted = platt(scores * scale, relevant)
    count = relevant.sum()
    targets = np.where(relevant, (count + 1) / (count + 2), 1 / (300 - count + 2))
    off = chances(fitted, scores * scale) - targets
    assert off.mean() == pytest.approx(0, abs=1e-4)
    assert (off * scores).mean() == pytest.approx(0, abs=1e-4)


@over(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40))
def test_the_isotonic_curve_is_scikit_learns(hits):
    scores, relevant = np.array([float(score) for score, _ in hits]), np.array([flag for _, flag in hits])
    wanted = IsotonicRegression(out_of_bounds="clip").fit(scores, relevant)
    if np.ptp(wanted.predict(scores)) < 1e-12:
        with pytest.raises(BadValueError, match="hits are not relevant more often as their score rises"):
            isotonic(scores, relevant)
        return
    fitted = isotonic(scores, relevant)
    asked = np.linspace(-1, 13, 57)
    assert chances(fitted, asked) == pytest.approx(wanted.predict(asked))


def found(result):
    """Of question n the first n documents are relevant, and score well."""
    hits = [sage.Hit(sage.Document(name, ""), rank, 5.0 - rank) for rank, name in enumerate("abcd", start=1)]
    return sage.Result(result.query, tuple(hits))


QUESTIONS = {f"q{n}": f"question {n}" for n in range(1, 4)}
QRELS = {f"q{n}": dict.fromkeys("abc"[:n], 2) | {"d": 0} for n in range(1, 4)}


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_pipeline_is_calibrated_by_what_its_hits_were_judged(method):
    pipe = given(("x", "x")) >> found
    stage = sage.fit_calibration(pipe, {**QUESTIONS, "q9": "nobody judged"}, QRELS, method=method)
    result = (pipe >> stage).search("x")
    assert ids(result) == list("abcd")
    if method == "isotonic":  # the shares of three questions
        assert [hit.score for hit in result] == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert sum(hit.score for hit in result) == pytest.approx(2.0, abs=0.2)
    with pytest.raises(BadValueError, match="of the 12 hits of 3 questions none are relevant; calibration wants both"):
        sage.fit_calibration(pipe, QUESTIONS, QRELS, method=method, relevant=3)


def failing(result):
    raise ValueError("no such index")


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (
            lambda: sage.calibrate(0.0),
            BadValueError,
            r"slope= of calibrate\(\) must be a finite number above 0, got 0.0",
        ),
        (
            lambda: sage.calibrate(1, "x"),
            BadValueError,
            r"intercept= of calibrate\(\) must be a finite number, got 'x'",
        ),
        (
            lambda: sage.calibrate(points=((1, 0.5), (1, 0.6))),
            BadValueError,
            "are rising scores with chances from 0 to 1",
        ),
        (
            lambda: sage.calibrate(points=((1, 0.5), (2, 0.4))),
            BadValueError,
            "with chances from 0 to 1 that do not fall",
        ),
        (
            lambda: sage.calibrate(points=((1, 0.5), (2, 1.4))),
            BadValueError,
            "with chances from 0 to 1 that do not fall",
        ),
        (lambda: sage.calibrate(points=(1, 2)), BadValueError, r"are pairs \(score, chance\), got \(1, 2\)"),
        (lambda: sage.calibrate(2.0, points=POINTS), BadValueError, "takes slope and intercept or points, got both"),
        (
            lambda: sage.fit_calibration(given(("a", "x")), QUESTIONS, QRELS, method="plat"),
            UnknownNameError,
            "unknown method of calibration 'plat'; did you mean 'platt'",
        ),
        (
            lambda: sage.fit_calibration(given(("a", "x")), ["x"], {}),
            BadValueError,
            "none of these questions has a judg",
        ),
        (
            lambda: sage.fit_calibration(given(("a", "x")) >> failing, QUESTIONS, QRELS),
            SageError,
            "3 questions failed, the first: failing failed: ValueError: no such index; mend that",
        ),
        (
            lambda: sage.fit_calibration(given(("d", "x", 2.0), ("a", "x", 1.0)), QUESTIONS, QRELS),
            BadValueError,
            "hits are not relevant more often as their score rises from 1 to 2; calibrate a ranking that is better",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()
