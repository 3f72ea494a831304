"""Whether a difference between two pipelines is more than chance, and how far a mean may be from what it measures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError

RESAMPLES, BLOCK = 10_000, 500
EXACT = 13  # pairs of which there are fewer exchanges than would be drawn: all are tried
CONFIDENCE = 0.95

Figures = npt.NDArray[np.float64]


def randomisation_test(before: Sequence[float], after: Sequence[float]) -> float:
    """Two-sided p of Fisher's paired randomisation test for the mean of `after` - `before`, question by question.

    The share of exchanges of the two, question by question, that make the mean as far from 0 or farther: of all there
    are for up to 13 questions, else of 10,000 by chance, the same each time. Smucker, Allan & Carterette, "A Comparison
    of Statistical Significance Tests for Information Retrieval Evaluation", CIKM 2007.

    >>> randomisation_test([0.1] * 20, [0.2] * 20) < 0.001, randomisation_test([0.1, 0.2], [0.2, 0.1])
    (True, 1.0)
    """
    differences = _differences(before, after)
    observed = abs(differences.sum()) - 1e-9
    if len(differences) <= EXACT:
        every = np.array(list(product((1, -1), repeat=len(differences))))
        return float((abs(every @ differences) >= observed).mean())
    drawn = np.random.default_rng(0)
    signs = (drawn.integers(0, 2, (BLOCK, len(differences))) * 2 - 1 for _ in range(RESAMPLES // BLOCK))
    extreme = sum(int((abs(each @ differences) >= observed).sum()) for each in signs)
    return (extreme + 1) / (RESAMPLES + 1)


def t_test(before: Sequence[float], after: Sequence[float]) -> float:
    """Two-sided p of Student's paired t-test, by scipy; 1 where one question, or no difference at all, tells nothing.

    >>> round(t_test([0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.4, 0.6]), 4)
    0.0138
    """
    from scipy.stats import ttest_rel

    differences = _differences(before, after)
    if len(differences) < 2 or not differences.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the same difference everywhere: p is 0
        return float(ttest_rel(after, before).pvalue)


TESTS = {"randomisation": randomisation_test, "t": t_test}


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Several p made such that those below a level are all true with that level's risk: Holm's step-down method.

    The least of m is multiplied by m, the next by m - 1, and so on; none is below one before it, or above 1. Holm, "A
    Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    corrected, reached = dict(ps), 0.0
    for place, name in enumerate(sorted(ps, key=lambda each: ps[each])):
        reached = max(reached, min(1.0, ps[name] * (len(ps) - place)))
        corrected[name] = reached
    return corrected


def bootstrap(columns: Figures) -> Figures:
    """The 95 % confidence interval of the mean of each column, a row of (low, high) for each: the percentile bootstrap.

    Rows are questions, which are drawn with replacement 10,000 times, the same each time and for all columns. Sakai,
    "Evaluating Evaluation Metrics Based on the Bootstrap", SIGIR 2006.

    >>> bootstrap(np.array([[0.0, 1.0], [1.0, 1.0]] * 50)).round(1).tolist()
    [[0.4, 0.6], [1.0, 1.0]]
    """
    count = len(columns)
    drawn = np.random.default_rng(0)
    draws = (drawn.multinomial(count, [1 / count] * count, BLOCK) for _ in range(RESAMPLES // BLOCK))
    means = np.concatenate([each @ columns / count for each in draws])
    tail = (1 - CONFIDENCE) / 2
    ends: Figures = np.quantile(means, [tail, 1 - tail], axis=0).T
    return ends


def _differences(before: Sequence[float], after: Sequence[float]) -> Figures:
    if len(before) != len(after) or not len(before):
        raise BadValueError(f"a paired test needs as many values of each, got {len(before)} and {len(after)}")
    differences: Figures = np.asarray(after, float) - np.asarray(before, float)
    return differences
