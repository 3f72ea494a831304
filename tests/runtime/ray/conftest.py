"""Every test on Ray shares one small cluster."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster):
    """Every test here wants it."""
