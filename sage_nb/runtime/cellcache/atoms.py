"""Plain values that hold no others, as bytes: equal ones have equal bytes, unequal ones never.

The idea is that of `stream/fingerprint.py`: tag, length, body. Here also what only code and notebooks hold, and
integers of any size. 1, 1.0 and True are three values; 0.0 and -0.0 are two; every NaN is the same.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

DIGEST = 16  # bytes
LONG = 256  # a longer body is hashed: what is passed on stays short


def frame(tag: bytes, *bodies: bytes) -> bytes:
    """Tag, and each body behind its length.

    >>> frame(b"t", b"ab", b"c") != frame(b"t", b"a", b"bc")
    True
    """
    return tag + b"".join(len(body).to_bytes(8, "big") + body for body in bodies)


def digest(*parts: bytes) -> bytes:
    """The hash of all parts, one behind the other.

    >>> len(digest(b"a", b"b")), digest(b"a", b"b") == digest(b"ab")
    (16, True)
    """
    hashed = hashlib.blake2b(digest_size=DIGEST)
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def atom(value: Any) -> bytes | None:
    """The bytes of a value that holds no others; None for any other value.

    >>> len({atom(True), atom(1), atom(1.0), atom("1"), atom(b"1"), atom(1 + 0j), atom(None), atom(...)})
    8
    >>> atom(0.0) == atom(-0.0), atom(float("nan")) == atom(-float("nan")), atom([])
    (False, True, None)
    """
    known = ATOMS.get(type(value))
    return None if known is None else known(value)


def _bytes(tag: bytes, body: bytes) -> bytes:
    """`frame` of one body, without its loop: a list may hold millions of atoms."""
    if len(body) > LONG:
        tag, body = tag + b"#", digest(body)
    return tag + len(body).to_bytes(8, "big") + body


def _integer(value: int) -> bytes:
    return _bytes(b"i", value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _float(value: float) -> bytes:
    return struct.pack(">d", math.nan if math.isnan(value) else value)


ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: frame(b"n"),  # noqa: ARG005
    type(...): lambda value: frame(b"e"),  # noqa: ARG005
    type(NotImplemented): lambda value: frame(b"N"),  # noqa: ARG005
    bool: lambda value: frame(b"b", b"\x01" if value else b"\x00"),
    int: _integer,
    float: lambda value: frame(b"f", _float(value)),
    complex: lambda value: frame(b"c", _float(value.real), _float(value.imag)),
    str: lambda value: _bytes(b"s", value.encode("utf8", "surrogatepass")),
    bytes: lambda value: _bytes(b"y", value),
    bytearray: lambda value: _bytes(b"Y", bytes(value)),
}
