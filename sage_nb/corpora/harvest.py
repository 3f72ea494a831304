"""The child side of `pydocs`: imports one package and writes its docstrings, a JSON line each.

It runs alone in a process (`python -m sage_nb.corpora.harvest NAME FD`), because importing a package may print, warn,
open windows, hang, or take the process down. It uses the standard library only.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

LEFT_OUT = frozenset({"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo"})
# Where the standard library's own public names differ from where the code lies.
IMPLEMENTATIONS = frozenset({"posix", "nt", "posixpath", "ntpath", "genericpath"})


class Found(NamedTuple):
    """An object under one of its public names; `own` where the name is the one it was defined with."""

    name: str
    kind: str
    value: Any
    own: bool

    @property
    def order(self) -> tuple[int, bool, int, str]:
        """The shallowest path wins, then its own name (`builtins.str`, not `typing.Text`), then the shortest."""
        return self.name.count("."), not self.own, len(self.name), self.name


def harvest(package: str) -> Iterator[dict[str, str]]:
    """Lines to send: documents, and what could not be imported."""
    modules: list[tuple[str, ModuleType]] = []
    for name in sorted(_module_names(package), key=lambda each: (each.count("."), each)):
        module = _imported(name)
        if isinstance(module, str):
            yield {"skipped": name, "reason": module}
        else:
            modules.append((name, module))
    if package in ("stdlib", "os"):
        modules.append(("os.path", os.path))
    yield from _documents(_named(modules), package)
    if package == "stdlib":
        yield from _topics()


def _imported(name: str) -> ModuleType | str:
    """The module, or why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except BaseException as failed:  # noqa: BLE001  SystemExit too: a module may do anything when imported
        return f"{type(failed).__name__}: {failed}"[:300]


def _named(modules: list[tuple[str, ModuleType]]) -> list[Found]:
    """Every documented object once, under its best name, best names first."""
    objects: dict[int, Found] = {}
    for name, module in modules:
        for found in _public(name, module):
            held = objects.get(id(found.value))
            if held is None or found.order < held.order:
                objects[id(found.value)] = found
    return sorted(objects.values(), key=lambda each: each.order)


def _module_names(package: str) -> Iterator[str]:
    """Public modules of a package, found without importing its submodules."""
    if package == "stdlib":
        for name in sys.stdlib_module_names - LEFT_OUT - IMPLEMENTATIONS:
            if not name.startswith("_"):
                yield from _module_names(name)
        return
    yield package
    spec = importlib.util.find_spec(package)
    yield from _submodules(package, list(spec.submodule_search_locations or []) if spec else [])


def _submodules(package: str, paths: list[str]) -> Iterator[str]:
    for info in pkgutil.iter_modules(paths):
        if info.name.startswith("_") or info.name in ("tests", "test", "conftest", "idle_test"):
            continue
        name = f"{package}.{info.name}"
        yield name
        if info.ispkg:
            yield from _submodules(name, [os.path.join(path, info.name) for path in paths])  # noqa: PTH118


def _public(name: str, module: ModuleType) -> Iterator[Found]:
    """The module, its public names, and the members of its classes."""
    yield Found(name, "module", module, own=True)
    top = name.partition(".")[0]
    listed = getattr(module, "__all__", None)
    for each in sorted(map(str, listed or vars(module))):
        value = vars(module).get(each, getattr(module, each, None) if listed else None)
        if each.startswith("_") or isinstance(value, ModuleType) or not _documented(value):
            continue
        home = str(getattr(value, "__module__", None) or top)
        if listed is None and not home.startswith((top, "_")):  # a private module's work is shown by a public one
            continue
        own = f"{home}.{getattr(value, '__qualname__', each)}" == f"{name}.{each}"
        yield Found(f"{name}.{each}", "class" if inspect.isclass(value) else "function", value, own)
        if inspect.isclass(value):
            yield from _members(f"{name}.{each}", value, own)


def _members(name: str, owner: type, own: bool) -> Iterator[Found]:  # noqa: FBT001  carried along, not a switch
    for each, raw in sorted(vars(owner).items()):
        value = raw.__func__ if isinstance(raw, (classmethod, staticmethod)) else raw
        if each.startswith("_") or inspect.isclass(value) or not _documented(value):
            continue
        if inspect.isroutine(value) or inspect.isdatadescriptor(value):
            yield Found(f"{name}.{each}", "method" if inspect.isroutine(value) else "property", value, own)


def _documented(value: Any) -> bool:
    """Whether it has a docstring of its own, and not merely its type's."""
    try:
        doc = value.__doc__
        own = inspect.isclass(value) or doc is not type(value).__doc__
    except Exception:  # noqa: BLE001  a lazy attribute may raise anything
        return False
    return isinstance(doc, str) and bool(doc.strip()) and own and (callable(value) or inspect.isdatadescriptor(value))


def _documents(found: list[Found], package: str) -> Iterator[dict[str, str]]:
    """A document for each object; the same words within a package once, under the best name."""
    seen: set[str] = set()
    for name, kind, value, _ in found:
        doc = inspect.cleandoc(value.__doc__) if isinstance(value.__doc__, str) else ""
        if not doc.strip() or doc in seen:
            continue
        seen.add(doc)
        line = {"id": name, "text": f"{_signature(name, kind, value)}\n\n{doc}", "kind": kind}
        yield {**line, "parent": name.rpartition(".")[0], "version": _version(package)}


def _signature(name: str, kind: str, value: Any) -> str:
    if kind in ("module", "property"):
        return name
    try:
        text = f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError, RecursionError):
        return name
    return text if len(text) < 200 else f"{text[:197]}..."


def _version(package: str) -> str:
    if package == "stdlib":
        return sys.version.partition(" ")[0]
    return str(getattr(sys.modules.get(package), "__version__", ""))


def _topics() -> Iterator[dict[str, str]]:
    from pydoc_data.topics import topics

    for key, text in sorted(topics.items()):
        parent = "pydoc_data.topics"
        line = {"id": f"{parent}.{key}", "text": text.strip(), "parent": parent, "kind": "topic"}
        yield {**line, "version": _version("stdlib")}


def main() -> None:
    """Write the lines of the package named by the first argument to the file descriptor of the second."""
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf8", errors="replace") as out:
        for line in harvest(sys.argv[1]):
            out.write(json.dumps(line) + "\n")
            out.flush()
        out.write('{"end": "1"}\n')
    os._exit(0)  # threads that an import started are not waited for


if __name__ == "__main__":
    main()
