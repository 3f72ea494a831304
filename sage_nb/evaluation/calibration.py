"""Calibration learned on judged questions: the curve from a pipeline's scores to chances of being relevant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.evaluation.measures import Qrels
from sage_nb.retrieval.calibrate import calibrate
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.stage import Stage

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def fit_calibration(pipe: Stage, queries: object, qrels: Qrels, *, method: str = "platt", relevant: int = 1) -> Stage:
    """The stage that makes chances of a pipeline's scores, to be put behind it: a `calibrate(...)` with its numbers.

    `method` is "platt", a logistic curve, for few judgments; or "isotonic", any rising curve, for a thousand or more. A
    hit counts as relevant from the grade `relevant` on, one without a judgment as not relevant. Fit it on other
    questions than those it is then measured on.

    Raises BadValueError where the hits are all relevant or none is, or do not become so as scores rise.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> from sage_nb.retrieval.stage import Applied
    >>> def found(result):
    ...     hits = [Hit(Document(name, ""), rank, 4.0 - rank) for rank, name in enumerate("abc", start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"a": 1}}
    >>> fit_calibration(Applied(found), ["one", "two", "three"], qrels, method="isotonic")
    calibrate(points=((1.0, 0.0), (2.0, 0.3333333333333333), (3.0, 0.6666666666666666)))
    """
    if method not in METHODS:
        raise UnknownNameError.of("method of calibration", str(method), METHODS)
    asked = [query for query in as_queries(queries) if query.id in qrels]
    if not asked:
        raise BadValueError("none of these questions has a judgment in the qrels; check that their ids agree")
    results = pipe.run(asked).results
    if failed := [result for result in results if result.error]:
        raise SageError(f"{len(failed)} questions failed, the first: {failed[0].error}; mend that, then calibrate")
    hits = [(hit.score, qrels[r.query.id].get(hit.document.id, 0) >= relevant) for r in results for hit in r.hits]
    scores, flags = np.array([score for score, _ in hits]), np.array([flag for _, flag in hits], bool)
    if len({*flags.tolist()}) < 2:
        which = "all" if flags.any() else "none"
        raise BadValueError(
            f"of the {len(hits)} hits of {len(asked)} questions {which} are relevant; calibration wants both kinds"
        )
    return METHODS[method](scores, flags)


def platt(scores: Floats, relevant: Flags) -> Stage:
    """The logistic curve of most likelihood, of targets that are drawn in by one hit of either kind.

    Platt 1999, section 2.2; by Newton's method on scaled scores.
    """
    from scipy.optimize import minimize

    count = int(relevant.sum())
    targets = np.where(relevant, (count + 1) / (count + 2), 1 / (len(relevant) - count + 2))
    mean, spread = scores.mean(), scores.std() or 1.0
    scaled = (scores - mean) / spread

    def loss(at: Floats) -> tuple[float, Floats]:
        logits = at[0] * scaled + at[1]
        slope = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - targets
        return float((np.logaddexp(0, logits) - targets * logits).mean()), np.array(
            [(slope * scaled).mean(), slope.mean()]
        )

    slope, intercept = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    if slope <= 0 or not np.ptp(scores):
        raise _not_rising(scores)
    return calibrate(*(float(f"{value:.6g}") for value in (slope / spread, intercept - slope * mean / spread)))


def isotonic(scores: Floats, relevant: Flags) -> Stage:
    """The rising curve of least squares: the share of relevant hits in each of the blocks that violators are pooled to.

    Zadrozny & Elkan 2002; pool adjacent violators by scipy.
    """
    from scipy.optimize import isotonic_regression

    levels, where = np.unique(scores, return_inverse=True)
    weights = np.bincount(where).astype(float)
    fitted = isotonic_regression(np.bincount(where, relevant) / weights, weights=weights)
    if fitted.x[0] == fitted.x[-1]:
        raise _not_rising(scores)
    ends = sorted(
        {at for first, last in zip(fitted.blocks, fitted.blocks[1:], strict=False) for at in (first, last - 1)}
    )
    return calibrate(points=tuple((float(levels[at]), float(fitted.x[at])) for at in ends))


METHODS: dict[str, Callable[[Floats, Flags], Stage]] = {"platt": platt, "isotonic": isotonic}


def _not_rising(scores: Floats) -> BadValueError:
    return BadValueError(
        f"hits are not relevant more often as their score rises from {scores.min():.4g} to {scores.max():.4g}; "
        f"calibrate a ranking that is better than chance"
    )
