"""What the objects of a program are made of, and of which that cannot be known."""

from __future__ import annotations

import inspect
import io
import random
import struct
from collections.abc import Callable
from enum import Enum
from functools import cached_property
from types import FunctionType, GeneratorType, ModuleType
from typing import Any

import msgspec
import numpy as np

from sage_nb.runtime.cellcache.library import is_installed

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


def is_own(thing: type | FunctionType) -> bool:
    """Whether a class or function is the user's.

    >>> is_own(dict), is_own(inspect.signature)
    (False, False)
    """
    if isinstance(thing, FunctionType):
        return not is_installed(str(thing.__globals__.get("__name__", "__main__")), thing.__code__.co_filename)
    return not thing.__flags__ & IMMUTABLE and not is_installed(str(thing.__module__))


def is_class(value: object) -> bool:
    """Whether it is a class; Python 3.10 says of `list[int]` too that it is an instance of `type`.

    >>> is_class(dict), is_class(dict[str, int])
    (True, False)
    """
    return issubclass(type(value), type)


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

    >>> is_plain(object()), is_plain(1)
    (False, False)
    """
    known = (type, Enum, *BUILT_IN)
    is_ours = is_own(type(value)) and not isinstance(value, known)
    return is_ours and not hides(type(value)) and said_fingerprint(value) is None and unknowable(value) is None


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


def unknowable(value: Any) -> str | None:
    """What it is, where its content is bound to change or lies elsewhere.

    >>> unknowable(iter("ab")), unknowable(random.Random(1)), unknowable("ab")
    ('an iterator', 'a random generator', None)
    """
    if isinstance(value, GeneratorType):
        return "a generator"
    if isinstance(value, io.IOBase):
        return "an open file"
    if is_random(value):
        return "a random generator"
    return "an iterator" if hasattr(type(value), "__next__") else None


def called(value: object) -> str:
    """Its type, with an article.

    >>> called([]), called(OSError())
    ('a list', 'an OSError')
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def said_fingerprint(value: Any) -> str | None:
    """The fingerprint that an object itself gives, as an attribute or a method.

    >>> class Model:
    ...     fingerprint = "minilm"
    >>> said_fingerprint(Model()), said_fingerprint(Model)
    ('minilm', None)
    """
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


def hides(kind: type) -> bool:
    """Whether its instances hold what is neither an attribute nor of a known built-in type: something made in C.

    >>> from collections import deque
    >>> class Words(list): ...
    >>> class Recent(deque): ...
    >>> hides(Words), hides(Recent)
    (False, True)
    """
    known = {object, msgspec.Struct, *BUILT_IN}
    at = next(number for number, each in enumerate(kind.__mro__) if each in known)
    slots = sum(len(_slots(each)) for each in kind.__mro__[:at])
    own_dict = bool(kind.__dictoffset__) and not kind.__flags__ & MANAGED_DICT
    size = kind.__mro__[at].__basicsize__ + POINTER * (slots + own_dict + bool(kind.__weakrefoffset__))
    return kind.__basicsize__ > size
