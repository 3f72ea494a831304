"""A folder by path or by URL (fsspec): whole files, put in place at once."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import BaseFileLock, FileLock


def safe_name(text: str) -> str:
    """`text` as part of a file's name: readable, and another for every other text.

    >>> safe_name("count"), safe_name("a/b")
    ('count', 'a_b.07f4401c')
    """
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)[:80]
    safe = "_" + safe[1:] if safe.startswith(".") else safe  # a name with a dot before it is a hidden file's
    return safe if safe == text else f"{safe}.{zlib.crc32(text.encode()):08x}"


class Folder:
    """Files under a path or a URL such as `memory://x`; made when first written to.

    >>> folder = Folder("memory://doc-example")
    >>> folder.put("a", b"1")
    >>> folder.names(), folder.get("a")
    (['a'], b'1')
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        import fsspec

        self._fs, self.path = fsspec.core.url_to_fs(self.url)
        self._local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.absolute,)

    @property
    def absolute(self) -> str:
        """Its URL as it holds in a process that was started in another folder."""
        return self.path if self._local else self.url

    def child(self, name: str) -> Folder:
        """The folder of that name in this one."""
        return Folder(self.url.rstrip("/") + "/" + name)

    def names(self) -> list[str]:
        """What lies directly in it, sorted; nothing where it does not exist."""
        if not self._fs.isdir(self.path):
            return []
        self._fs.invalidate_cache(self.path)
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in self._fs.ls(self.path, detail=False))

    def get(self, name: str) -> bytes:
        """A file's bytes; FileNotFoundError where there is none."""
        return bytes(self._fs.cat_file(self._at(name)))

    def put(self, name: str, data: bytes) -> None:
        """A whole file, or none: written beside and moved into place."""
        with self.writing(name + ".tmp") as file:
            file.write(data)
        self.rename(name + ".tmp", name)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A new file, on the disk when the block ends."""
        file = self.create(name)
        try:
            yield file
        except BaseException:
            with suppress(OSError):
                file.close()
            raise
        self.finish(file)

    def create(self, name: str) -> IO[bytes]:
        """A new file to write to; end it with `finish`."""
        self._fs.makedirs(self.path, exist_ok=True)
        return self._fs.open(self._at(name), "wb")  # type: ignore[no-any-return]

    def finish(self, file: IO[Any]) -> None:
        """Close, with everything on the disk."""
        with closing(file):
            file.flush()
            if self._local:
                os.fsync(file.fileno())

    def rename(self, name: str, to: str) -> None:
        """Move within the folder, over what is there."""
        if self._local:
            Path(self._at(name)).replace(self._at(to))
            self._sync()
        else:
            self._fs.mv(self._at(name), self._at(to))

    def lock(self, name: str) -> BaseFileLock | None:
        """The lock of that name, taken, or `filelock.Timeout`; it ends with the process. Only a local folder has one.

        Raises OSError where nothing can be written.
        """
        self._fs.makedirs(self.path, exist_ok=True)
        if not self._local:
            return None
        lock = FileLock(self._at(name), timeout=0, thread_local=False)
        lock.acquire()
        return lock

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        return bool(self._fs.exists(self._at(name)))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it, if it is there."""
        if self.exists(name):
            self._fs.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _sync(self) -> None:
        """A rename is on the disk once its folder is."""
        handle = os.open(Path(self.path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
