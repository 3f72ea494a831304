"""Fingerprints of user code: equal where what it would do is equal, and the reason where that cannot be known.

A function is its source by syntax tree, its defaults, what it closes over, the globals it reads and, in the same way,
every function and class of the user's own that it can reach through them. A library's function is its name and the
library's version; a builtin is its name and Python's. What is read as it runs from elsewhere does not count: files,
environment variables, the clock.
"""

from __future__ import annotations

import builtins
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import msgspec

from sage_nb.runtime.cellcache.atoms import atom, digest, frame
from sage_nb.runtime.cellcache.content import Content, UnknowableError
from sage_nb.runtime.cellcache.library import is_installed, is_own_module, version
from sage_nb.runtime.cellcache.objects import (
    DESCRIPTORS,
    attributes,
    cell_content,
    inner,
    is_own,
    is_plain,
    is_random,
)
from sage_nb.runtime.cellcache.source import Names, behaviour, names

FORMAT = b"sage-code-1"  # part of every fingerprint: a new way to make them never meets an old key
ALL = frozenset(
    {"source", "default", "closure", "global", "calls", "method", "class", "attribute", "argument", "library", "python"}
)
MADE = frozenset(  # names in a class that Python or a decorator made from what counts anyway
    {"__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__annotations__", "__firstlineno__"}
    | {"__static_attributes__", "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__orig_bases__"}
    | {"__parameters__", "__abstractmethods__", "_abc_impl", "__annotations_cache__"}
)
ANYTHING = {"eval", "exec", "globals", "__import__"}
MISSING = object()
SLOTS = (MemberDescriptorType, GetSetDescriptorType)


@dataclass(frozen=True)
class Fingerprinted:
    """The fingerprint of some code, and the digest of each thing it is made of, by a name that people can read."""

    digest: str
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Unknown:
    """Why some code has no fingerprint: a sentence that names the variable to blame."""

    reason: str


def code_fingerprint(target: object, *, ingredients: frozenset[str] = ALL) -> Fingerprinted | Unknown:
    """The fingerprint of a function, lambda, partial, method, class, or of an object that is called or has methods.

    `ingredients` is for negative controls: what it lacks does not count.

    >>> __name__ = "__main__"  # as in a notebook
    >>> STOP = {"the", "a"}
    >>> def words(text, limit=3):
    ...     return [word for word in text.split() if word not in STOP][:limit]
    >>> before = code_fingerprint(words)
    >>> sorted(before.parts)
    ['default limit', 'global STOP', 'python', 'source']
    >>> STOP.add("an")
    >>> changed(before, code_fingerprint(words))
    ['global STOP changed']
    >>> rows = iter("ab")
    >>> print(code_fingerprint(lambda: next(rows)).reason)
    '<lambda>' captures an iterator 'rows', whose content cannot be known; capture plain data, or give it a fingerprint
    """
    walk = _Walk(ingredients)
    try:
        walk.begin(target)
    except _UnknownError as unknown:
        return Unknown(str(unknown))
    parts = dict(sorted(walk.parts.items()))
    whole = (frame(b"part", name.encode("utf8", "surrogatepass"), part.encode()) for name, part in parts.items())
    return Fingerprinted(digest(FORMAT, *whole).hex(), parts)


def changed(before: Fingerprinted, after: Fingerprinted) -> list[str]:
    """What made the fingerprint another one, in words.

    >>> changed(
    ...     Fingerprinted("1", {"source": "a", "global X": "b"}), Fingerprinted("2", {"source": "c", "calls f": "d"})
    ... )
    ['calls f is new', 'global X is gone', 'source changed']
    """
    said = []
    for name in sorted({*before.parts, *after.parts}):
        if before.parts.get(name) != after.parts.get(name):
            verb = "changed" if name in before.parts and name in after.parts else "is new"
            said.append(f"{name} {verb if name in after.parts else 'is gone'}")
    return said


class _UnknownError(Exception):
    """Ends a walk: the reason."""


