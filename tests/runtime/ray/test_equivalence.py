"""Random pipelines on actors give what the plain interpreter gives, with crashes and without."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.runtime.ray.environment import RayEnvironment
from tests.runtime import pipelines
from tests.runtime.jobs import multiset
from tests.runtime.test_equivalence import by_key, compared, in_time, one_path, tries

PATHS = {  # how a pipeline is built, what makes one, and what must be the same
    "in time": (in_time, pipelines.in_time(most=25), multiset),
    "one path, late records and order": (one_path, pipelines.one_path(), by_key),
}


class Is:
    """Whether a record is the one with that number."""

    def __init__(self, number):
        self.number = number

    def __call__(self, record):
        return record["n"] == self.number


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("path", PATHS)
def test_records_are_as_the_interpreter_has_them(path, parallelism):
    build, made, same = PATHS[path]

    @tries(15)
    @given(made)
    def law(made):
        compared(build, made, parallelism, same, runner=RayEnvironment)

    law()


@pytest.mark.parametrize("path", PATHS)
def test_a_crash_does_not_show(path):
    build, made, same = PATHS[path]

    @tries(15)
    @given(made, st.integers(0, 20))
    def law(made, number):
        with tempfile.TemporaryDirectory() as folder:
            bad = Is(number)
            job = compared(build, made, 2, same, runner=RayEnvironment, folder=folder, rest=0.002, bad=bad)
        assert job.restarts <= 1

    law()
