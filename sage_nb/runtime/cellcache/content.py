"""The content of captured values: equal content, equal digest, in this kernel and in the next.

Sets are without order, dicts have theirs. A path is its text, not the file it names. An object with a `fingerprint`
says its content itself. An instance of a user's class is its attributes; one of a library's class is what it gives to
be copied. What has no content that could be known is refused: iterators, open files, locks, random generators.
"""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import io
import random
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cached_property
from types import FunctionType, GeneratorType, MappingProxyType, MethodType, ModuleType
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Self

from sage_nb.runtime.cellcache.atoms import DIGEST, atom, digest, frame
from sage_nb.runtime.cellcache.library import is_installed, is_own_module
from sage_nb.runtime.cellcache.source import bytecode

Put = Callable[[bytes], None]

PLAIN_KINDS = "biufcmMSUV"  # of numpy, those whose bytes are their content
AT_ONCE = 1 << 16  # items of an array that are hashed at once
POINTER = struct.calcsize("P")
MANAGED_DICT = 1 << 4  # CPython's flag of types whose instances keep their dict outside of their size
IMMUTABLE = 1 << 8  # of types that were made in C, whatever module they name
# What a subclass of a built-in type holds beside its attributes.
BUILT_IN: dict[type, Callable[[Any], Any]] = {
    list: lambda value: tuple(list.__iter__(value)),
    dict: lambda value: tuple(dict.items(value)),
    set: lambda value: frozenset(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    BaseException: lambda value: value.args,
    int: int.__getnewargs__,
    float: float.__getnewargs__,
    complex: lambda value: (complex.__pos__(value),),
    str: str.__getnewargs__,
    bytes: bytes.__getnewargs__,
    tuple: lambda value: tuple(tuple.__iter__(value)),
}
DESCRIPTORS = (staticmethod, classmethod, property, cached_property)


class UnknowableError(Exception):
    """A value whose content cannot be known: what it is, and where in the captured value it stands."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what, path)
        self.what, self.path = what, path

    def under(self, step: str) -> Self:
        """The same, seen from what holds the value."""
        return type(self)(self.what, step + self.path)


def is_own(thing: type | FunctionType) -> bool:
    """Whether a class or function is the user's.

    >>> is_own(dict), is_own(inspect.signature)
    (False, False)
    """
    if isinstance(thing, FunctionType):
        return not is_installed(str(thing.__globals__.get("__name__", "__main__")), thing.__code__.co_filename)
    return not thing.__flags__ & IMMUTABLE and not is_installed(thing.__module__)


def is_random(value: object) -> bool:
    """Whether it is a generator of random numbers.

    >>> is_random(random.Random(1)), is_random(np.random.default_rng(1)), is_random(1)
    (True, True, False)
    """
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__]
    return isinstance(value, (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)) or (
        "torch._C.Generator" in kinds
    )


def attributes(value: object) -> dict[str, Any]:
    """What an instance holds under names, in its `__dict__` and its slots.

    >>> class Point:
    ...     __slots__ = ("x", "y", "__dict__")
    >>> point = Point()
    >>> point.y, point.z = 1, 2
    >>> attributes(point)
    {'y': 1, 'z': 2}
    """
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name in _slots(kind):
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return dict(sorted(found.items()))


def is_plain(value: object) -> bool:
    """Whether it is an instance of a user's class whose attributes are all its content.

    >>> is_plain(object()), is_plain(Content)
    (False, False)
    """
    known = (type, Enum, *BUILT_IN)
    is_ours = is_own(type(value)) and not isinstance(value, known)
    return is_ours and not _hides(type(value)) and _said(value) is None and _unknowable(value) is None


class Content:
    """Digests of values; `refer` gives the bytes that stand for a user's function or class, `uses` hears of libraries.

    Work is linear in the size of a value, however often its parts are shared. An object that holds itself ends at the
    place where it was met first.

    >>> content = Content(refer=lambda thing: thing.__name__.encode(), uses=lambda module: None)
    >>> content.of([1, {"a": {2, 3}}]) == content.of([1, {"a": {3, 2}}])
    True
    >>> content.of({"a": 1, "b": 2}) == content.of({"b": 2, "a": 1})
    False
    >>> content.of([iter("ab")])
    Traceback (most recent call last):
    sage_nb.runtime.cellcache.content.UnknowableError: ('an iterator', '[0]')
    """

    def __init__(self, refer: Callable[[Any], bytes], uses: Callable[[str], None]) -> None:
        self._refer, self._uses = refer, uses
        self._closed: dict[int, tuple[object, bytes]] = {}  # by id; the object is kept, so that its id stays its own
        self._open: dict[int, tuple[object, int]] = {}  # those begun, of whom no digest that stands alone is known yet
        self._lowest = 0  # of those, the first to which what is looked at points back

    def of(self, value: object) -> bytes:
        """The digest of a value.

        Raises UnknowableError where it has none.
        """
        self._open.clear()
        self._lowest = 0
        return digest(self._encoded(value))

    def _encoded(self, value: Any) -> bytes:
        if (plain := atom(value)) is not None:
            return plain
        if isinstance(value, (FunctionType, type)) and is_own(value):
            return frame(b"@", self._refer(value))
        key = id(value)
        if key in self._closed:
            return self._closed[key][1]
        if key in self._open:
            self._lowest = min(self._lowest, self._open[key][1])
            return frame(b"^", str(self._open[key][1]).encode())
        return self._opened(key, value)

    def _opened(self, key: int, value: object) -> bytes:
        """The bytes of a value met for the first time; kept where nothing in it points to what is around it."""
        place, around = len(self._open), self._lowest
        self._open[key], self._lowest = (value, place), place
        hashed = hashlib.blake2b(digest_size=DIGEST)
        self._feed(hashed.update, value)
        encoded = frame(b"#", hashed.digest())
        if self._lowest >= place:
            while len(self._open) > place:
                self._open.popitem()
            self._closed[key] = (value, encoded)
        self._lowest = min(around, self._lowest)
        return encoded

    def _feed(self, put: Put, value: Any) -> None:
        if (unknowable := _unknowable(value)) is not None:
            raise UnknowableError(unknowable)
        said = _said(value)
        if said is not None:
            put(frame(b"fingerprint", type(value).__qualname__.encode(), said.encode()))
            return
        put(frame(b"kind", type(value).__name__.encode()))
        for kinds, feed in FEEDS:
            if type(value) in kinds:
                feed(self, put, value)
                return
        self._feed_kind(put, value)

    def _feed_kind(self, put: Put, value: Any) -> None:
        """What is told by more than its exact type."""
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
            self._table(put, value, pandas)
        elif isinstance(value, Enum):
            self._items(put, (type(value), value.name, value.value))
        elif isinstance(value, np.generic):
            self._array(put, np.asarray(value))
        elif isinstance(value, type):
            self._by_name(put, value.__module__, value.__qualname__)
        else:
            self._instance(put, value)

    def _items(self, put: Put, value: Iterable[Any]) -> None:
        number = 0
        try:
            for number, item in enumerate(value):  # noqa: B007  the one that failed is named
                put(self._encoded(item))
        except UnknowableError as unknowable:
            raise unknowable.under(f"[{number}]") from None

    def _mapping(self, put: Put, value: Mapping[Any, Any]) -> None:
        key = None
        try:
            for key, item in value.items():
                put(self._encoded(key))
                put(self._encoded(item))
        except UnknowableError as unknowable:
            raise unknowable.under(f"[{key!r:.40}]") from None

    def _named(self, put: Put, held: Mapping[str, Any]) -> None:
        name = ""
        try:
            for name, item in held.items():
                put(frame(b".", name.encode()))
                put(self._encoded(item))
        except UnknowableError as unknowable:
            raise unknowable.under(f".{name}") from None

    def _unordered(self, put: Put, value: Iterable[Any]) -> None:
        for each in sorted(map(self._encoded, value)):
            put(each)

    def _array(self, put: Put, value: Any) -> None:
        shape = ",".join(map(str, value.shape))
        put(frame(b"array", repr(value.dtype.descr).encode(), shape.encode()))
        if value.dtype.kind not in PLAIN_KINDS or value.dtype.hasobject:
            self._items(put, value.ravel().tolist())
        elif value.size:
            flags = ["external_loop", "buffered"]
            for chunk in np.nditer(value, flags, [["readonly", "contig"]], order="C", buffersize=AT_ONCE):  # type: ignore[call-overload]
                put(chunk.tobytes())

    def _table(self, put: Put, value: Any, pandas: Any) -> None:
        """A data frame, a series or an index of pandas, which whoever made it has imported."""
        if isinstance(value, pandas.DataFrame):
            self._items(put, (value.columns, value.index, dict(value.attrs)))
            self._items(put, (_column(value.iloc[:, number].array) for number in range(value.shape[1])))
        elif isinstance(value, pandas.Series):
            self._items(put, (value.name, value.index, dict(value.attrs), _column(value.array)))
        elif isinstance(value, pandas.MultiIndex):
            self._items(put, (list(value.names), *(value.get_level_values(level) for level in range(value.nlevels))))
        else:
            self._items(put, (value.name, _column(value.array)))

    def _function(self, put: Put, value: FunctionType) -> None:
        """A library's; what it closes over may well be the user's."""
        self._by_name(put, str(value.__globals__.get("__name__")), value.__qualname__)
        if value.__closure__:
            put(bytecode(value.__code__))
            self._named(put, dict(zip(value.__code__.co_freevars, map(cell_content, value.__closure__), strict=True)))

    def _method(self, put: Put, value: MethodType) -> None:
        self._named(put, {"__self__": value.__self__, "__func__": value.__func__})

    def _descriptor(self, put: Put, value: Any) -> None:
        self._items(put, inner(value))

    def _module(self, put: Put, value: ModuleType) -> None:
        if is_own_module(value):
            raise UnknowableError("the module")
        self._by_name(put, value.__name__, "")

    def _by_name(self, put: Put, module: str, name: str) -> None:
        put(frame(b"library", module.encode(), name.encode()))
        self._uses(module)

    def _instance(self, put: Put, value: Any) -> None:
        kind = type(value)
        put(self._encoded(kind))
        if not is_own(kind):
            self._copied(put, value)
            return
        if _hides(kind):
            self._copied(put, value)
        self._items(put, (content(value) for built_in, content in BUILT_IN.items() if isinstance(value, built_in)))
        self._named(put, attributes(value))

    def _copied(self, put: Put, value: Any) -> None:
        """What an object of a library's class gives to be made again elsewhere."""
        try:
            registered = copyreg.dispatch_table.get(type(value))
            given = registered(value) if registered else value.__reduce_ex__(4)
        except Exception as refused:
            raise UnknowableError(_called(value)) from refused
        if isinstance(given, str):
            self._global(put, value, given)
            return
        make, arguments, state, items, pairs = (*given, None, None, None)[:5]
        put(self._encoded(make))
        self._items(put, arguments)
        if isinstance(state, dict):
            self._named(put, {str(name): item for name, item in state.items()})
        else:
            put(self._encoded(state))
        self._items(put, (tuple(items or ()), tuple(pairs or ())))

    def _global(self, put: Put, value: Any, name: str) -> None:
        """An object that is copied by its name: a library's of that name, or what it wraps."""
        modules = [str(getattr(value, "__module__", "")), type(value).__module__, *sorted(sys.modules)]
        module = next((each for each in modules if getattr(sys.modules.get(each), name, None) is value), None)
        if module is not None and is_installed(module):
            self._by_name(put, module, name)
        elif hasattr(value, "__wrapped__"):
            put(self._encoded(value.__wrapped__))
        else:
            raise UnknowableError(_called(value))


FEEDS: tuple[tuple[tuple[type, ...], Callable[[Content, Put, Any], None]], ...] = (
    ((list, tuple), Content._items),  # noqa: SLF001  the table is the class's own
    ((dict, MappingProxyType), Content._mapping),  # noqa: SLF001
    ((set, frozenset), Content._unordered),  # noqa: SLF001
    ((np.ndarray, np.memmap), Content._array),  # noqa: SLF001
    ((FunctionType,), Content._function),  # noqa: SLF001
    ((MethodType,), Content._method),  # noqa: SLF001
    (DESCRIPTORS, Content._descriptor),  # noqa: SLF001
    ((ModuleType,), Content._module),  # noqa: SLF001
)


def _column(array: Any) -> tuple[Any, ...]:
    """An array of pandas as arrays of numpy: however its buffers lie, equal columns are equal."""
    if hasattr(array, "codes"):
        return array.codes, array.categories, array.ordered
    return str(array.dtype), array.to_numpy() if isinstance(array.dtype, np.dtype) else np.asarray(array, dtype=object)


def inner(descriptor: Any) -> list[Any]:
    """The functions that a static or class method or a property stands for, None for each that it lacks.

    >>> inner(property(len)), inner(len)
    ([None, None, <built-in function len>, None, None], [])
    """
    if not isinstance(descriptor, DESCRIPTORS):
        return []
    return [getattr(descriptor, name, None) for name in ("__func__", "func", "fget", "fset", "fdel")]


def cell_content(cell: Any) -> Any:
    """What a variable of an outer function holds; NotImplemented while it holds nothing.

    >>> def outer():
    ...     return lambda: later
    ...     later = 1
    >>> cell_content(outer().__closure__[0])
    NotImplemented
    """
    try:
        return cell.cell_contents
    except ValueError:
        return NotImplemented


def _unknowable(value: Any) -> str | None:
    """What it is, where its content is bound to change or to be elsewhere."""
    if isinstance(value, GeneratorType):
        return "a generator"
    if isinstance(value, io.IOBase):
        return "an open file"
    if is_random(value):
        return "a random generator"
    return "an iterator" if hasattr(type(value), "__next__") else None


def _called(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _said(value: Any) -> str | None:
    """The fingerprint that an object itself gives, as an attribute or a method."""
    if isinstance(value, (type, ModuleType)) or inspect.getattr_static(value, "fingerprint", None) is None:
        return None
    said = value.fingerprint() if callable(value.fingerprint) else value.fingerprint
    return said if isinstance(said, str) else None


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    named = [slots] if isinstance(slots, str) else slots
    private = f"_{kind.__name__.lstrip('_')}"
    return [
        private + name if name.startswith("__") and not name.endswith("__") else name
        for name in named
        if name not in {"__dict__", "__weakref__"}
    ]


def _hides(kind: type) -> bool:
    """Whether its instances hold what is neither an attribute nor a known built-in type's: something made in C."""
    known = {object, msgspec.Struct, *BUILT_IN}
    at = next(number for number, each in enumerate(kind.__mro__) if each in known)
    slots = sum(len(_slots(each)) for each in kind.__mro__[:at])
    own_dict = bool(kind.__dictoffset__) and not kind.__flags__ & MANAGED_DICT
    size = kind.__mro__[at].__basicsize__ + POINTER * (slots + own_dict + bool(kind.__weakrefoffset__))
    return kind.__basicsize__ > size
