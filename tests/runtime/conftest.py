"""What tests of running jobs are run on, and what holds of all of them."""

from __future__ import annotations

import pytest

from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.job import Job


@pytest.fixture(params=[LocalEnvironment])
def environment(request):
    """An environment's class: what holds on one, holds on all."""
    return request.param


def unaccounted(jobs):
    """What does not add up in the accounts of the jobs that finished, a sentence each."""
    return [text for job in jobs if job.status == "finished" for text in job.unbalanced()]


@pytest.fixture(autouse=True)
def begun():
    """The jobs that the test began, in whatever way; of those that finish, no record may be missing.

    A test that loses records on purpose clears it.
    """
    jobs: list[Job] = []
    begin = Job.__init__

    def noted(self, *arguments):
        begin(self, *arguments)
        jobs.append(self)

    Job.__init__ = noted
    try:
        yield jobs
    finally:
        Job.__init__ = begin
    assert unaccounted(jobs) == []
