"""The same environments as tests of running jobs have, and the same accounts."""

from __future__ import annotations

from tests.runtime.conftest import begun, environment

__all__ = ["begun", "environment"]