class _Walk:
    """Goes from one target through all that it can reach; functions and classes once each, under labels."""

    def __init__(self, ingredients: frozenset[str]) -> None:
        self.parts: dict[str, str] = {}
        self._ingredients = ingredients
        self._content = Content(self._refer, self._library)
        self._labels: dict[int, tuple[object, str]] = {}  # by id; the thing is kept, so that its id stays its own
        self._taken: Counter[str] = Counter()
        self._waiting: deque[Callable[[], None]] = deque()
        self._home: object = None  # the namespace whose globals go by their bare names

    def begin(self, target: Any) -> None:
        """Fill `parts`.

        Raises _UnknownError where something reached cannot be known.
        """
        optimized = f" -{'O' * sys.flags.optimize}" if sys.flags.optimize else ""
        self._part("python", "python", (version("builtins")[1] + optimized).encode())
        self._root(target)
        while self._waiting:
            self._waiting.popleft()()

    def _root(self, target: Any) -> None:
        if isinstance(target, FunctionType) and is_own(target):
            self._home = target.__globals__
            self._function(target, self._label(target), "source", "source")
        elif isinstance(target, partial):
            self._root(target.func)
            for name, value in (*enumerate(target.args), *sorted(target.keywords.items())):
                self._value("argument", f"argument {name}", value, "partial")
        elif isinstance(target, MethodType):
            self._root(target.__func__)
            self._root(target.__self__)
        elif is_plain(target):
            self._refer(type(target))
            for name, value in attributes(target).items():
                self._value("attribute", f"attribute {name}", value, _readable(type(target)))
        else:
            self._value("source", "source", target, type(target).__name__)

    def _part(self, ingredient: str, name: str, *made_of: bytes) -> None:
        part = digest(*made_of).hex()
        while self.parts.get(name, part) != part:
            name += "'"  # another of that name, such as the global of another module called alike
        if ingredient in self._ingredients:
            self.parts[name] = part

    def _value(self, ingredient: str, name: str, value: object, owner: str) -> None:
        variable = name.rpartition(" ")[2]
        try:
            self._part(ingredient, name, self._content.of(value))
        except UnknowableError as unknowable:
            raise _UnknownError(
                f"{owner!r} captures {unknowable.what} {variable + unknowable.path!r}, whose content cannot be known; "
                f"capture plain data, or give it a fingerprint"
            ) from None
        except RecursionError:
            raise _UnknownError(
                f"{owner!r} captures {variable!r}, which is nested too deeply for its content to be known; flatten it"
            ) from None

    def _label(self, thing: Any) -> str:
        """A name that no other function or class of this walk has; it does not tell of modules and lines."""
        readable = _readable(thing)
        self._taken[readable] += 1
        label = readable if self._taken[readable] == 1 else f"{readable}#{self._taken[readable]}"
        self._labels[id(thing)] = (thing, label)
        return label

    def _refer(self, thing: Any, ingredient: str = "calls") -> bytes:
        """The label of a function or class, which will be looked at in its turn."""
        if id(thing) not in self._labels:
            label = self._label(thing)
            if isinstance(thing, type):
                self._waiting.append(lambda: self._class(thing, label))
            else:
                self._waiting.append(lambda: self._function(thing, label, ingredient, f"{ingredient} {label}"))
        return self._labels[id(thing)][1].encode("utf8", "surrogatepass")

    def _library(self, module: str) -> None:
        name, which = version(module)
        if name != "python":  # whose version always counts
            self._part("library", f"library {name}", which.encode())

    def _function(self, function: FunctionType, label: str, ingredient: str, at: str) -> None:
        code, within = function.__code__, "" if at == "source" else f"{at}: "
        taken = names(code)
        for kind, name in sorted(taken.changed):
            raise _UnknownError(
                f"{label!r} assigns the {kind} variable {name!r} as it runs, so that what it gives depends on what it "
                f"did before; keep that in the records, or in keyed state"
            )
        self._part(ingredient, at, behaviour(code, function.__globals__))
        for name, value in _defaults(function):
            self._value("default", f"{within}default {name}", value, label)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._variable("closure", f"{within}closure {name}", cell_content(cell), taken.outer.get(name, {()}), label)
        self._globals(function, taken, label)
        for name, value in sorted(vars(function).items()):
            self._value("attribute", f"{within}attribute {name}", value, label)

    def _globals(self, function: FunctionType, taken: Names, owner: str) -> None:
        space = function.__globals__
        home = "" if space is self._home else f"{space.get('__name__')}."
        for name, attributes_read in sorted(taken.read.items()):
            if name in space:
                self._variable("global", f"global {home}{name}", space[name], attributes_read, owner)
            elif name in ANYTHING:
                raise _UnknownError(f"{owner!r} calls {name}(), which may use anything; name what it uses instead")
            elif not hasattr(builtins, name):
                self._part("global", f"global {home}{name}", b"undefined")
        for dots, name in sorted(taken.imported):
            module = f"{space.get('__package__')}.{name}" if dots else name
            if dots or not is_installed(module):
                raise _UnknownError(
                    f"{owner!r} imports {module!r} as it runs, whose content cannot be known; "
                    f"import it outside of the function"
                )
            self._library(module)

    def _variable(self, ingredient: str, name: str, value: Any, read: Iterable[tuple[str, ...]], owner: str) -> None:
        """A captured value; of a module only what is read of it counts."""
        if not isinstance(value, ModuleType):
            self._value(ingredient, name, value, owner)
            return
        for steps in sorted(read):
            self._read_of_module(ingredient, name, value, steps, owner)

    def _read_of_module(
        self, ingredient: str, name: str, module: ModuleType, steps: tuple[str, ...], owner: str
    ) -> None:
        value: Any = module
        for step in steps:
            if not isinstance(value, ModuleType):
                break
            module, name = value, f"{name}.{step}"
            # A library's module may load what is asked for: what is not there yet goes by its name.
            value = getattr(module, step, NotImplemented) if is_own_module(module) else vars(module).get(step, MISSING)
        counts = isinstance(value, (FunctionType, type, ModuleType)) or atom(value) is not None
        if counts or is_own_module(module) or is_random(getattr(value, "__self__", None)):
            self._value(ingredient, name, value, owner)
        else:  # what a library holds besides, such as sys.stdout, is taken for a part of its version
            self._part(ingredient, name, frame(b"library", module.__name__.encode()))
            self._library(module.__name__)

    def _class(self, kind: type, label: str) -> None:
        held = _members(kind)
        methods = {name: value for name, value in held.items() if isinstance(value, (FunctionType, *DESCRIPTORS))}
        for function in (each for value in methods.values() for each in (value, *inner(value))):
            if isinstance(function, FunctionType) and is_own(function):
                self._refer(function, "method")
        self._value("class", f"class {label}", (type(kind), *kind.__bases__, _annotations(kind), methods), label)
        for name in sorted(held.keys() - methods.keys()):
            self._value("attribute", f"attribute {label}.{name}", held[name], label)


