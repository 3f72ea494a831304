"""The SQLite file of a cell cache: opened and made, told from other files, set aside where it is damaged.

WAL lets kernels read while one writes. `synchronous=NORMAL` may forget the last batches when the power fails, and keeps
the file whole: a cache may forget. The file is not mapped into memory, where a truncated one would kill the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from sage_nb.errors import SageError

NAME, ASIDE = "cells.sqlite", "damaged-cells.sqlite"
FILES = ("-wal", "-shm", "")  # the database itself last: once it has gone, the others are nobody's
FORMAT = 1
APPLICATION = 0x53414745  # "SAGE", in the file's header
PATIENCE = 5.0  # seconds to wait for another process, all of whose transactions are short

SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA journal_size_limit = 33554432;
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
"""
EMPTY = "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;"  # cleared room goes back to the disk
# Values lie apart from what is known of them: to count entries, or to note their use, reads no value.
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, cell TEXT NOT NULL, stage TEXT NOT NULL,
  made REAL NOT NULL, used REAL NOT NULL, bytes INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE INDEX by_use ON entries (used, id, bytes);
CREATE TABLE contents (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
# What the disk or another process is to blame for; other OperationalErrors tell of a file that is not as we made it.
OUTSIDE = (
    "locked",
    "database or disk is full",
    "disk I/O error",
    "unable to open",
    "readonly",
    "locking protocol",
    "interrupted",
    "access permission denied",
)

Identity = tuple[int, int]


class NewerFormatError(SageError):
    """A cache that a newer sage_nb has written: not ours to read, to change or to move away."""


class DamagedError(SageError):
    """A file that is not the database we made."""


DAMAGE = (DamagedError, sqlite3.DatabaseError, sqlite3.IntegrityError, sqlite3.InternalError, UnicodeDecodeError)
FAULTS = (sqlite3.Error, DamagedError, UnicodeDecodeError)  # the last from a damaged name, which SQLite tells as it is


def is_damage(error: Exception) -> bool:
    """Whether the file itself is to blame, not the disk below it or another process.

    >>> is_damage(sqlite3.DatabaseError("file is not a database"))
    True
    >>> is_damage(sqlite3.OperationalError("no such table: entries"))
    True
    >>> is_damage(sqlite3.OperationalError("database or disk is full"))
    False
    """
    if isinstance(error, sqlite3.OperationalError):
        return not any(words in str(error) for words in OUTSIDE)
    return type(error) in DAMAGE


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of the block or, whatever ends it early, nothing.

    >>> connection = sqlite3.connect(":memory:", isolation_level=None)
    >>> with transaction(connection):
    ...     _ = connection.execute("CREATE TABLE t (x)")
    >>> connection.in_transaction
    False
    >>> connection.close()
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


class Database:
    """One process's connection to the file: opened when first asked for, and again when the file is another one.

    Not safe for threads by itself. Making the file and setting it aside happen under a lock between processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self._open: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    def connection(self) -> sqlite3.Connection:
        """To the file that lies there now.

        Raises sqlite3.Error or OSError where it cannot be had, DamagedError and NewerFormatError where it is not ours.
        """
        if self._open is not None and self._identity == _identity(self.path):
            return self._open
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            made = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                _prepare(made)
            except BaseException:
                made.close()
                raise
            finally:
                self._identity = _identity(self.path)
        self._open = made
        return made

    def set_aside(self) -> None:
        """Begin anew: keep the file under another name, over the one kept before.

        Where another process has done so already, the file there now is a new one, and stays.
        """
        damaged = self._identity
        self.close()
        with self._lock():
            if damaged != _identity(self.path):
                return
            for end in FILES:
                aside = self.folder / f"{ASIDE}{end}"
                aside.unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    (self.folder / f"{NAME}{end}").rename(aside)

    def remove(self) -> None:
        """Begin anew with nothing kept, not even what was set aside."""
        self.close()
        with self._lock():
            for name in (ASIDE, NAME):
                for end in FILES:
                    (self.folder / f"{name}{end}").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
        self._open = self._identity = None

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "cells.lock", timeout=PATIENCE)


def _identity(path: Path) -> Identity | None:
    """Which file lies there; not its content, which may not be opened past SQLite: to close it would drop its locks."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare(connection: sqlite3.Connection) -> None:
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if application == APPLICATION and version > FORMAT:
        raise NewerFormatError(f"a newer sage_nb wrote it, in format {version}: upgrade sage-nb")
    if tables and (application, version) != (APPLICATION, FORMAT):
        raise DamagedError(f"the database is of format {version} of application {application}; move it away")
    if not tables:
        connection.executescript(
            EMPTY
        )  # before WAL, which fixes the size of pages; a full database would be written to
    connection.executescript(SETTINGS)
    if not tables:
        connection.executescript(SCHEMA)
