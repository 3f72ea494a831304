"""Values by the fingerprint of what made them: bounded, shared by kernels, and never a wrong one.

All is in one SQLite file, large values too. Whatever goes wrong with it or with the disk, values count as absent, what
is put is dropped, a note says so, and the run goes on.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sage_nb.errors import BadValueError
from sage_nb.runtime.cellcache.database import ASIDE, FAULTS, Database, NewerFormatError, is_damage, transaction
from sage_nb.runtime.cellcache.limit import USUAL_GIB
from sage_nb.runtime.warned import Warnings

LIMIT = int(USUAL_GIB * 2**30)
LARGEST = 900_000_000  # bytes of one value; SQLite takes no more than 10^9
REST = 30.0  # seconds until what would not go is tried again
NOTED = 1024  # uses that are held back until they are written down
OVERHEAD = 256  # bytes an entry takes beside its value, about
SLACK = 32  # the part of the limit that is made free beyond the need, so that not every `put` has to make room

Given = TypeVar("Given")

FOUND = "SELECT entries.id, checksum, value FROM entries LEFT JOIN contents USING (id) WHERE key = ?"
STAGES = """
SELECT CAST(cell AS TEXT), CAST(stage AS TEXT), count(*), CAST(total(bytes) AS INTEGER),
  coalesce(CAST(min(made) AS REAL), 0.0), coalesce(CAST(max(used) AS REAL), 0.0)
FROM entries GROUP BY cell, stage ORDER BY cell, stage
"""
CHOSEN = """
SELECT id, CAST(bytes AS INTEGER) FROM entries WHERE (:cell IS NULL OR cell = :cell)
  AND (:stage IS NULL OR stage = :stage) AND (:before IS NULL OR used < :before)