def _readable(thing: Any) -> str:
    return str(thing.__qualname__).replace("<locals>.", "")


def _defaults(function: FunctionType) -> list[tuple[str, Any]]:
    values = function.__defaults__ or ()
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    by_position = zip(positional[len(positional) - len(values) :], values, strict=True)
    return [*by_position, *sorted((function.__kwdefaults__ or {}).items())]


def _annotations(kind: type) -> dict[str, str]:
    """Of a class they may decide what its instances are; as text, since any object may be one."""
    held = vars(kind).get("__annotations__", {})
    return {name: value if isinstance(value, str) else repr(value) for name, value in held.items()}


def _members(kind: type) -> dict[str, Any]:
    """What a class holds under names, without what Python or a decorator made of what counts anyway."""
    held = {name: value for name, value in sorted(vars(kind).items()) if name not in MADE}
    if issubclass(kind, Enum):
        return {name: value for name, value in held.items() if isinstance(value, FunctionType)} | dict(kind.__members__)
    if issubclass(kind, msgspec.Struct):
        defaults = tuple(getattr(default, "factory", default) for default in kind.__struct_defaults__)
        config = {name: getattr(kind.__struct_config__, name) for name in dir(kind.__struct_config__) if name[0] != "_"}
        held |= {"__struct_defaults__": defaults, "__struct_config__": config}
    return {name: value for name, value in held.items() if not isinstance(value, SLOTS)}
