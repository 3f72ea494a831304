"""Values as bytes and back: msgpack behind a mark and a format version. Reading runs no code."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sage_nb.errors import BadValueError

MAGIC = b"SNB"
VERSION = 1

Value = TypeVar("Value")


def encode(value: object) -> bytes:
    r"""`value` (plain data, frozen values of this package, lists of them) as bytes.

    >>> encode([1, "a"])
    b'SNB\x01\x92\x01\xa1a'
    """
    try:
        body = msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadValueError(f"cannot encode a {type(value).__name__}: {error}; pass plain data") from error
    return framed(body)


def decode(data: bytes, kind: type[Value]) -> Value:
    """The value of that type which `data` holds.

    >>> decode(encode([1, 2]), list[int])
    [1, 2]
    """
    body = unframed(data)
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValueError(f"these {len(data)} bytes are damaged, or no {_name(kind)}: {error}") from error


def framed(body: bytes) -> bytes:
    """`body` behind this package's mark and format version."""
    return MAGIC + bytes([VERSION]) + body


def unframed(data: bytes) -> memoryview:
    """What lies behind the mark; BadValueError where the mark is missing or the version too new."""
    if data[: len(MAGIC)] != MAGIC or len(data) <= len(MAGIC):
        raise BadValueError(f"not written by sage_nb: the data begins with {data[:4]!r}, not {MAGIC!r}")
    version = data[len(MAGIC)]
    if version > VERSION:
        raise BadValueError(f"written by a newer sage_nb (format {version}, this one reads {VERSION}); upgrade sage-nb")
    if version < 1:
        raise BadValueError(f"format version {version} was never written; the data is damaged")
    return memoryview(data)[len(MAGIC) + 1 :]


def _name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
