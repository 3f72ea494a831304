"""The `%%sage` cell without IPython: source in, pipeline or run out; every step a value that a test can look at."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from types import CodeType
from typing import Any

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage

FILE = "<%%sage>"
Namespace = MutableMapping[str, Any]


@dataclass(frozen=True)
class CellOptions:
    """The cell's first line, read and checked."""

    name: str | None = None
    on: str | None = None
    top: int = 5

    def __post_init__(self) -> None:
        if self.name is not None and not self.name.isidentifier():
            raise BadValueError(f"%%sage cannot bind its result to {self.name!r}; give a Python name")
        if self.top < 1:
            raise BadValueError(f"--top needs 1 or more, got {self.top}")


class CellError(SageError):
    """A mistake in a cell: a sentence, and where."""

    def __init__(self, sentence: str, line: int = 0, column: int = 0, text: str = "") -> None:
        super().__init__(sentence, line, column, text)
        self.sentence, self.line, self.column, self.text = sentence, line, column, text

    def __str__(self) -> str:
        return self.sentence

    def _render_traceback_(self) -> list[str]:
        """The sentence; below it the line with a caret."""
        if not self.text:
            return [self.sentence]
        prefix = f"  line {self.line}: "
        return [self.sentence, prefix + self.text, " " * (len(prefix) + self.column) + "^"]


def join_lines(source: str) -> str:
    r"""The cell with every statement that goes on in a line of `>>` put in brackets; lines keep their numbers.

    >>> join_lines("a\n>> b\n")
    '(a\n>> b)\n'
    """
    lines = source.split("\n")
    inside = _string_lines(source)
    number = len(lines) - 1
    while number >= 0:
        if lines[number].lstrip().startswith(">>") and number not in inside:
            last = number
            first = _beginning(lines, number, inside)
            lines[first] = _bracketed(lines[first])
            lines[last] = _closed(lines[last])
            number = first
        number -= 1
    return "\n".join(lines)


def evaluate(source: str, namespace: Namespace, vocabulary: Mapping[str, Any]) -> Any:
    """Run the cell's statements in `namespace`, and give the value of its last expression.

    Names that the namespace lacks are looked up in `vocabulary`, which leaves nothing behind in the namespace.
    """
    tree = _parsed(source)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        raise CellError("the %%sage cell gives no pipeline; end it with an expression such as handbook.hybrid(k=10)")
    before = ast.Module(tree.body[:-1], [])
    last = ast.Expression(tree.body[-1].value)
    lent = {name: value for name, value in vocabulary.items() if name not in namespace}
    namespace.update(lent)
    try:
        _execute(compile(before, FILE, "exec"), namespace)
        return _execute(compile(last, FILE, "eval"), namespace)
    except (SageError, NameError, TypeError) as wrong:
        raise _explained(wrong, source, namespace) from wrong
    finally:
        for name, value in lent.items():
            if namespace.get(name) is value:
                del namespace[name]


def run_cell(source: str, options: CellOptions, namespace: Namespace, vocabulary: Mapping[str, Any]) -> Stage | Run:
    """The cell's pipeline, or, with `--on`, its finished run; bound to the name given."""
    stage = evaluate(source, namespace, vocabulary)
    if not isinstance(stage, Stage):
        raise CellError(
            f"the %%sage cell must end with a pipeline, this one ends with a {type(stage).__name__}; "
            f"write for example handbook.hybrid(k=10)"
        )
    answer: Stage | Run = stage
    if options.on is not None:
        if options.on not in namespace:
            names = [name for name in namespace if not name.startswith("_")]
            raise CellError(str(UnknownNameError.of("name of questions", options.on, names)))
        answer = stage.run(namespace[options.on])
        _ = answer.results
    if options.name:
        namespace[options.name] = answer
    return answer


def _execute(code: CodeType, namespace: Namespace) -> Any:
    return eval(code, dict_of(namespace))  # noqa: S307  the cell is the user's own code, in the user's own kernel


def dict_of(namespace: Namespace) -> dict[str, Any]:
    """The namespace as the dict that `eval` wants (IPython's is one already)."""
    if not isinstance(namespace, dict):
        raise BadValueError(f"a cell runs in a dict of names, got a {type(namespace).__name__}")
    return namespace


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(join_lines(source), FILE)
    except SyntaxError as wrong:
        line = wrong.lineno or 1
        raise CellError(
            f"the cell is not Python: {wrong.msg}", *_place(source, line, (wrong.offset or 1) - 1)
        ) from wrong


