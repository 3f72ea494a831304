"""Key groups: where a key belongs, the same in every process and at every parallelism."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.stream.fingerprint import canonical

REMEMBERED = 65_536  # keys whose place is kept at hand
SPREAD = 0x9E3779B1  # CRC-32 is linear: keys of one digit would share half of the groups; a product's high bits do not
EXACT: frozenset[type] = frozenset((str, int, bytes, bool, type(None)))  # types whose equal values have equal encodings


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
        """The group of each key; where all are of one type, at a third of the cost of asking for each."""
        kinds = set(map(type, keys))
        known = self._known.get(kinds.pop()) if len(kinds) == 1 else None
        return [self.of(key)[1] for key in keys] if known is None else [known[key][1] for key in keys]

    def owner(self, group: int, parallelism: int) -> int:
        """The subtask that owns a group."""
        return group * parallelism // self.count

    def _placed(self, key: Any) -> tuple[bytes, int]:
        try:
            code = canonical(tuple(key) if isinstance(key, list) else key)
        except BadValueError as error:
            raise BadValueError(f"{key!r:.60} cannot be a key: {error}") from error
        return code, ((zlib.crc32(code) * SPREAD & 0xFFFFFFFF) >> 16) % self.count
