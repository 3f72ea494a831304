"""Negative controls on actors: with a safeguard off, the crash matrix sees what it guards against."""

from __future__ import annotations

from itertools import product

import pytest

from sage_nb.runtime.ray.environment import RayEnvironment
from tests.faults.test_controls import SLICES, holds


@pytest.mark.parametrize("switch", SLICES)
def test_the_crash_matrix_fails_with_a_safeguard_off_and_passes_with_it_on(tmp_path, switch, begun):
    cases = list(product(*SLICES[switch]))
    for point, topology in cases:
        assert holds(RayEnvironment, tmp_path / f"on-{point}-{topology}", point, topology, **{switch: True})
    off = (
        holds(RayEnvironment, tmp_path / f"off-{point}-{topology}", point, topology, **{switch: False})
        for point, topology in cases
    )
    assert not all(off)
    for job in begun:  # one that has lost records may wait for them for ever
        job.cancel()
    begun.clear()  # what is lost or doubled shows in the accounts, too
