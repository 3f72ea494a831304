"""What a piece of code does, without its comments, its layout and its place; and what it takes from outside.

The source counts by its syntax tree: without docstrings, positions, its own name and decorators (what they made is what
is looked at) and default values (they count by value). A tree is taken only where it compiles to the very bytecode
that runs, so that a file edited since its import is not mistaken for what was imported, and of several lambdas on a
line each finds its own. Where no source does, the bytecode, constants and names count, and a docstring with them.
"""

from __future__ import annotations
import __future__

import ast
import dis
import linecache
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

from sage_nb.runtime.cellcache.atoms import atom, digest, frame

Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
FIRST = 10_000_000  # numbers given to functions instead of their lines begin beyond any file's last line
KINDS = 0x3FF  # those of a code's flags that tell how it runs: generator, coroutine, *args …
FUTURE = __future__.annotations.compiler_flag
READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
READS_OUTER = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "LOAD_CLOSURE"}
ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL"}
WRITES_OUTER = {"STORE_DEREF", "DELETE_DEREF"}


def behaviour(code: CodeType, namespace: dict[str, Any]) -> bytes:
    r"""What the code does: equal for code that differs in comments, layout, docstrings and place alone.

    >>> one, other = compile("lambda x: x+1", "", "eval"), compile("(lambda x:\n  x + 1)", "", "eval")
    >>> behaviour(one.co_consts[0], {}) == behaviour(other.co_consts[0], {})
    True
    """
    running = bytecode(code)
    for may_be_new in (False, True):
        if may_be_new:
            linecache.checkcache(code.co_filename)
        text = "".join(linecache.getlines(code.co_filename, namespace))
        trees = _trees(text, code.co_flags & FUTURE).get(running, ()) if text else ()
        if trees:
            return frame(b"tree", min(trees, key=lambda tree: (abs(tree[0] - code.co_firstlineno), tree[1]))[1])
    return frame(b"code", running)


@dataclass
class Names:
    """What code takes from outside, and what it changes there, with all code that it holds.

    `read` and `outer` give for each name the attributes read of it one after another: `a.b.c()` gives ("b", "c") for a.
    """

    read: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    outer: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    changed: set[tuple[str, str]] = field(default_factory=set)  # ("global" or "outer", name)
    imported: set[tuple[int, str]] = field(default_factory=set)  # dots, name


def names(code: CodeType) -> Names:
    """The names that `code` takes from its module and from the functions around it.

    >>> found = names(compile("lambda: np.linalg.norm(x) + len(np.e)", "", "eval").co_consts[0])
    >>> sorted(found.read), sorted(found.read["np"])
    (['len', 'np', 'x'], [('e',), ('linalg', 'norm')])
    """
    found = Names()
    for each in _nested(code):
        _read_names(each, frozenset(code.co_freevars) & frozenset(each.co_freevars), found)
    return found


def _read_names(code: CodeType, outer: frozenset[str], found: Names) -> None:
    steps = list(dis.get_instructions(code))
    for at, step in enumerate(steps):
        if step.opname in READS:
            found.read.setdefault(step.argval, set()).add(_attributes(steps, at + 1))
        elif step.opname in READS_OUTER and step.argval in outer:
            found.outer.setdefault(step.argval, set()).add(_attributes(steps, at + 1))
        elif step.opname in WRITES:
            found.changed.add(("global", step.argval))
        elif step.opname in WRITES_OUTER and step.argval in outer:
            found.changed.add(("outer", step.argval))
        elif step.opname == "IMPORT_NAME":
            found.imported.add((steps[at - 2].argval, step.argval))


def _attributes(steps: list[dis.Instruction], at: int) -> tuple[str, ...]:
    taken: list[str] = []
    while at < len(steps) and steps[at].opname in ATTRIBUTES:
        taken.append(steps[at].argval)
        at += 1
    return tuple(taken)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def bytecode(code: CodeType) -> bytes:
    r"""The digest of all that decides what the code does, and of nothing that tells where it stands.

    >>> one, other = compile("x + 1", "a.py", "eval"), compile("\n\nx + 1", "b.py", "eval")
    >>> bytecode(one) == bytecode(other), bytecode(one) == bytecode(compile("x + 2", "a.py", "eval"))
    (True, False)
    """
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & KINDS)
    named = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_consts, counts)
    handlers = getattr(code, "co_exceptiontable", b"")  # Python 3.10 has them in the bytecode
    return digest(frame(b"code", code.co_code, handlers, *map(_constant, named)))


