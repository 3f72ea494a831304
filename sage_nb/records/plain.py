"""Plain data as bytes and back, type for type: what a checkpoint may hold. Reading runs no code.

msgpack alone turns tuples into lists and frozen values into mappings; here they come back as what they were. What is
neither plain data, nor an array, nor a value of this package is refused: it could only come back by running code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.records import values
from sage_nb.records.codec import framed, unframed

SCALARS = frozenset((type(None), bool, int, float, str, bytes))
LEAST, MOST = -(2**63), 2**64 - 1  # msgpack's own whole numbers
TUPLE, STRUCT, ARRAY, BIG_INT, PAIRS = 1, 2, 3, 4, 5

Struct = TypeVar("Struct", bound=type[msgspec.Struct])
STRUCTS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        values.Document,
        values.Query,
        values.Step,
        values.Hit,
        values.Result,
        values.Citation,
        values.Answer,
        values.Expansion,
    )
}


def plain(kind: Struct) -> Struct:
    """Class decorator: values of this msgspec Struct may lie in a checkpoint, under the class's name."""
    STRUCTS[kind.__name__] = kind
    return kind


def pack(value: object) -> bytes:
    """`value` as bytes.

    Raises BadValueError for anything but None, booleans, numbers, text, bytes, lists, tuples, dicts, arrays and
    the frozen values of this package.

    >>> unpack(pack({"seen": (1, 2.0), b"k": [None, 2**80]}))
    {'seen': (1, 2.0), b'k': [None, 1208925819614629174706176]}
    """
    return framed(_bytes(value))


def unpack(data: bytes) -> Any:
    """The value that `pack` wrote; BadValueError where the bytes are damaged or of a newer format."""
    try:
        return _decode(unframed(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError, KeyError) as error:
        if isinstance(error, BadValueError):
            raise
        raise BadValueError(f"these {len(data)} bytes of state are damaged: {error}") from error


def _bytes(value: object) -> bytes:
    try:
        return msgspec.msgpack.encode(_simple(value))
    except (OverflowError, RecursionError, UnicodeEncodeError) as error:
        raise BadValueError(f"cannot keep a {type(value).__name__}: {error}") from error


def _simple(value: Any) -> Any:
    """`value` in msgpack's own types."""
    kind = type(value)
    if kind in SCALARS:
        return _int(value) if kind is int else value
    if shape := SHAPES.get(kind):
        return shape(value)
    if kind in STRUCTS.values():
        return msgspec.msgpack.Ext(STRUCT, _bytes([kind.__name__, *msgspec.structs.astuple(value)]))
    if isinstance(value, np.generic):
        return _array(np.asarray(value))
    raise BadValueError(
        f"a {kind.__module__}.{kind.__qualname__} is no plain data; keep numbers, text, lists, dicts or arrays instead"
    )


def _int(value: int) -> Any:
    return value if LEAST <= value <= MOST else msgspec.msgpack.Ext(BIG_INT, str(value).encode())


def _list(value: list[Any]) -> list[Any]:
    kinds = set(map(type, value))
    if kinds <= SCALARS and (int not in kinds or (len(kinds) == 1 and _small(value))):
        return value  # a column of plain values is looked at in C: two fifths of the time of one by one
    return [_simple(each) for each in value]


def _small(numbers: list[int]) -> bool:
    return min(numbers) >= LEAST and max(numbers) <= MOST


def _dict(value: dict[Any, Any]) -> Any:
    keys = _list(list(value))
    if all(type(key) in SCALARS for key in keys):
        return dict(zip(keys, _list(list(value.values())), strict=True))
    return msgspec.msgpack.Ext(PAIRS, _bytes([each for pair in value.items() for each in pair]))


def _tuple(value: tuple[Any, ...]) -> Any:
    return msgspec.msgpack.Ext(TUPLE, _bytes(list(value)))


def _array(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.hasobject:
        raise BadValueError("an array of objects is no plain data; use a numeric dtype")
    shape = [str(value.dtype), list(value.shape), np.ascontiguousarray(value).tobytes()]
    return msgspec.msgpack.Ext(ARRAY, _bytes(shape))


SHAPES: dict[type, Callable[[Any], Any]] = {list: _list, dict: _dict, tuple: _tuple, np.ndarray: _array}


def _decode(data: bytes | memoryview) -> Any:
    return msgspec.msgpack.decode(data, ext_hook=_restored)


def _restored(code: int, data: memoryview) -> Any:
    if code == BIG_INT:
        return int(bytes(data))
    parts = _decode(data)
    if code == TUPLE:
        return tuple(parts)
    if code == PAIRS:
        return dict(zip(parts[::2], parts[1::2], strict=True))
    if code == ARRAY:
        dtype, shape, raw = parts
        return np.frombuffer(raw, np.dtype(dtype)).reshape(shape).copy()
    name, *fields = parts
    return STRUCTS[name](*fields)
