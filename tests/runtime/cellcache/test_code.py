"""Fingerprints of user code: each ingredient counts, nothing else does, and what cannot be known is said."""

from __future__ import annotations

import ast
import itertools
import linecache
import os
import subprocess
import sys
import textwrap
from types import FunctionType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.runtime.cellcache import library
from sage_nb.runtime.cellcache.code import ALL, Fingerprinted, Unknown, changed, code_fingerprint

CELLS = itertools.count()


def cell(source, namespace=None, lines_above=0):
    """The names of a namespace after a cell has run there, with its source where a kernel keeps it."""
    text = "\n" * lines_above + textwrap.dedent(source).lstrip("\n")
    name = f"<ipython-input-{next(CELLS)}-test>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    exec(compile(text, name, "exec"), namespace)  # noqa: S102  as a kernel does
    return namespace


def of(source, ingredients=ALL, **cells):
    """The fingerprint of `f` after the cell has run."""
    found = code_fingerprint(cell(source, **cells)["f"], ingredients=ingredients)
    assert isinstance(found, Fingerprinted), found
    return found


METHODS = """
    import string

    class Base:
        def tidy(self, x):
            return x.strip()

    class Clean(Base):
        LIMIT = 3

        def __init__(self, weight):
            self.weight = weight

        def __call__(self, x):
            return self.tidy(x)[: self.LIMIT] * self.weight

        @staticmethod
        def other(x):
            return x + 1

        @property
        def double(self):
            return 2 * self.weight

    f = Clean(2)
"""
CALLS = """
    STOP = {"the", "a"}

    def strip(x, chars=" "):
        return x.strip(chars)

    def clean(x):
        return [word for word in strip(x).split() if word not in STOP]

    def f(x):
        return clean(x)
"""
CLOSURE = """
    def make(weights):
        def f(x):
            return x * weights[0]
        return f

    f = make([1, 2])
"""
PARTIAL = """
    from functools import partial

    def g(x, y, z):
        return x + y + z

    f = partial(g, 1, z=3)
"""
STRUCT = """
    import msgspec

    class Row(msgspec.Struct, frozen=True):
        n: int = 1
        held: list = []

    def f(x):
        return Row(x)
"""
COLOR = """
    import enum

    class Color(enum.Enum):
        RED = 1

        def size(self):
            return len(self.name)

    def f(x):
        return Color.RED.size()
"""
DATA = """
    from dataclasses import dataclass

    @dataclass
    class Row:
        n: int = 1

    def f(x):
        return Row()
"""
LAMBDAS = "one, f = (lambda x: x + 1), (lambda x: x + 2)"
# The ingredient, a cell, what is replaced in it by what, and what has changed by that.
EDITS = [
    ("source", "def f(x):\n    return x + 1", "+ 1", "+ 2", "source"),
    ("source", "def f(x):\n    return x + 1", "+ 1", "+ 1.0", "source"),
    ("source", "def f(x):\n    return x == 1", "1", "True", "source"),
    ("source", "def f(x):\n    return x * 0.0", "0.0", "-0.0", "source"),
    ("source", "def f(x):\n    yield x", "yield x", "return x", "source"),
    ("source", LAMBDAS, "x + 2", "x + 3", "source"),
    ("source", "exec('def f(x): return x + 1')", "+ 1", "+ 2", "source"),
    ("source", PARTIAL, "x + y", "x - y", "source"),
    ("default", "def f(x, limit=3):\n    return x[:limit]", "=3", "=4", "default limit"),
    ("default", "def f(x, *, limit=3):\n    return x[:limit]", "=3", "=4", "default limit"),
    ("default", CALLS, 'chars=" "', 'chars=""', "calls strip: default chars"),
    ("closure", CLOSURE, "[1, 2]", "[1, 3]", "closure weights"),
    ("global", "STOP = {1}\ndef f(x):\n    return x in STOP", "{1}", "{2}", "global STOP"),
    ("global", CALLS, '"a"', '"an"', "global STOP"),
    ("global", "import math\ndef f(x):\n    return x * g\ng = math.e", "math.e", "math.pi", "global g"),
    ("global", "class K: pass\nclass L: pass\nkind = K\ndef f(x):\n    return kind.__name__", "= K", "= L", None),
    ("calls", CALLS, "not in STOP", "in STOP", "calls clean"),
    ("calls", CALLS, "x.strip(chars)", "x.lstrip(chars)", "calls strip"),
    ("calls", "steps = [lambda x: x + 1]\ndef f(x):\n    return steps[0](x)", "+ 1", "+ 2", "calls <lambda>"),
    ("method", METHODS, "self.tidy(x)[", "self.tidy(x)[1:", "method Clean.__call__"),
    ("method", METHODS, "x.strip()", "x.lstrip()", "method Base.tidy"),
    ("method", METHODS, "x + 1", "x + 2", "method Clean.other"),
    ("method", METHODS, "2 * self", "3 * self", "method Clean.double"),
    ("method", METHODS + "    f = Clean\n", "x.strip()", "x.lstrip()", "method Base.tidy"),
    ("method", METHODS + "    f = [Clean]\n", "x.strip()", "x.lstrip()", "method Base.tidy"),
    ("source", METHODS + "    f = Clean(2).tidy\n", "x.strip()", "x.lstrip()", "source"),
    ("attribute", METHODS + "    f = Clean(2).tidy\n", "LIMIT = 3", "LIMIT = 4", "attribute Clean.LIMIT"),
    ("class", METHODS, "class Base:", "class Base(string.Formatter):", "class Base"),
    ("attribute", METHODS, "LIMIT = 3", "LIMIT = 4", "attribute Clean.LIMIT"),
    ("attribute", METHODS, "Clean(2)", "Clean(3)", "attribute weight"),
    ("attribute", "def f(x):\n    return f.factor * x\nf.factor = 2", "r = 2", "r = 3", "attribute factor"),
    ("attribute", STRUCT, "n: int = 1", "n: int = 2", "attribute Row.__struct_defaults__"),
    ("attribute", STRUCT, "= []", "= {}", "attribute Row.__struct_defaults__"),
    ("attribute", STRUCT, "frozen=True", "frozen=False", "attribute Row.__struct_config__"),
    ("class", STRUCT, "n: int", "n: float", "class Row"),
    ("attribute", COLOR, "RED = 1", "RED = 2", "attribute Color.RED"),
    ("method", COLOR, "len(self", "abs(self", "method Color.size"),
    ("default", DATA, "n: int = 1", "n: int = 2", None),
    ("argument", PARTIAL, "(g, 1", "(g, 2", "argument 0"),
    ("argument", PARTIAL, "z=3", "z=4", "argument z"),
]


