"""The same environments as tests of running jobs have."""

from __future__ import annotations

from tests.runtime.conftest import environment

__all__ = ["environment"]
