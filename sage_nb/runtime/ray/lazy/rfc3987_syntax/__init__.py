"""The real rfc3987_syntax, which builds its grammar when something is first checked, not when it is imported.

JupyterLab brings it, jsonschema imports it, and Ray imports that: more than a second for each process of a cluster.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).parents[1])
_REAL = PathFinder.find_spec("rfc3987_syntax", [folder for folder in sys.path if folder != _HERE])
__path__ = list(_REAL.submodule_search_locations or ()) if _REAL else []


def is_valid_syntax(term: str, value: str) -> bool:
    """Whether a value is what the grammar calls `term`."""
    return bool(__getattr__("is_valid_syntax")(term, value))


def __getattr__(name: str) -> Any:
    return getattr(import_module("rfc3987_syntax.syntax_helpers"), name)
