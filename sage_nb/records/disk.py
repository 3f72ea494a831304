"""Where things are kept, and how a file comes to be there whole or not at all."""

from __future__ import annotations

import os
import site
import sysconfig
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

LIBRARIES = tuple(  # the folders that Python and its installers fill, sorted
    sorted(
        {
            *(os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *map(os.path.realpath, site.getsitepackages()),
            os.path.realpath(site.getusersitepackages()),
        }
    )
)


def is_below(path: str, folders: tuple[str, ...]) -> bool:
    """Whether a path lies in one of them, at any depth; all are taken as they are written."""
    return path.startswith(tuple(folder + os.sep for folder in folders))


def home() -> Path:
    """The folder that holds collections, caches and runs: `SAGE_HOME`, else `.sage` where the kernel was started."""
    return _home(os.environ.get("SAGE_HOME") or ".sage", Path.cwd())


@lru_cache(maxsize=8)
def _home(given: str, here: Path) -> Path:
    """Below `here`, unless it is told from the root on; each search names its collection several times."""
    return here / given


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader sees the old bytes or the new."""
    half = path.with_name(f".{path.name}.{uuid4().hex}.half")
    try:
        half.write_bytes(content)
        sync(half)
        half.replace(path)
    except OSError:
        half.unlink(missing_ok=True)
        raise
    sync(path.parent)
