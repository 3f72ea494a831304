"""Key groups: where a key belongs, the same in every process and at every parallelism."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.stream.fingerprint import canonical

REMEMBERED = 65_536  # keys whose place is kept at hand
SPREAD = 0x9E3779B1  # CRC-32 is linear: keys of one digit would share half of the groups; a product's high bits do not
EXACT: frozenset[type] = frozenset((str, int, bytes, bool, type(None)))  # types whose equal values have equal encodings

OF_A_KIND: dict[type, Callable[[Any], Any]] = {str: str.__str__, int: int, bytes: bytes}  # an enumeration's, say
CHANGEABLE = (list, dict, set, bytearray, np.ndarray)
NAN = math.nan


class Known(dict[Any, tuple[bytes, int]]):
    """Keys of one type with their places, found out when first asked for; forgets all when there are too many."""

    def __init__(self, placed: Callable[[Any], tuple[bytes, int]]) -> None:
        super().__init__()
        self._placed = placed

    def __missing__(self, key: Any) -> tuple[bytes, int]:
        if len(self) >= REMEMBERED:
            self.clear()
        place = self[key] = self._placed(key)
        return place


class KeyGroups:
    """Groups of keys: CRC-32 of a key's canonical bytes, spread, modulo their number; subtasks own ranges of groups.

    A key is None, a boolean, a number, text, bytes, or a tuple of these. Keys are one if they are equal and of one
    type: 1, 1.0 and True are three keys; 0.0 and -0.0 are one, and so is NaN. A numpy scalar is the number it holds.

    >>> groups = KeyGroups(128)
    >>> groups.of(0) == groups.of(False), groups.of("a")[1] == KeyGroups(128).of("a")[1]
    (False, True)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._known: dict[type, Known] = {kind: Known(self._placed) for kind in EXACT}

    def of(self, key: Any) -> tuple[bytes, int]:
        """A key's canonical bytes and its group."""
        known = self._known.get(type(key))
        return self._placed(key) if known is None else known[key]

    def groups(self, keys: Sequence[Any]) -> list[int]:
        """The group of each key; where all are of one type, at two thirds of the cost of asking for each."""
        kinds = set(map(type, keys))
        known = self._known.get(kinds.pop()) if len(kinds) == 1 else None
        return [self.of(key)[1] for key in keys] if known is None else [known[key][1] for key in keys]

    def plainly(self, keys: list[Any]) -> list[Any]:
        """`plain` of each."""
        return keys if EXACT.issuperset(map(type, keys)) else [self.plain(key) for key in keys]

    def plain(self, key: Any) -> Any:
        """The key as state and timers keep it.

        Raises BadValueError for what cannot be a key.

        >>> KeyGroups(128).plain((-0.0, "a"))
        (0.0, 'a')
        """
        if type(key) in EXACT:
            return key
        if isinstance(key, tuple):
            return tuple(map(self.plain, key))
        if isinstance(key, float):
            return NAN if math.isnan(key) else float(key) + 0.0  # -0.0 + 0.0 is 0.0
        if isinstance(key, np.generic):
            return self.plain(key.item())
        for kind, exact in OF_A_KIND.items():
            if isinstance(key, kind):
                return exact(key)
        mend = "it can change: make it a tuple" if isinstance(key, CHANGEABLE) else "use numbers, text, bytes or tuples"
        raise BadValueError(f"a {type(key).__name__} cannot be a key; {mend}")

    def owner(self, group: int, parallelism: int) -> int:
        """The subtask that owns a group."""
        return group * parallelism // self.count

    def _placed(self, key: Any) -> tuple[bytes, int]:
        code = canonical(key)
        return code, ((zlib.crc32(code) * SPREAD & 0xFFFFFFFF) >> 16) % self.count
