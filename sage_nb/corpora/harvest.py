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
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

LEFT_OUT = frozenset({"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo"})
# Where the standard library's own public names differ from where the code lies.
IMPLEMENTATIONS = frozenset({"posix", "nt", "posixpath", "ntpath", "genericpath"})


ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}(?=[>;])")  # of a default value, say: another one in each process


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


class Lost(NamedTuple):
    """A module or a name that raised when it was looked at."""

    name: str
    reason: str

    @classmethod
    def of(cls, name: str, failed: BaseException) -> Lost:
        """The loss of `name`, with the error in one line."""
        return cls(name, " ".join(f"{type(failed).__name__}: {failed}".split())[:300])


def harvest(package: str) -> Iterator[dict[str, str]]:
    """Lines to send: documents, and the modules and names that are not among them because they raised."""
    modules: list[tuple[str, ModuleType]] = []
    for name in sorted(_module_names(package), key=lambda each: (each.count("."), each)):
        module = _imported(name)
        if isinstance(module, Lost):
            yield {"skipped": name, "reason": module.reason}
        else:
            modules.append((name, module))
    if package in ("stdlib", "os"):
        modules.append(("os.path", os.path))
    found, lost = _named(modules)
    yield from ({"skipped": name, "reason": reason} for name, reason in lost)
    yield from _documents(found, package)
    if package == "stdlib":
        yield from _topics()


def _imported(name: str) -> ModuleType | Lost:
    """The module, or why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except BaseException as failed:  # noqa: BLE001  SystemExit too: a module may do anything when imported
        return Lost.of(name, failed)


def _named(modules: list[tuple[str, ModuleType]]) -> tuple[list[Found], list[Lost]]:
    """Every documented object once, under its best name, best names first; and the names that raised."""
    objects: dict[int, Found] = {}
    lost: list[Lost] = []
    for name, module in modules:
        for found in _public(name, module):
            if isinstance(found, Lost):
                lost.append(found)
            elif (held := objects.get(id(found.value))) is None or found.order < held.order:
                objects[id(found.value)] = found
    return sorted(objects.values(), key=lambda each: each.order), lost


def _module_names(package: str) -> Iterator[str]:
    """Public modules of a package, found without importing its submodules."""
    if package == "stdlib":
        for name in sys.stdlib_module_names - LEFT_OUT - IMPLEMENTATIONS:
            if not name.startswith("_") and importlib.util.find_spec(name):  # it names other systems' modules too
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


def _public(name: str, module: ModuleType) -> Iterator[Found | Lost]:
    """The module, its public names, and the members of its classes."""
    yield Found(name, "module", module, own=True)
    try:
        listed = getattr(module, "__all__", None)
        names = sorted(map(str, listed or vars(module)))
    except Exception as failed:  # noqa: BLE001  a module may make its attributes up
        yield Lost.of(name, failed)
        return
    for each in names:
        if each.startswith("_"):
            continue
        try:
            yield from _found(f"{name}.{each}", getattr(module, each, None), listed=listed is not None)
        except BaseException as failed:  # noqa: BLE001  a lazy name may import its module only now
            yield Lost.of(f"{name}.{each}", failed)


def _found(name: str, value: Any, *, listed: bool) -> list[Found]:
    """The object and, of a class, its members; nothing where it is a module, has no docstring or is a guest."""
    if isinstance(value, ModuleType) or not _documented(value):
        return []
    (top, _, _), each = name.partition("."), name.rpartition(".")[2]
    home = str(getattr(value, "__module__", None) or top)
    if not listed and not home.startswith((top, "_")):  # a private module's work is shown by a public one
        return []
    own = f"{home}.{getattr(value, '__qualname__', each)}" == name
    if inspect.isclass(value):
        return [Found(name, "class", value, own), *_members(name, value, own)]
    return [Found(name, "function", value, own)]


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
    version = _version(package)
    for name, kind, value, _ in found:
        doc = inspect.cleandoc(value.__doc__) if isinstance(value.__doc__, str) else ""
        if not doc.strip() or doc in seen:
            continue
        seen.add(doc)
        text = ADDRESS.sub("", f"{_signature(name, kind, value)}\n\n{doc}")
        line = {"id": name, "text": text, "kind": kind}
        yield {**line, "parent": name.rpartition(".")[0], "version": version}


def _signature(name: str, kind: str, value: Any) -> str:
    if kind in ("module", "property"):
        return name
    try:
        text = f"{name}{inspect.signature(value)}"
    except Exception:  # noqa: BLE001  it may run the object's own code, such as the repr of a default
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
