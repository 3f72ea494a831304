"""Lines that start with `>>` go on with the statement above: the cell's one addition to Python."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from typing import NamedTuple

_TARGET = re.compile(r"\s*(?:[A-Za-z_]\w*(?:\s*:[^=]+)?\s*=(?!=)\s*)?")
_EMPTY = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class Statement(NamedTuple):
    """A statement's first and last line (from 0), the column where its code ends, and whether it begins with `>>`."""

    first: int
    last: int
    end: int
    goes_on: bool


@dataclass(frozen=True)
class Joined:
    """Python without continuations, line for line the cell's; `brackets` are the columns of those put in, by line."""

    text: str
    brackets: Mapping[int, int] = field(default_factory=dict)

    def column(self, line: int, column: int) -> int:
        """The cell's column for one of this text; lines from 1."""
        return column - 1 if column > self.brackets.get(line - 1, column) else column


def join_lines(source: str) -> Joined:
    r"""The cell with every statement that goes on in a line of `>>` put in brackets; lines keep their numbers.

    >>> join_lines("a\n>> b(\n  c)  # d\n").text
    '(a\n>> b(\n  c))  # d\n'
    """
    lines = source.split("\n")
    brackets: dict[int, int] = {}
    for first, last in _continued(list(_statements(lines))):
        lines[last.last] = f"{lines[last.last][: last.end]}){lines[last.last][last.end :]}"
        found = _TARGET.match(lines[first.first])
        at = brackets[first.first] = found.end() if found else 0
        lines[first.first] = f"{lines[first.first][:at]}({lines[first.first][at:]}"
    return Joined("\n".join(lines), brackets)


def _continued(statements: list[Statement]) -> Iterator[tuple[Statement, Statement]]:
    """The first and the last part of each statement that goes on."""
    heads = [n for n, each in enumerate(statements) if not each.goes_on]
    for head, following in pairwise([*heads, len(statements)]):
        if following - head > 1:
            yield statements[head], statements[following - 1]


def _statements(lines: list[str]) -> Iterator[Statement]:
    """Each logical line, as far as Python can tell them apart."""
    shifts = [len(line) - len(line.lstrip()) if line.lstrip().startswith(">>") else 0 for line in lines]
    bare = "\n".join(line[shift:] for line, shift in zip(lines, shifts, strict=True))
    code: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(StringIO(bare).readline):
            if token.type == tokenize.NEWLINE and code:
                last = code[-1].end[0] - 1
                yield Statement(code[0].start[0] - 1, last, code[-1].end[1] + shifts[last], code[0].string == ">>")
                code = []
            elif token.type not in _EMPTY and token.type != tokenize.NEWLINE:
                code.append(token)
    except (tokenize.TokenError, SyntaxError):  # Python's parser says it better
        return


def unclosed(source: str) -> tuple[str, int, int] | None:
    r"""The last bracket that nothing closes, with its line (from 1) and column; None where there is none.

    >>> unclosed("a\n>> b(c, [d]")
    ('(', 2, 4)
    """
    held: list[tuple[str, int, int]] = []
    try:
        for token in tokenize.generate_tokens(StringIO(source).readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip():  # a string without an end, say
                return None
            if token.type == tokenize.OP and token.string in "([{":
                held.append((token.string, *token.start))
            elif token.type == tokenize.OP and token.string in ")]}" and held:
                held.pop()
    except (tokenize.TokenError, SyntaxError):
        return held[-1] if held else None
    return None
