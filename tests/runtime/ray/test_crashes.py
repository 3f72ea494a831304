"""The crash matrix on actors: a job fails at each point, in each topology; the sink does not notice."""

from __future__ import annotations

import pytest

from sage_nb.runtime.ray.environment import RayEnvironment
from tests.runtime.jobs import TOPOLOGIES, multiset
from tests.runtime.test_crashes import POINTS, disordered, number, outcome


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_loses_doubles_and_disorders_nothing(tmp_path, point, topology):
    probe, failures = POINTS[point]
    records, expected, restarts = outcome(RayEnvironment, tmp_path, topology, 2, probe())
    assert multiset(records) == multiset(expected)
    assert disordered(topology, 2, records) == []
    assert restarts == failures


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_record_that_fails_its_operator_is_met_again(tmp_path, topology):
    records, expected, restarts = outcome(
        RayEnvironment, tmp_path, topology, 2, bad=lambda record: number(record) == 60
    )
    assert multiset(records) == multiset(expected)
    assert disordered(topology, 2, records) == []
    assert restarts == 1
