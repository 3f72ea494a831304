"""Whether a difference between two pipelines is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sage_nb.errors import BadValueError

RESAMPLES, BLOCK = 10_000, 500


def randomisation_test(before: Sequence[float], after: Sequence[float]) -> float:
    """Two-sided p of Fisher's paired randomisation test for the mean of `after` - `before`, question by question.

    The share of 10,000 random exchanges of the two, question by question, that make the mean as far from 0 or farther.
    The exchanges are the same each time. Smucker, Allan & Carterette, "A Comparison of Statistical Significance Tests
    for Information Retrieval Evaluation", CIKM 2007.

    >>> randomisation_test([0.1] * 20, [0.2] * 20) < 0.001, randomisation_test([0.1, 0.2], [0.2, 0.1])
    (True, 1.0)
    """
    if len(before) != len(after) or not len(before):
        raise BadValueError(f"a paired test needs as many values of each, got {len(before)} and {len(after)}")
    differences = np.asarray(after, float) - np.asarray(before, float)
    observed = abs(differences.sum()) - 1e-9
    drawn = np.random.default_rng(0)
    signs = (drawn.integers(0, 2, (BLOCK, len(differences))) * 2 - 1 for _ in range(RESAMPLES // BLOCK))
    extreme = sum(int((abs(each @ differences) >= observed).sum()) for each in signs)
    return (extreme + 1) / (RESAMPLES + 1)
