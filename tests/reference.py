"""`make docs`: the API reference, by pdoc; and what of the public names is not documented or has no example."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import sage_nb

FINDER = doctest.DocTestFinder(exclude_empty=False)


def home_of(name: str) -> str:
    """The module that defines a public name."""
    thing = getattr(sage_nb, name)
    return thing.__name__ if inspect.ismodule(thing) else thing.__module__


def ours(kind: type) -> list[type]:
    """The class and those of its bases that this package defines."""
    return [owner for owner in kind.__mro__ if owner.__module__.startswith("sage_nb")]


def members_of(kind: type) -> Iterator[tuple[str, type]]:
    """Its public methods and properties, each with the class that defines it."""
    seen: set[str] = set()
    for owner in ours(kind):
        for name, value in vars(owner).items():
            described = inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))
            if described and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, owner


@cache
def examples_in(module: str) -> dict[str, str]:
    """The code of the doctests of a module, by the full name of what they belong to.

    What needs a cluster is skipped by the doctest run, and run by tests/runtime/ray/test_examples.py.
    """
    tests = FINDER.find(import_module(module), module)
    return {test.name: "".join(each.source for each in test.examples) for test in tests}


def shown_by(kind: type) -> str:
    """The code of all doctests of a class, its members and its bases."""
    code = ""
    for owner in ours(kind):
        whole = f"{owner.__module__}.{owner.__qualname__}."
        code += "".join(text for name, text in examples_in(owner.__module__).items() if f"{name}.".startswith(whole))
    return code


def missing_members() -> Iterator[str]:
    """Members of public classes that lack a docstring, or are used in no example of a class that has them."""
    code: dict[tuple[type, str], str] = {}
    for kind in map(sage_nb.__getattr__, sage_nb.__all__):
        if inspect.isclass(kind):
            shown = shown_by(kind)
            for name, owner in members_of(kind):
                code[owner, name] = code.get((owner, name), "") + shown
    for (owner, name), shown in code.items():
        if not (inspect.getdoc(getattr(owner, name)) or "").strip():
            yield f"{owner.__module__}.{owner.__qualname__}.{name} has no docstring"
        if not re.search(rf"\b{name}\b", shown):
            yield f"{owner.__module__}.{owner.__qualname__}.{name} has no example"


def missing_names() -> Iterator[str]:
    """Public names that lack a docstring or an example of their own."""
    for name in sage_nb.__all__:
        thing = getattr(sage_nb, name)
        home = home_of(name)
        own = home if inspect.ismodule(thing) else f"{home}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
        if not (inspect.getdoc(thing) or "").strip():
            yield f"{name} has no docstring"
        if not examples_in(home).get(own):
            yield f"{name} has no example"


def rooms() -> list[ModuleType]:
    """A page for each room of the package: a module that holds the public names that live there."""
    pages: dict[str, ModuleType] = {}
    for name in sage_nb.__all__:
        thing = getattr(sage_nb, name)
        if inspect.ismodule(thing):
            continue
        room = ".".join(home_of(name).split(".")[:2])
        about = f"{import_module(room).__doc__}\n\nThese are names of `sage_nb` itself, as in `sage.{name}`."
        page = pages.setdefault(room, ModuleType(room, about))
        page.__dict__.setdefault("__all__", []).append(name)
        setattr(page, name, thing)
        if inspect.isclass(thing) and is_dataclass(thing):  # pdoc would look for the types of a base in its own module
            thing.__init__.__annotations__.update(hints(thing))
    return [pages[room] for room in sorted(pages)]


def hints(kind: type) -> dict[str, object]:
    """The types of what its base classes hold."""
    inherited = [base for base in kind.__mro__[1:] if is_dataclass(base)]
    return {name: each for base in reversed(inherited) for name, each in get_type_hints(base).items()}


def build(folder: Path) -> None:
    """Write the reference; a warning of pdoc is an error."""
    import pdoc.doc
    import pdoc.render

    folder.mkdir(parents=True, exist_ok=True)
    modules = {page.__name__: pdoc.doc.Module(page) for page in rooms()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Error parsing type annotation traitlets")  # generic for mypy alone
        for name, module in modules.items():
            (folder / f"{name}.html").write_text(pdoc.render.html_module(module, modules), encoding="utf8")
        (folder / "index.html").write_text(pdoc.render.html_index(modules), encoding="utf8")
        (folder / "search.js").write_text(pdoc.render.search_index(modules), encoding="utf8")


def main(folder: str) -> int:
    """Say what lacks something, build the pages; the exit status is 1 where something lacks."""
    missing = [*missing_names(), *missing_members()]
    build(Path(folder))
    print(*missing, f"{len(sage_nb.__all__)} public names, {len(missing)} gaps; {folder}/index.html", sep="\n")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
