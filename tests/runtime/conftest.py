"""What tests of running jobs are run on."""

from __future__ import annotations

import pytest

from sage_nb.runtime.environment import LocalEnvironment


@pytest.fixture(params=[LocalEnvironment])
def environment(request):
    """An environment's class: what holds on one, holds on all."""
    return request.param
