"""Examples of docstrings that need a cluster: the doctest run skips them, here they run."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import sage_nb

PACKAGE = Path(sage_nb.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "doctest: +SKIP" in path.read_text(encoding="utf8"))


def skipped():
    """The doctests that have an example which is skipped."""
    for path in FILES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for test in doctest.DocTestFinder().find(import_module(name), name):
            if any(each.options.get(doctest.SKIP) for each in test.examples):
                yield pytest.param(test, id=test.name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("test", skipped())
def test_an_example_that_needs_a_cluster_runs(test):
    for each in test.examples:
        each.options.pop(doctest.SKIP, None)
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
