"""The layout is the architecture: what each room may import, of ours and of others'."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sage_nb"
GROUND = {"errors", "records"}
FLOORS = GROUND | {"corpora", "models", "stream", "index", "runtime", "retrieval", "evaluation"}
MAY_IMPORT = {  # room -> our rooms it may see; siblings on one floor are blind to each other
    "errors": set(),
    "records": {"errors"},
    "corpora": GROUND,
    "models": GROUND,
    "stream": GROUND,
    "index": GROUND,
    "runtime": GROUND | {"stream"},
    "retrieval": GROUND | {"models", "stream", "index", "runtime"},
    "evaluation": GROUND | {"retrieval"},
    "notebook": FLOORS,
    "cli": FLOORS,
}
HEAVY = {  # library -> where alone it may be imported
    "torch": ("models",),
    "sentence_transformers": ("models",),
    "transformers": ("models",),
    "faiss": ("index/dense.py",),
    "ray": ("runtime/ray",),
    "IPython": ("notebook", "__init__.py"),
    "ipywidgets": ("notebook/widgets",),
    "anywidget": ("notebook/widgets",),
    "traitlets": ("notebook",),
    "pickle": (),
}
NAMELESS = {"utils", "helpers", "common", "manager", "util", "misc", "base"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, also those inside functions and TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((node.lineno, f"{dots}{node.module}.{alias.name}") for alias in node.names)


def faults(path: Path, package: Path = PACKAGE) -> list[str]:
    """One line per broken rule; empty when the file keeps to its room."""
    where = path.relative_to(package).as_posix()
    room = where.split("/")[0].removesuffix(".py")
    found = [f"{where} says nothing by its name"] if path.stem in NAMELESS else []
    for line, name in imported(path):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if not top:
            found.append(f"{where}:{line} relative import {name}")
        elif top == "sage_nb" and room in MAY_IMPORT and target != room and target not in MAY_IMPORT[room]:
            found.append(f"{where}:{line} {room}/ may not import {target or 'the package root'}/")
        elif top in HEAVY and not where.startswith(HEAVY[top]):
            found.append(f"{where}:{line} only {HEAVY[top]} may import {top}")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_each_file_keeps_to_its_room(path):
    assert faults(path) == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("records/x.py", "def f():\n    from sage_nb.retrieval import stage"),
        ("index/x.py", "from sage_nb.runtime.job import Job"),
        ("corpora/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sage_nb.index.dense"),
        ("retrieval/x.py", "import sage_nb"),
        ("runtime/local.py", "import ray"),
        ("stream/x.py", "from . import graph"),
        ("records/utils.py", ""),
        ("index/x.py", "import pickle"),
    ],
)
def test_a_broken_rule_is_noticed(tmp_path, where, code):
    bad = tmp_path / where
    bad.parent.mkdir(parents=True)
    bad.write_text(code)
    assert len(faults(bad, tmp_path)) == 1


def test_every_room_is_on_the_ladder():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(MAY_IMPORT)


def test_importing_the_package_loads_nothing_heavy():
    heavy = "['torch', 'faiss', 'ray', 'transformers', 'pandas', 'pyarrow', 'numpy', 'IPython']"
    code = f"import sys, sage_nb; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_extension_loads_what_runs_pipelines_only_once_a_cell_does():
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance();"
        "shell.run_line_magic('load_ext', 'sage_nb'); early = 'sage_nb.retrieval.run' in sys.modules;"
        "shell.run_cell_magic('sage', '', 'Collection(\"b\").lexical()');"
        "print(early, 'sage_nb.retrieval.run' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False True")