@pytest.mark.parametrize(("ingredient", "source", "old", "new", "said"), EDITS)
def test_a_change_of_an_ingredient_changes_the_fingerprint_and_is_named(ingredient, source, old, new, said):
    before, after = of(source), of(source.replace(old, new))
    assert before.digest != after.digest
    assert said is None or changed(before, after) == [f"{said} changed"]


@pytest.mark.parametrize(("ingredient", "source", "old", "new", "said"), [edit for edit in EDITS if edit[4]])
def test_without_the_ingredient_the_change_would_go_unnoticed(ingredient, source, old, new, said):
    left = ALL - {ingredient}
    assert of(source, left).digest == of(source.replace(old, new), left).digest


@pytest.mark.parametrize(("ingredient", "source", "old", "new", "said"), EDITS)
def test_edits_elsewhere_do_not_count(ingredient, source, old, new, said):
    around = 'import json\nOTHER = 1\n\n\ndef unused(x):  # of no one\n    "Nothing."\n    return OTHER\n\n\n'
    edited = around + textwrap.dedent(source) + "\n# the end\nLATER = 2\n"
    assert of(source) == of(edited) == of(source, lines_above=40)


@pytest.mark.parametrize(
    "edited",
    [
        'def f(x, limit=3):\n    """Doc."""\n    # why\n    y = (x\n        + 1)\n\n    return y  # done',
        "def f(x, limit=3): y = x+1; return y",
        "def f(  x,limit = 3 ):\n  y=x+1\n  'said in passing'\n  return (y)",
        "@str\ndef g(): ...\ndef same(g): return g\n@same\ndef f(x, limit=3):\n    y = x + 1\n    return y",
        "def f(x, limit=2 + 1):\n    y = x + 1\n    return y",
    ],
)
def test_comments_layout_and_docstrings_do_not_count(edited):
    assert of("def f(x, limit=3):\n    y = x + 1\n    return y") == of(edited)