"""
NEW = "INSERT INTO entries (key, cell, stage, made, used, bytes, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"


PAGES = ("page_count", "freelist_count", "page_size")


@dataclass(frozen=True)
class Entry:
    """A value to keep, and for whom: the cell and the stage that made it."""

    key: str
    value: bytes
    cell: str
    stage: str


@dataclass(frozen=True)
class StageFacts:
    """What is kept of one stage of one cell; times in seconds since 1970."""

    cell: str
    stage: str
    entries: int
    bytes: int
    oldest: float
    last_used: float


@dataclass(frozen=True)
class CacheFacts:
    """What is kept, the bytes it takes on the disk, and what this process found there and did not find."""

    stages: tuple[StageFacts, ...]
    on_disk: int
    limit: int
    hits: int
    misses: int

    @property
    def entries(self) -> int:
        """Of all stages."""
        return sum(stage.entries for stage in self.stages)


@dataclass(frozen=True)
class Cleared:
    """What was forgotten."""

    entries: int
    bytes: int


NO_VALUES: dict[str, bytes] = {}
NO_STAGES: tuple[tuple[StageFacts, ...], int] = ((), 0)
NOTHING = Cleared(0, 0)


class CellCache:
    """Bytes under keys, in a folder; the least recently used go when more than `limit` bytes are taken on the disk.

    Any number of kernels and threads may use it at once. One connection serves all threads of a process, one call at a
    time: a call takes milliseconds, and a connection of each thread's own would have to be closed by another thread.

    >>> from tempfile import TemporaryDirectory
    >>> folder = TemporaryDirectory()
    >>> cache = CellCache(Path(folder.name))
    >>> cache.put([Entry("k1", b"one", "answers", "rerank"), Entry("k2", b"two", "answers", "rerank")])
    >>> cache.get(["k1", "k3"])
    {'k1': b'one'}
    >>> facts = cache.facts()
    >>> facts.hits, facts.misses, [(stage.stage, stage.entries, stage.bytes) for stage in facts.stages]
    (1, 1, [('rerank', 2, 6)])
    >>> cache.clear(stage="rerank"), cache.notes
    (Cleared(entries=2, bytes=6), ())
    >>> cache.close()
    >>> folder.cleanup()
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        if limit < 1:
            raise BadValueError(f"a cell cache needs a limit of 1 byte or more, got {limit}")
        self.folder, self.limit = folder, limit
        self.hits = self.misses = 0
        self._notes = Warnings()
        self._unusable = self._unwritable = 0.0  # until when, by the monotonic clock
        self._held = Held(folder)

    def __reduce__(self) -> tuple[type[CellCache], tuple[Path, int]]:
        return CellCache, (self.folder, self.limit)

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not go as it should, a sentence each, said once."""
        return tuple(self._notes)

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The values that are kept under `keys`, each as it was put."""
        wanted = dict.fromkeys(keys)
        with self._here() as held:
            found = self._tried(lambda connection: self._read(connection, wanted), NO_VALUES, writes=False)
            self.hits += len(found)
            self.misses += len(wanted) - len(found)
            held.used.update(dict.fromkeys(found, time.time()))
            if len(held.used) >= NOTED:
                self._note_use(held)
        return dict(found)

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep all of them or, where the disk will not have it, none; over what was under their keys before."""
        kept = [entry for entry in entries if self._fits(entry)]
        with self._here() as held:
            self._tried(lambda connection: self._write(connection, held.uses(), kept), None, writes=True)

    def facts(self) -> CacheFacts:
        """What is kept; nothing where the cache cannot be read."""
        with self._here() as held:
            self._note_use(held)
            stages, on_disk = self._tried(_counted, NO_STAGES, writes=False)
            return CacheFacts(stages, on_disk, self.limit, self.hits, self.misses)

    def clear(self, cell: str | None = None, stage: str | None = None, older_than: float | None = None) -> Cleared:
        """Forget what is of that cell, of that stage, and was last used longer ago than `older_than` seconds.

        What is left out restricts nothing: `clear()` forgets all. The room goes back to the disk.
        """
        before = None if older_than is None else time.time() - older_than
        chosen = {"cell": cell, "stage": stage, "before": before}
        with self._here() as held:
            self._unusable = self._unwritable = 0.0  # a person asks, perhaps because the disk is full
            if chosen == dict.fromkeys(chosen):
                return self._tried(lambda connection: _emptied(connection, held.database), NOTHING, writes=True)
            self._note_use(held)
            return self._tried(lambda connection: _cleared(connection, chosen), NOTHING, writes=True)

    def close(self) -> None:
        """Write down what was used when, and let go of the file; a later call opens it again."""
        with self._here() as held:
            self._note_use(held)
            held.database.close()

    @contextmanager
    def _here(self) -> Iterator[Held]:
        """What this process holds, for one thread at a time."""
        if self._held.process != os.getpid():
            self._held = Held(self.folder, parent=self._held)
        with self._held.lock:
            yield self._held

    def _fits(self, entry: Entry) -> bool:
        if len(entry.value) <= min(self.limit // 2, LARGEST):
            return True
        self._notes.once(
            f"a value of the stage {entry.stage!r} is too large for the cell cache in {str(self.folder)!r}, whose "
            f"limit is {self.limit} bytes; it is computed each time: raise the limit, or make smaller values"
        )
        return False

    def _note_use(self, held: Held) -> None:
        if held.used:
            self._tried(lambda connection: self._write(connection, held.uses(), ()), None, writes=True)

    def _tried(self, work: Callable[[sqlite3.Connection], Given], otherwise: Given, *, writes: bool) -> Given:
        """What `work` gives; where it cannot be done, `otherwise` and a note. A damaged file is set aside first."""
        if time.monotonic() < (max(self._unusable, self._unwritable) if writes else self._unusable):
            return otherwise
        opened = False
        try:
            try:
                connection = self._held.database.connection()
                opened = True
                return work(connection)
            except FAULTS as error:
                if not is_damage(error):
                    raise
                self._begin_anew()
                return work(self._held.database.connection())
        except (*FAULTS, OSError, NewerFormatError) as error:
            self._rest(error, only_writes=opened and writes)
        return otherwise

    def _begin_anew(self) -> None:
        self._held.database.set_aside()
        self._notes.once(
            f"the cell cache in {str(self.folder)!r} was damaged and begins anew: what it held is computed again; "
            f"the damaged file is kept there as {ASIDE!r}"
        )

    def _rest(self, error: Exception, *, only_writes: bool) -> None:
        until = time.monotonic() + REST
        if only_writes:
            self._unwritable = until
            kept = "this run goes on, and what it computes is not kept: make room, or mend the folder"
        else:
            self._unusable = until
            self._held.database.close()
            kept = "this run goes on without it: mend the folder, or give another"
        verb = "written" if only_writes else "used"
        self._notes.once(f"the cell cache in {str(self.folder)!r} cannot be {verb} ({error}); {kept}")

    def _read(self, connection: sqlite3.Connection, wanted: Iterable[str]) -> dict[str, bytes]:
        found, damaged = {}, []
        with transaction(connection, "DEFERRED"):
            for key in wanted:
                for number, checksum, value in connection.execute(FOUND, (key,)).fetchall():
                    if isinstance(value, bytes) and checksum == _checksum(key, value):
                        found[key] = value
                    else:
                        damaged.append(number)
        if damaged:
            self._notes.once(
                f"values of the cell cache in {str(self.folder)!r} were damaged; they are computed again: "
                f"look after the disk, should this go on"
            )
            with suppress(sqlite3.OperationalError), transaction(connection):
                _remove(connection, damaged)
        return found

    def _write(self, connection: sqlite3.Connection, uses: Mapping[str, float], entries: Sequence[Entry]) -> None:
        with transaction(connection):
            now = time.time()  # now that the others are done
            connection.executemany("UPDATE entries SET used = ? WHERE key = ?", [(at, key) for key, at in uses.items()])
            for entry in entries:
                _remove(connection, [number for number, *_ in connection.execute(FOUND, (entry.key,)).fetchall()])
                about = (entry.key, entry.cell, entry.stage, now, now, len(entry.value))
                number = connection.execute(NEW, (*about, _checksum(entry.key, entry.value))).lastrowid
                connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (number, entry.value))
            if entries:
                self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        while (over := _on_disk(connection) - self.limit) > 0:
            doomed, missing = [], over + self.limit // SLACK
            for number, size in connection.execute("SELECT id, CAST(bytes AS INTEGER) FROM entries ORDER BY used, id"):
                doomed.append(number)
                missing -= size + OVERHEAD
                if missing <= 0:
                    break
            if not doomed:
                break
            _remove(connection, doomed)


class Held:
    """What one process holds of a cache; one that is forked off may not use it, nor close it: both share its locks."""

    def __init__(self, folder: Path, parent: Held | None = None) -> None:
        self.process, self.parent = os.getpid(), parent
        self.lock, self.database = threading.Lock(), Database(folder)
        self.used: dict[str, float] = {}  # by key, when; not written down yet

    def uses(self) -> dict[str, float]:
        """Those to write down now."""
        uses, self.used = self.used, {}
        return uses


def _checksum(key: str, value: bytes) -> int:
    """Of both: a value that a damaged index gives for another key does not pass."""
    return zlib.crc32(value, zlib.crc32(key.encode()))


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    for statement in ("DELETE FROM contents WHERE id = ?", "DELETE FROM entries WHERE id = ?"):
        connection.executemany(statement, [(number,) for number in numbers])


def _on_disk(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use, which is what the file would have if it were packed."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PAGES)
    return int((pages - free) * size)


def _counted(connection: sqlite3.Connection) -> tuple[tuple[StageFacts, ...], int]:
    return tuple(StageFacts(*row) for row in connection.execute(STAGES).fetchall()), _on_disk(connection)


def _emptied(connection: sqlite3.Connection, database: Database) -> Cleared:
    """Without a write, which a full disk would not take."""
    stages, _ = _counted(connection)
    database.remove()
    return Cleared(sum(stage.entries for stage in stages), sum(stage.bytes for stage in stages))


def _cleared(connection: sqlite3.Connection, chosen: Mapping[str, str | float | None]) -> Cleared:
    with transaction(connection):
        rows = connection.execute(CHOSEN, chosen).fetchall()
        _remove(connection, [number for number, _ in rows])
    with suppress(sqlite3.OperationalError):  # they are forgotten, whether or not their room is given back
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` would stop at its first page
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Cleared(len(rows), sum(size for _, size in rows))