def _constant(value: Any) -> bytes:
    if isinstance(value, CodeType):
        return bytecode(value)
    if isinstance(value, tuple):
        return frame(b"t", *map(_constant, value))
    if isinstance(value, frozenset):
        return frame(b"z", *sorted(map(_constant, value)))
    return atom(value) or frame(b"?", repr(value).encode())


@lru_cache(maxsize=64)
def _trees(text: str, flags: int) -> dict[bytes, list[tuple[int, bytes]]]:
    """For the bytecode of each function in `text`: the lines where one with it stands, and their trees."""
    try:
        tree = ast.parse(text)
        found = {FIRST + number: node for number, node in enumerate(_definitions(tree))}
        lines = {number: node.lineno for number, node in found.items()}
        running = _compiled(tree, flags)
        _renumber(found)
        pairs = list(_paired(running, _compiled(tree, flags)))
        _Bare().visit(tree)
        trees: dict[bytes, list[tuple[int, bytes]]] = {}
        for code, number in pairs:
            if number in found and code.co_name == getattr(found[number], "name", "<lambda>"):
                trees.setdefault(bytecode(code), []).append((lines[number], _dumped(found[number])))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}  # no Python, or more of it than can be taken apart here: the bytecode says what it does
    return trees


def _definitions(tree: ast.AST) -> list[Defined]:
    return [node for node in ast.walk(tree) if isinstance(node, DEFINED)]


def _renumber(found: Mapping[int, Defined]) -> None:
    """Give each function's code its number for a line: the line is its first decorator's, if it has any."""
    for number, node in found.items():
        _place(node, number)
    for number, node in found.items():  # last, for a decorator may be a lambda, which then goes by its bytecode
        for decorator in getattr(node, "decorator_list", ())[:1]:
            _place(decorator, number)


def _place(node: Defined | ast.expr, line: int) -> None:
    node.lineno = node.end_lineno = line
    node.col_offset = node.end_col_offset = 0


def _compiled(tree: ast.Module, flags: int) -> CodeType:
    await_too = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in a cell
    code: CodeType = compile(tree, "<cell>", "exec", flags=flags | await_too, dont_inherit=True)
    return code


def _paired(running: CodeType, numbered: CodeType) -> Iterator[tuple[CodeType, int]]:
    """Each code object of one with the line, which is a number we gave, of the same one in the other."""
    yield running, numbered.co_firstlineno
    if len(running.co_consts) != len(numbered.co_consts):
        running = numbered  # Python 3.10 keeps equal lambdas of one line, whose numbers differ, as one
    for one, other in zip(running.co_consts, numbered.co_consts, strict=True):
        if isinstance(one, CodeType) and isinstance(other, CodeType):
            yield from _paired(one, other)


class _Bare(ast.NodeTransformer):
    """Leaves out what has no effect: docstrings and other text that stands alone, the u of u''."""

    def visit(self, node: ast.AST) -> Any:
        """A body of nothing but text becomes `pass`."""
        self.generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and not isinstance(node, ast.Module):
            node.body = [each for each in body if not _is_text(each)] or [ast.Pass()]  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant):
            node.kind = None
        return node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _dumped(node: Defined) -> bytes:
    """Its parameters and body as text; how many defaults there are is seen from their values."""
    parameters = {name: value for name, value in ast.iter_fields(node.args) if name not in {"defaults", "kw_defaults"}}
    body = node.body if isinstance(node.body, list) else [node.body]
    shown = [
        type(node).__name__,
        *(_text(each) for each in (*parameters.values(), getattr(node, "returns", None), body)),
    ]
    return frame(b"", *(each.encode("utf8", "surrogatepass") for each in shown))


def _text(part: Any) -> str:
    if isinstance(part, list):
        return repr([_text(each) for each in part])
    return ast.dump(part) if isinstance(part, ast.AST) else repr(part)
