"""The tutorial that starts clusters of its own."""

from __future__ import annotations

import pytest

from tests.notebooks.test_tutorials import ALL, ON_RAY
from tests.notebooks.tutorials import tutorial, work_through


@pytest.mark.parametrize("name", sorted(ON_RAY.intersection(ALL)))
@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
@pytest.mark.timeout(600)
def test_a_tutorial_can_be_worked_through_on_ray(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / ".sage"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    work_through(tutorial(name), tmp_path)
