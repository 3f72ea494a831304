"""Lines that start with `>>`: what goes on with what, and where brackets stand."""

from __future__ import annotations

import ast

import pytest

from sage_nb.notebook.continuation import join_lines, unclosed


def test_lines_keep_their_numbers():
    assert join_lines("a = 1\nb\n>> c\n>> d").text == "a = 1\n(b\n>> c\n>> d)"


@pytest.mark.parametrize(
    ("source", "joined"),
    [
        ("a\n>> b(\n  c,\n)", "(a\n>> b(\n  c,\n))"),
        ("x = a\n\t>> b  # c", "x = (a\n\t>> b)  # c"),
        ("x: int = a\n>> b", "x: int = (a\n>> b)"),
        ("a(\n>> b\n)", "a(\n>> b\n)"),
        ("a\n>> b'''\n  >> c'''\nd", "(a\n>> b'''\n  >> c''')\nd"),
        ("a\n\n# then\n>> b\nc\n>> d", "(a\n\n# then\n>> b)\n(c\n>> d)"),
        ("if a:\n    b\n    >> c\nd", "if a:\n    (b\n    >> c)\nd"),
        (">> a", ">> a"),
        ("", ""),
    ],
)
def test_brackets_enclose_what_goes_on(source, joined):
    assert join_lines(source).text == joined


def test_a_column_is_told_as_in_the_cell():
    joined = join_lines("x = a + b\n>> c")
    (statement,) = ast.parse(joined.text).body
    added = statement.value.left
    assert joined.text.splitlines()[0] == "x = (a + b"
    assert joined.column(1, added.right.col_offset) == len("x = a + ")
    assert joined.column(1, 0) == 0
    assert joined.column(2, 3) == 3


@pytest.mark.parametrize(
    ("source", "found"),
    [("a(b)", None), ("a\n>> b(c, [d]", ("(", 2, 4)), ("a(b[c", ("[", 1, 3)), ("a)", None), ("a = '(", None)],
)
def test_a_bracket_that_nothing_closes_is_found(source, found):
    assert unclosed(source) == found
