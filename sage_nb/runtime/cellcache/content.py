"""The content of captured values: equal content, equal digest, in this kernel and in the next.

Sets are without order, dicts have theirs. A path is its text, not the file it names. An object with a `fingerprint`
says its content itself. An instance of a user's class is its attributes; one of a library's class is what it gives to
be copied. What has no content that could be known is refused: iterators, open files, locks, random generators.
"""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
from typing_extensions import Self

from sage_nb.runtime.cellcache.atoms import DIGEST, atom, digest, frame
from sage_nb.runtime.cellcache.library import is_installed, is_own_module
from sage_nb.runtime.cellcache.objects import (
    BUILT_IN,
    DESCRIPTORS,
    attributes,
    called,
    cell_content,
    hides,
    inner,
    is_class,
    is_own,
    said_fingerprint,
    unknowable,
)
from sage_nb.runtime.cellcache.source import bytecode

Put = Callable[[bytes], None]

PLAIN_KINDS = "biufcmMSUV"  # of numpy, those whose bytes are their content
AT_ONCE = 1 << 16  # items of an array that are hashed at once


class UnknowableError(Exception):
    """A value whose content cannot be known: what it is, and where in the captured value it stands."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what, path)
        self.what, self.path = what, path

    def under(self, step: str) -> Self:
        """The same, seen from what holds the value."""
        return type(self)(self.what, step + self.path)


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
        if (isinstance(value, FunctionType) or is_class(value)) and is_own(value):
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
        if (what := unknowable(value)) is not None:
            raise UnknowableError(what)
        said = said_fingerprint(value)
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
        elif isinstance(value, PurePath) and not is_own(type(value)):
            self._items(put, (type(value), str(value)))
        elif is_class(value):
            self._by_name(put, value.__module__, value.__qualname__)
        else:
            self._instance(put, value)

    def _items(self, put: Put, value: Iterable[Any]) -> None:
        number = 0
        try:
            for number, item in enumerate(value):  # noqa: B007  the one that failed is named
                put(self._encoded(item))
        except UnknowableError as refused:
            raise refused.under(f"[{number}]") from None

    def _mapping(self, put: Put, value: Mapping[Any, Any]) -> None:
        key = None
        try:
            for key, item in value.items():
                put(self._encoded(key))
                put(self._encoded(item))
        except UnknowableError as refused:
            raise refused.under(f"[{key!r:.40}]") from None

    def _named(self, put: Put, held: Mapping[str, Any]) -> None:
        name = ""
        try:
            for name, item in held.items():
                put(frame(b".", name.encode()))
                put(self._encoded(item))
        except UnknowableError as refused:
            raise refused.under(f".{name}") from None

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
        if hides(kind):
            self._copied(put, value)
        self._items(put, (content(value) for built_in, content in BUILT_IN.items() if isinstance(value, built_in)))
        self._named(put, attributes(value))

    def _copied(self, put: Put, value: Any) -> None:
        """What an object of a library's class gives to be made again elsewhere."""
        try:
            registered = copyreg.dispatch_table.get(type(value))
            given = registered(value) if registered else value.__reduce_ex__(4)
        except Exception as refused:
            raise UnknowableError(called(value)) from refused
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
            raise UnknowableError(called(value))


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