def test_a_function_does_not_count_its_own_name_and_its_module():
    assert of("def f(x):\n    return x") == of("def g(x):\n    return x\nf = g", namespace={"__name__": "mine"})


NAMES = st.sampled_from(["x", "y", "z"])
EXPRESSIONS = st.recursive(
    st.one_of(NAMES, st.integers(0, 3).map(str), st.sampled_from(["'a'", "1.0", "True", "None", "b'a'"])),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "and", "<", "=="]), inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{}.get({})".format, NAMES, inner),
        st.builds("(lambda y: {})".format, inner),
        st.builds("[{} for z in {}]".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("if {}: {} = {}".format, EXPRESSIONS, NAMES, EXPRESSIONS),
    st.builds("for z in {}: {} = {}".format, EXPRESSIONS, NAMES, EXPRESSIONS),
    EXPRESSIONS.map("return {}".format),
)
BODIES = st.lists(STATEMENTS, min_size=1, max_size=4)
COSMETICS = st.sampled_from(["", "# a comment", "'a text'", "", "'''Doc.'''"])


@given(BODIES, BODIES, st.lists(COSMETICS, min_size=10, max_size=10), st.booleans())
def test_fingerprints_are_equal_just_where_the_code_is(body, other, cosmetics, unparsed):
    def function(statements, between):
        lines = [line for pair in zip(between, statements, strict=False) for line in pair]
        return "def f(x, y=0, z=0):\n" + "".join(f"    {line}\n" for line in lines if line)

    plain, dressed, second = function(body, [""] * 9), function(body, cosmetics), function(other, cosmetics[5:])
    dressed = ast.unparse(ast.parse(dressed)) if unparsed else dressed
    assert of(plain) == of(dressed)
    same = ast.dump(ast.parse("\n".join(body))) == ast.dump(ast.parse("\n".join(other)))
    assert (of(dressed).digest == of(second).digest) == same


def test_each_lambda_of_a_line_is_its_own():
    found = cell("a, b, c, d = lambda x: x + 1, lambda x: x + 2, (lambda x:  x+1), [lambda x: x + 1 for _ in 'a'][0]")
    one, two, three, four = (code_fingerprint(found[name]) for name in "abcd")
    assert one == three == four == of("f = lambda x: x + 1")
    assert one.digest != two.digest


@pytest.mark.parametrize("terms", [3, 300])
def test_code_of_any_depth_has_a_fingerprint(terms):
    source = f"def f(x):\n    return {' + '.join(['x'] * terms)}"
    assert of(source).digest == of(f"{source}  # again").digest != of(source + " + 1").digest


def test_a_lambda_that_decorates_is_not_taken_for_the_function_below_it():
    below = "\ndef f(x):\n    return x"
    found = cell(f"kept = []\n@(lambda g: kept.append(g)){below}")
    assert code_fingerprint(found["kept"][0]) == of(below)
    decorators = ("sys._getframe().f_code", "[sys._getframe().f_code][0]")
    codes = [cell(f"import sys\n@(lambda g: {body}){below}")["f"] for body in decorators]
    one, other = (code_fingerprint(FunctionType(code, {"sys": sys, "__name__": "__main__"})) for code in codes)
    assert one.parts["source"] != other.parts["source"]


