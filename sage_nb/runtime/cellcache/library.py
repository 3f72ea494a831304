"""What is installed, and what is the user's own.

Code is installed where its file lies below a folder that Python or its installers fill (the standard library,
site-packages, dist-packages), or is built into the interpreter. This package counts as installed wherever it lies. All
else is the user's own: a notebook's cells, modules beside it, projects that are installed for editing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sage_nb.records.disk import LIBRARIES, is_below

PACKAGE = "sage_nb"
HERE = str(Path(__file__).resolve().parents[2])


def is_installed(module: str, file: str | None = None) -> bool:
    """Whether the code of `file` in `module` is a library's; without a file that exists, the module says it.

    >>> is_installed("json"), is_installed("numpy.linalg"), is_installed("__main__"), is_installed("builtins")
    (True, True, False, True)
    >>> is_installed("__main__", "/home/someone/project/clean.py"), is_installed("json", "<string>")
    (False, True)
    """
    if file is not None and Path(file).is_absolute():
        return _below(file)
    if module == "__main__":
        return False
    if module.partition(".")[0] in {PACKAGE, *sys.builtin_module_names}:
        return True
    origin = _origin(module)
    return origin in {"built-in", "frozen"} or (origin is not None and _below(origin))


def is_own_module(module: ModuleType) -> bool:
    """Whether it is the user's.

    >>> is_own_module(os)
    False
    """
    return not is_installed(module.__name__, getattr(module, "__file__", None))


@lru_cache(maxsize=1024)
def version(module: str) -> tuple[str, str]:
    """The library that a module is of, and its version: Python's, the distribution's or, without one, its files' hash.

    >>> version("json.decoder") == ("python", f"{sys.version_info[0]}.{sys.version_info[1]}")
    True
    >>> import numpy
    >>> version("numpy.linalg") == ("numpy", f"numpy {numpy.__version__}")
    True
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "python", f"{sys.version_info[0]}.{sys.version_info[1]}"
    if top == PACKAGE and not is_below(HERE, LIBRARIES):  # being edited
        return top, _files(top)
    known = " ".join(f"{name} {metadata.version(name)}" for name in sorted(_distributions(top)))
    return top, known or _files(top)


@lru_cache(maxsize=1)
def _packages() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


@lru_cache(maxsize=1)
def _recorded() -> dict[str, list[metadata.Distribution]]:
    """The distributions that record files in a folder, by its name, in a quarter of the time of `_packages`."""
    found: dict[str, list[metadata.Distribution]] = {}
    for each in metadata.distributions():
        lines = (each.read_text("RECORD") or "").splitlines()
        for folder in {line.partition("/")[0] for line in lines if "/" in line}:
            found.setdefault(folder, []).append(each)
    return found


def _distributions(top: str) -> set[str]:
    """Those that hold a package; one called as it is where none says so, which in Python 3.10 few do."""
    if found := {each.name for each in _recorded().get(top, ())} or set(_packages().get(top, ())):
        return found
    try:
        return {metadata.distribution(top).name}
    except metadata.PackageNotFoundError:
        return set()


def _files(top: str) -> str:
    """The hash of a package's Python files, or of a module's file."""
    origin = _origin(top)
    if origin is None or not Path(origin).is_file():
        return "unknown"
    path = Path(origin)
    hashed = hashlib.blake2b(digest_size=16)
    for each in sorted(path.parent.rglob("*.py")) if path.stem == "__init__" else [path]:
        hashed.update(hashlib.blake2b(each.read_bytes()).digest())
    return hashed.hexdigest()


def _origin(module: str) -> str | None:
    """The file of a module, "built-in" or "frozen"; None where none is known. Nothing is imported for it."""
    if module in sys.modules:
        found = sys.modules[module]
        spec = getattr(found, "__spec__", None)
        return getattr(found, "__file__", None) or (spec.origin if spec else None)
    try:
        spec = find_spec(module.partition(".")[0])
    except ValueError:
        return None
    return spec.origin if spec else None


@lru_cache(maxsize=4096)
def _below(file: str) -> bool:
    return is_below(os.path.realpath(file), (HERE, *LIBRARIES))
