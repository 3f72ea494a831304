"""Jobs are accounted for as in tests of running jobs."""

from __future__ import annotations

from tests.runtime.conftest import begun

__all__ = ["begun"]