def test_a_file_edited_since_its_import_is_not_taken_for_what_runs(tmp_path, monkeypatch):
    path = tmp_path / "my_module_of_today.py"
    path.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_module_of_today as module

    before = code_fingerprint(module.f)
    assert before == of("def f(x):\n    return x + 1")
    path.write_text("# above\n\ndef f(x):\n    return x + 1  # as before\n")
    linecache.checkcache()
    assert code_fingerprint(module.f) == before
    path.write_text("def f(x):\n    return x + 22\n")
    linecache.checkcache()
    old = code_fingerprint(module.f)
    assert old.digest != of("def f(x):\n    return x + 22").digest
    monkeypatch.delitem(sys.modules, "my_module_of_today")
    import my_module_of_today as module

    assert code_fingerprint(module.f) == of("def f(x):\n    return x + 22")
    path.write_text("def f(x):\n    return x + 4444\n")
    monkeypatch.delitem(sys.modules, "my_module_of_today")
    import my_module_of_today as module

    assert code_fingerprint(module.f) == of("def f(x):\n    return x + 4444")


def test_cells_of_a_kernel_have_their_source():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_cell("def f(x):\n    '''Doc.'''\n    return x + 1").raise_error()
    before = code_fingerprint(shell.user_ns["f"])
    shell.run_cell("# another\nawait_me = 1\ndef f(x):\n    return (x + 1)  # why").raise_error()
    assert before == code_fingerprint(shell.user_ns["f"]) == of("def f(x):\n    return x + 1")
    shell.run_cell("def f(x):\n    return x + 2").raise_error()
    assert changed(before, code_fingerprint(shell.user_ns["f"])) == ["source changed"]
    shell.history_manager.end_session()


def test_functions_that_call_each_other_end():
    source = "def f(n):\n    return n and g(n - 1)\ndef g(n):\n    return n and f(n - 1) + h\nh = [1]\nh.append(h)\n"
    assert changed(of(source), of(source.replace("+ h", "- h"))) == ["calls g changed"]
    many = "".join(f"def g{n}(x):\n    return {' + '.join(f'g{m}(x)' for m in range(40))}\n" for n in range(40))
    assert len(of(many + "f = g7").parts) == 40 + 40 + 1


def test_globals_of_modules_that_are_called_alike_all_count():
    modules = [cell(f"X = {n}\ndef g{n}(x):\n    return X", namespace={"__name__": "twin"}) for n in range(3)]
    calls = {"__name__": "__main__"} | {f"g{n}": module[f"g{n}"] for n, module in enumerate(modules)}
    function = cell("def f(x):\n    return g0(x) + g1(x) + g2(x)", namespace=calls)["f"]
    before = code_fingerprint(function)
    for module in modules:
        module["X"] += 10
        assert code_fingerprint(function).digest != before.digest
        module["X"] -= 10
    assert code_fingerprint(function) == before


PROJECT = """
    import math
    LIMIT = 3
    SECRET = 1
    def clean(x):
        return x[:LIMIT]
"""


def test_of_a_module_of_ones_own_what_is_used_counts(tmp_path, monkeypatch):
    (tmp_path / "my_text_tools.py").write_text(textwrap.dedent(PROJECT))
    monkeypatch.syspath_prepend(tmp_path)
    namespace = cell("import my_text_tools as tools\ndef f(x):\n    return tools.clean(x) + tools.math.pi")
    before = code_fingerprint(namespace["f"])
    assert {"calls clean", "global my_text_tools.LIMIT", "global tools.clean"} <= set(before.parts)
    monkeypatch.setattr(namespace["tools"], "SECRET", 2)
    assert code_fingerprint(namespace["f"]) == before
    monkeypatch.setattr(namespace["tools"], "LIMIT", 4)
    assert changed(before, code_fingerprint(namespace["f"])) == ["global my_text_tools.LIMIT changed"]