def _explained(wrong: Exception, source: str, namespace: Namespace) -> Exception:
    """`wrong` as a CellError at its place; an error from deep inside somebody's code stays what it is."""
    frames = traceback.extract_tb(wrong.__traceback__)
    own = [frame for frame in frames if frame.filename == FILE]
    deep = not isinstance(wrong, SageError) and frames[-1].filename != FILE and not _is_call_mistake(wrong)
    if not own or deep:
        return wrong
    place = _place(source, own[-1].lineno or 1, own[-1].colno or 0)
    return CellError(_sentence(wrong, namespace), *place)


def _is_call_mistake(wrong: Exception) -> bool:
    """Whether Python refused the arguments, which it does in the caller's frame."""
    return isinstance(wrong, TypeError) and "argument" in str(wrong)


def _sentence(wrong: Exception, namespace: Namespace) -> str:
    if isinstance(wrong, NameError) and wrong.name:
        return str(UnknownNameError.of("name", wrong.name, _near(wrong.name, namespace)))
    if isinstance(wrong, TypeError) and (found := re.search(r"unexpected keyword argument '(\w+)'", str(wrong))):
        near = get_close_matches(found.group(1), _parameters(str(wrong), namespace), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{str(wrong).partition('. Did you mean')[0]}{hint}"
    return str(wrong)


def _near(name: str, namespace: Namespace) -> list[str]:
    """Names like it: a whole kernel's namespace is no help."""
    return get_close_matches(name, [each for each in namespace if not each.startswith("_")], n=5)


def _parameters(message: str, namespace: Namespace) -> list[str]:
    """The parameters of the function that a TypeError names, as far as it can be found."""
    name = message.partition("(")[0]
    owner, _, method = name.rpartition(".")
    places = [value for value in namespace.values() if type(value).__name__ == owner or method == ""]
    functions = [getattr(value, method, None) for value in places] if owner else [namespace.get(name)]
    functions += [
        getattr(type(value), method, None) for value in namespace.values() if method and hasattr(value, method)
    ]
    found = next((each for each in functions if callable(each)), None)
    return list(inspect.signature(found).parameters) if found else []


def _place(source: str, line: int, column: int) -> tuple[int, int, str]:
    """Line, column and text of a place; the brackets that `join_lines` put in are taken out again."""
    original, joined = source.split("\n"), join_lines(source).split("\n")
    if not 1 <= line <= len(original):
        return line, 0, ""
    added = joined[line - 1].startswith(original[line - 1][: _indent(original[line - 1])] + "(") and (
        joined[line - 1] != original[line - 1]
    )
    shift = 1 if added and not original[line - 1].lstrip().startswith(">>") else 0
    text = original[line - 1]
    return line, max(0, min(len(text), column - shift)), text


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _beginning(lines: list[str], number: int, inside: set[int]) -> int:
    """The line where the statement that `number` goes on with begins: back over `>>`, comments, open brackets."""
    while number > 0:
        number -= 1
        text = lines[number].strip()
        if not text or text.startswith(("#", ">>")) or number in inside:
            continue
        if _balanced("\n".join(lines[number:])):
            break
    return number


def _balanced(text: str) -> bool:
    """Whether every closing bracket of `text` has its opening one in it."""
    depth = 0
    for kind, string in _tokens(text):
        depth += (string in "([{") - (string in ")]}") if kind == tokenize.OP else 0
        if depth < 0:
            return False
    return True


def _bracketed(line: str) -> str:
    """An opening bracket before the expression: after the `=` of an assignment, else at the line's first character."""
    found = re.match(r"\s*(?:[A-Za-z_]\w*(?:\s*:[^=]+)?\s*=(?!=)\s*)?", line)
    at = found.end() if found else 0
    return f"{line[:at]}({line[at:]}"


def _closed(line: str) -> str:
    """A closing bracket behind the code of a line, before its comment."""
    marks = list(_comments(line))
    at = marks[0] if marks else len(line)
    code = line[:at].rstrip()
    return f"{code}){line[len(code) :]}"


def _comments(line: str) -> Iterator[int]:
    try:
        for token in tokenize.generate_tokens(StringIO(line.lstrip()).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[1] + _indent(line)
    except (tokenize.TokenError, SyntaxError):
        return


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    try:
        for token in tokenize.generate_tokens(StringIO(text).readline):
            yield token.type, token.string
    except (tokenize.TokenError, SyntaxError):
        return


def _string_lines(source: str) -> set[int]:
    """Lines (from 0) that lie inside a string of several lines: `>>` there is text."""
    found: set[int] = set()
    try:
        for token in tokenize.generate_tokens(StringIO(source).readline):
            if token.type == tokenize.STRING:
                found.update(range(token.start[0], token.end[0]))
    except (tokenize.TokenError, SyntaxError):
        return found
    return found
