"""House rules that a linter does not know: short bodies, short files, checked messages, honest errors."""

from __future__ import annotations

import ast
import pickle
import re
import statistics
from pathlib import Path

import pytest

import sage_nb
from sage_nb import errors

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sage_nb").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring not counted."""
    first = function.body[0]
    is_doc = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    body = function.body[1:] if is_doc else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def bodies() -> list[tuple[int, str]]:
    found = []
    for path in SOURCES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf8")))
        functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        found.extend((body_lines(node), f"{path.name}:{node.name}") for node in functions)
    return sorted(found)


def test_bodies_are_short():
    lengths = [length for length, _ in bodies()]
    assert statistics.median(lengths) <= 5
    assert statistics.quantiles(lengths, n=10)[8] <= 20
    assert bodies()[-1][0] <= 40, bodies()[-1]


def test_a_long_body_would_be_noticed():
    long = "def f():\n    '''doc'''\n" + "    x = 1\n" * 41
    assert body_lines(ast.parse(long).body[0]) == 41


def test_files_are_readable_in_a_sitting():
    lengths = {path: len(path.read_text(encoding="utf8").splitlines()) for path in SOURCES}
    assert statistics.median(lengths.values()) <= 150
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)
    assert max(len(path.read_text(encoding="utf8").splitlines()) for path in TESTS) <= 600


def test_every_raises_checks_its_message():
    for path in TESTS:
        if path.name == "test_house_rules.py":
            continue
        for call in re.finditer(r"pytest\.raises\((.*)$", path.read_text(encoding="utf8"), re.MULTILINE):
            assert "match=" in call.group(1) or not call.group(1).rstrip().endswith("):"), (path, call.group())


@pytest.mark.parametrize(
    "error",
    [
        errors.SageError("x"),
        errors.BadValueError("x"),
        errors.ModelError("x"),
        errors.GeneratorError("x"),
        errors.CollectionError("x"),
        errors.UnknownNameError.of("stage", "a", {"ab"}),
        errors.MissingExtraError.of("f", "torch", "models"),
    ],
)
def test_errors_cross_processes_and_are_one_sentence(error):
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes, just made
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert "\n" not in str(error)
    assert error._render_traceback_() == [f"{type(error).__name__}: {error}"]


def test_every_public_name_is_there_and_documented():
    for name in sage_nb.__all__:
        assert (getattr(sage_nb, name).__doc__ or "").strip(), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rernk'; did you mean 'rerank'\\?"):
        _ = sage_nb.rernk