def test_the_version_of_a_library_counts(tmp_path, monkeypatch):
    path = tmp_path / "a_library_of_today.py"
    monkeypatch.setattr(library, "LIBRARIES", (str(tmp_path),))
    monkeypatch.syspath_prepend(tmp_path)

    def used(text):
        path.write_text(text)
        for name in ("version", "_below", "_origin"):
            getattr(getattr(library, name), "cache_clear", int)()
        sys.modules.pop("a_library_of_today", None)
        return [of(source, left) for source in sources for left in (ALL, ALL - {"library"})]

    sources = [
        "import a_library_of_today as tool\ndef f(x):\n    return tool.clean(x)",
        "from a_library_of_today import clean\ndef f(x):\n    return clean(x)",
        "def f(x):\n    import a_library_of_today\n    return a_library_of_today.clean(x)",
    ]
    before, after = used("def clean(x):\n    return x\n"), used("def clean(x):\n    return x + x\n")
    for one, other in zip(before[::2], after[::2], strict=True):
        assert changed(one, other) == ["library a_library_of_today changed"]
    assert before[1::2] == after[1::2], "without the ingredient it would go unnoticed"


def test_what_a_library_has_not_loaded_yet_goes_by_its_name():
    parts = of("import sage_nb as sage\ndef f(x):\n    return sage.NoSuchNameEver(x)").parts
    assert {"global sage.NoSuchNameEver", "library sage_nb"} <= set(parts)
    assert parts != of("import sage_nb as sage\ndef f(x):\n    return sage.NoOtherName(x)").parts


def test_a_librarys_distribution_gives_its_version():
    import numpy

    parts = of("import numpy as np\ndef f(x):\n    return np.linalg.norm(x) * np.pi").parts
    assert "library numpy" in parts
    assert library.version("numpy.linalg") == ("numpy", f"numpy {numpy.__version__}")
    assert library.version("yaml")[1].startswith("PyYAML ")
    assert library.version("sage_nb.errors")[0] == "sage_nb"


def test_an_operator_of_this_package_is_the_users_part_and_the_packages_version():
    source = """
        from sage_nb.stream.function import MapFunction
        from sage_nb.stream.operator import operator
        class Shout(MapFunction):
            def map(self, value):
                return value.upper()
        f = Shout()
        @operator(parallelism=2)
        def shout(value):
            return value.upper()
        """
    before, after = of(source), of(source.replace("upper", "lower"))
    assert set(before.parts) >= {"class Shout", "method Shout.map", "library sage_nb"}
    assert changed(before, after) == ["method Shout.map changed"]
    before, after = (of(f"{textwrap.dedent(each)}f = shout\n") for each in (source, source.replace("upper", "lower")))
    assert changed(before, after) == ["calls shout changed"]


SCRIPT = """
import sys
from sage_nb.runtime.cellcache.code import ALL, code_fingerprint
from tests.runtime.cellcache.test_code import CALLS, METHODS, PARTIAL, of
left = ALL - set(sys.argv[1:])
print(of(CALLS, left).digest, of(METHODS, left).digest, of(PARTIAL, left).digest, of(CALLS, left).parts.get("python"))
"""


def in_another_process(*options, seed="0", left_out=()):
    command = [sys.executable, *options, "-c", SCRIPT, *left_out]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()


