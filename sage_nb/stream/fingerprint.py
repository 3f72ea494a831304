"""Equal values, equal bytes; unequal values, unequal bytes. The key of every checkpoint rests on this."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from sage_nb.errors import BadValueError

Plain = bool | int | float | str | bytes | tuple["Plain", ...] | Mapping[str, "Plain"] | None

FORMAT = b"sage1"  # part of every fingerprint: a new encoding never meets an old key


def canonical(value: Plain) -> bytes:
    """Tag, length, body: no two plain values share bytes.

    >>> canonical(True) == canonical(1), canonical(1) == canonical(1.0)
    (False, False)
    >>> canonical(2**70) != canonical(2**71)
    True
    """
    match value:
        case None:
            return _frame(b"n", b"")
        case bool():  # before int: bool is a subclass of int
            return _frame(b"b", b"\x01" if value else b"\x00")
        case int():
            return _frame(b"i", str(value).encode())
        case float():
            return _frame(b"f", struct.pack(">d", value))
        case str():
            return _frame(b"s", value.encode("utf8", "surrogatepass"))
        case bytes():
            return _frame(b"y", value)
        case tuple():
            return _frame(b"t", b"".join(map(canonical, value)))
        case Mapping():
            return _frame(b"m", b"".join(canonical(k) + canonical(value[k]) for k in sorted(value)))
    raise BadValueError(
        f"cannot fingerprint a {type(value).__name__}; pass plain data (str, bytes, numbers, tuples, mappings)"
    )


def fingerprint(value: Plain) -> str:
    """32 hex digits of BLAKE2b over the format version and `canonical(value)`."""
    return hashlib.blake2b(FORMAT + canonical(value), digest_size=16).hexdigest()


def _frame(tag: bytes, body: bytes) -> bytes:
    return tag + len(body).to_bytes(8, "big") + body