def test_the_next_kernel_gives_the_same_fingerprints_and_another_python_others():
    here = [of(CALLS).digest, of(METHODS).digest, of(PARTIAL).digest]
    assert in_another_process(seed="1")[:3] == here
    optimized = in_another_process("-O", seed="2")
    assert not set(optimized) & {*here, of(CALLS).parts["python"]}
    assert in_another_process("-O", left_out=["python"])[0] == of(CALLS, ALL - {"python"}).digest


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "rows = (x for x in 'ab')\ndef f(x):\n    return next(rows)",
            "'f' captures a generator 'rows', whose content",
        ),
        ("rows = iter('ab')\nf = lambda x: next(rows)", "'<lambda>' captures an iterator 'rows', whose"),
        (
            "rows = {'a': [1, map(str, 'ab')]}\ndef f(x, r=rows):\n    ...",
            r"'f' captures an iterator .r\['a'\]\[1\]., ",
        ),
        ("import random\nr = random.Random(1)\ndef f(x):\n    r.random()", "'f' captures a random generator 'r', "),
        ("import random\ndef f(x):\n    return random.choice(x)", "captures a random generator 'random.choice"),
        ("from random import random\ndef f(x):\n    return random()", "captures a random generator 'random"),
        ("import numpy as np\ndef f(x):\n    return np.random.rand()", "captures a random generator 'np.random.rand"),
        (
            "log = open('/dev/null')\nlog.close()\ndef f(x):\n    log.read()",
            "'f' captures an open file 'log', whose content",
        ),
        (
            "import threading\nL = threading.Lock()\ndef f(x):\n    L.acquire()",
            "'f' captures a lock 'L', whose content",
        ),
        ("import socket\ns = socket.socket()\ns.close()\ndef f(x):\n    s.send(x)", "'f' captures a socket 's', whose"),
        (METHODS.replace("= weight", "= iter('ab')"), "'Clean' captures an iterator 'weight', whose content"),
        (
            "def g(x):\n    return next(rows)\nrows = iter('')\ndef f(x):\n    return g(x)",
            "'g' captures an iterator 'rows'",
        ),
        (
            "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n",
            "'f' assigns the global variable 'n' as it runs, so",
        ),
        (
            "def make():\n    n = 0\n    def f(x):\n        nonlocal n\n        n += 1\n    return f\nf = make()",
            "'make.f' assigns the outer variable 'n' as it runs",
        ),
        ("def f(x):\n    import my_own_module\n    my_own_module.g()", "'f' imports 'my_own_module' as it runs, whose"),
        (
            "import tests.conftest as m\ndef f(x):\n    return getattr(m, x)",
            "'f' captures the module 'm', whose content",
        ),
        (
            "deep = []\nfor _ in range(10**5):\n    deep = [deep]\ndef f(x):\n    return deep",
            "'f' captures 'deep', which is",
        ),
        ("f = iter([1])", "'list_iterator' captures an iterator 'source'"),
        ("X = 1\ndef f(x):\n    return eval('X')", r"'f' calls eval\(\), which may use anything; name what it uses"),
        (
            "from functools import partial\nf = partial(max, iter('ab'))",
            "'partial' captures an iterator '0'",
        ),
    ],
)
def test_what_cannot_be_known_is_said_with_the_variable_to_blame(source, reason):
    found = code_fingerprint(cell(source)["f"])
    assert isinstance(found, Unknown)
    with pytest.raises(LookupError, match=reason):
        raise LookupError(found.reason)
    assert "\n" not in found.reason


def test_a_package_is_of_all_distributions_that_fill_it_whatever_they_are_called(tmp_path, monkeypatch):
    held = {"tool-1.0": "README,,", "real_tool-2.0": "tool/__init__.py,,", "more_tool-3.0": "tool/more.py,,"}
    for distribution, record in held.items():
        name, number = distribution.split("-")
        folder = tmp_path / f"{distribution}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        (folder / "RECORD").write_text(f"{record}\n")
    monkeypatch.syspath_prepend(tmp_path)
    library._recorded.cache_clear()
    assert library.version.__wrapped__("tool") == ("tool", "more_tool 3.0 real_tool 2.0")
    library._recorded.cache_clear()
