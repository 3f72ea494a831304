"""Checkpoints on disk: a folder each, whole once its MANIFEST is there; opening one runs no code."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from filelock import BaseFileLock, Timeout

from sage_nb.errors import BadValueError, SageError
from sage_nb.records.plain import pack, unpack
from sage_nb.runtime.operators.running import Saved
from sage_nb.stream.graph import Graph
from sage_nb.stream.storage import Folder, safe_name

FORMAT = 1
MANIFEST = "MANIFEST"
LATEST = "LATEST"  # beside the checkpoints: the number of the last one committed, so that its loss is noticed


class CheckpointError(SageError):
    """A checkpoint that cannot be taken up: damaged, of another graph, of a newer format.

    >>> issubclass(CheckpointError, SageError)
    True
    """


class Version(msgspec.Struct, frozen=True):
    """What can be read of any manifest, however new."""

    format: int


class PartFile(msgspec.Struct, frozen=True):
    """One task's file, with what tells whether it is whole."""

    name: str
    bytes: int
    crc32: int


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint is of, and which files belong to it."""

    format: int
    job: str
    checkpoint: int
    max_parallelism: int
    shape: dict[str, Any]
    parallelism: dict[str, int]
    files: list[PartFile]


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often: `folder` is a path or an fsspec URL, `every` in seconds, `retain` the number kept.

    >>> Checkpointing("ckpt/").every
    10.0
    """

    folder: str
    every: float = 10.0
    retain: int = 3
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.every <= 0 or self.timeout <= 0 or self.retain < 1:
            raise BadValueError(
                f"Checkpointing needs every and timeout above 0 seconds and retain of 1 or more, "
                f"got {self.every!r}, {self.timeout!r}, {self.retain!r}"
            )


class Store(Protocol):
    """Where a job's checkpoints lie."""

    @property
    def url(self) -> str:
        """The folder that another process may write to; "" for none."""
        ...

    def write(self, checkpoint: int, name: str, data: bytes) -> None:
        """Keep one task's part."""
        ...

    def read(self, checkpoint: int, name: str) -> bytes:
        """One task's part."""
        ...

    def has_part(self, checkpoint: int, name: str) -> bool:
        """Whether a part is there."""
        ...

    def commit(self, manifest: Manifest) -> None:
        """From now on this checkpoint is the one to go on from."""
        ...

    def latest(self, graph: Graph, *, lenient: bool) -> Restored | None:
        """The newest whole checkpoint; None where none was committed."""
        ...

    def last_number(self) -> int:
        """The highest number ever begun here, 0 for none."""
        ...

    def clear(self) -> None:
        """Start over."""
        ...

    def release(self) -> None:
        """The job has ended."""
        ...


@dataclass(frozen=True)
class Restored:
    """A checkpoint read: its number, the tasks' parts, and what was said on the way."""

    checkpoint: int
    parts: tuple[bytes, ...]
    warnings: tuple[str, ...] = ()

    def saved(self) -> dict[str, Saved]:
        """Each operator's state, made anew: an attempt may change what it is given."""
        return _gathered(self.parts, self.checkpoint)


@dataclass
class MemoryStore:
    """The last checkpoint, in memory: enough to rewind, not to survive the process."""

    url: str = ""
    _parts: dict[int, dict[str, bytes]] = field(default_factory=dict)
    _last: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, checkpoint: int, name: str, data: bytes) -> None:
        """Keep it."""
        with self._lock:
            self._parts.setdefault(checkpoint, {})[name] = data

    def read(self, checkpoint: int, name: str) -> bytes:
        """As it was written."""
        with self._lock:
            return self._parts[checkpoint][name]

    def has_part(self, checkpoint: int, name: str) -> bool:
        """Whether it was written."""
        with self._lock:
            return name in self._parts.get(checkpoint, {})

    def commit(self, manifest: Manifest) -> None:
        """Forget the others."""
        with self._lock:
            self._last = manifest.checkpoint
            self._parts = {self._last: self._parts.get(self._last, {})}

    def latest(self, graph: Graph, *, lenient: bool) -> Restored | None:  # noqa: ARG002
        """What was committed last."""
        with self._lock:
            parts = None if self._last is None else tuple(self._parts[self._last].values())
        return None if parts is None or self._last is None else Restored(self._last, parts)

    def last_number(self) -> int:
        """It begins with the job."""
        return 0

    def clear(self) -> None:
        """Nothing is here yet."""

    def release(self) -> None:
        """Nobody waits for it."""


class FolderStore:
    """Checkpoints under a folder: `chk-000007/` holds a file for each task, and MANIFEST last."""

    def __init__(self, folder: Folder, retain: int = 3) -> None:
        self._folder, self._retain = folder, retain
        self._lock: BaseFileLock | None = None
        self._cleared = 0  # the highest number before it was cleared

    @property
    def url(self) -> str:
        """The folder's."""
        return self._folder.url

    def write(self, checkpoint: int, name: str, data: bytes) -> None:
        """A file of its own."""
        with self._at(checkpoint).writing(name) as file:
            file.write(data)

    def read(self, checkpoint: int, name: str) -> bytes:
        """Its file."""
        return self._at(checkpoint).get(name)

    def has_part(self, checkpoint: int, name: str) -> bool:
        """Whether its file is seen from here."""
        return self._at(checkpoint).exists(name)

    def commit(self, manifest: Manifest) -> None:
        """Rename MANIFEST into place: the moment at which the checkpoint counts. Then old ones go."""
        self._at(manifest.checkpoint).put(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        self._folder.put(LATEST, str(manifest.checkpoint).encode())
        whole = [number for number in self._numbers() if self._at(number).exists(MANIFEST)]
        doomed = {*whole[: -self._retain], *(n for n in self._numbers() if n < manifest.checkpoint and n not in whole)}
        for number in doomed:
            self._folder.remove(_name(number))

    def latest(self, graph: Graph, *, lenient: bool) -> Restored | None:
        """The newest one that is whole; a damaged one is passed over, and that is said.

        Raises CheckpointError where every committed one is damaged, or where it is of another graph.
        """
        damaged: list[str] = []
        committed = self._committed()
        for number in sorted({*self._numbers(), committed} - {0}, reverse=True):
            if number > committed and not self._at(number).exists(MANIFEST):
                continue  # it never was one
            try:
                manifest, parts = self._read(number)
            except (OSError, BadValueError, msgspec.MsgspecError) as error:
                damaged.append(f"checkpoint {number} in {self._folder.url!r} is damaged ({error})")
                continue
            _check(manifest, graph, self._folder.url, lenient=lenient)
            warnings = tuple(f"{each}; went back to checkpoint {number}" for each in damaged)
            return Restored(number, parts, warnings)
        if damaged:
            raise CheckpointError(f"{damaged[0]}, and no older one is whole; restore its files or use fresh=True")
        return None

    def last_number(self) -> int:
        """The highest number ever begun here, 0 for none."""
        return max([self._cleared, self._committed(), *self._numbers()])

    def holds(self) -> bool:
        """Whether a checkpoint was ever committed here, be it damaged now; one only begun is none."""
        return self._committed() > 0 or any(self._at(number).exists(MANIFEST) for number in self._numbers())

    def claim(self) -> None:
        """Keep the folder for one job at a time, until `release`.

        Raises CheckpointError where another has it, or where nothing can be written.
        """
        try:
            self._lock = self._folder.lock("LOCK")
        except Timeout as error:
            raise CheckpointError(
                f"a job with the checkpoints in {self._folder.url!r} is still running; wait for it, or cancel() it"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"checkpoints cannot be written to {self._folder.url!r} ({error}); give a folder that can be written to"
            ) from error

    def release(self) -> None:
        """Another job may have the folder."""
        if self._lock is not None:
            self._lock.release()

    def clear(self) -> None:
        """Start over: remove all checkpoints, and the dead letters with them.

        Their numbers are not given again, so that a savepoint's is older than all that came after it.
        """
        self._cleared = self.last_number()
        self._folder.remove(LATEST)
        self._folder.remove("dead-letters")
        for number in self._numbers():
            self._folder.remove(_name(number))

    def _read(self, number: int) -> tuple[Manifest, tuple[bytes, ...]]:
        folder = self._at(number)
        raw = folder.get(MANIFEST)
        if msgspec.json.decode(raw, type=Version).format > FORMAT:
            raise CheckpointError(
                f"checkpoint {number} in {self._folder.url!r} was written by a newer sage_nb; upgrade sage-nb"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
        return manifest, tuple(_whole(folder.get(file.name), file) for file in manifest.files)

    def _committed(self) -> int:
        """The number of the last one committed, as far as is known."""
        try:
            return int(self._folder.get(LATEST))
        except (OSError, ValueError):
            return 0

    def _numbers(self) -> list[int]:
        names = (name.removeprefix("chk-") for name in self._folder.names() if name.startswith("chk-"))
        return sorted(int(name) for name in names if name.isdigit())

    def _at(self, number: int) -> Folder:
        return self._folder.child(_name(number))


def part_bytes(snapshots: Mapping[str, Mapping[str, Any]]) -> bytes:
    """One task's part as bytes.

    Raises BadValueError where an operator's state is no plain data.
    """
    return pack({uid: _packed(uid, snapshot) for uid, snapshot in snapshots.items()})


def part_name(uid: str, subtask: int) -> str:
    """The file of a task: readable, and safe whatever the uid holds.

    >>> part_name("count", 2), part_name("a/b", 0)
    ('count-2', 'a_b.07f4401c-0')
    """
    return f"{safe_name(uid)}-{subtask}"


def _packed(uid: str, snapshot: Mapping[str, Any]) -> bytes:
    try:
        return pack(dict(snapshot))
    except BadValueError as error:
        raise BadValueError(f"operator {uid!r} cannot be checkpointed: {error}") from error


def _gathered(parts: Iterable[bytes], checkpoint: int) -> dict[str, Saved]:
    operators: dict[str, dict[int, Any]] = {}
    for data in parts:
        for uid, packed in unpack(data).items():
            snapshot = unpack(packed)
            operators.setdefault(uid, {})[snapshot["subtask"]] = snapshot
    return {uid: Saved.of(subtasks, checkpoint) for uid, subtasks in operators.items()}


def _whole(data: bytes, file: PartFile) -> bytes:
    if len(data) != file.bytes or zlib.crc32(data) != file.crc32:
        raise BadValueError(f"its file {file.name!r} is not as it was written")
    return data


def _check(manifest: Manifest, graph: Graph, where: str, *, lenient: bool) -> None:
    if manifest.job != graph.name:
        raise CheckpointError(
            f"the checkpoints in {where!r} are of the job {manifest.job!r}, not of {graph.name!r}; "
            f"give each job a folder of its own, or start over with fresh=True"
        )
    if manifest.max_parallelism != graph.max_parallelism:
        raise CheckpointError(
            f"the checkpoints in {where!r} have {manifest.max_parallelism} key groups, the environment has "
            f"{graph.max_parallelism}; max_parallelism cannot change"
        )
    _check_shape(manifest.shape, graph.shape(), where, lenient=lenient)


def _check_shape(held: Mapping[str, Any], given: Mapping[str, Any], where: str, *, lenient: bool) -> None:
    if held.keys() != given.keys() and not lenient:
        differing = ", ".join(map(repr, _differing(held, given)))
        raise CheckpointError(
            f"the checkpoints in {where!r} are of another graph: {differing} differ; keep the uids, "
            f"use fresh=True, or drop what does not fit with allow_non_restored=True"
        )
    for uid in sorted(given.keys() & held.keys()):
        changed = held[uid][0] != given[uid][0] if lenient else held[uid] != given[uid]
        if changed:
            raise CheckpointError(
                f"the checkpoints in {where!r} are of another graph: operator {uid!r} was {_shown(held[uid])} and is "
                f"{_shown(given[uid])}; give the changed one another uid, or start over with fresh=True"
            )


def _differing(held: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    return iter(sorted(held.keys() ^ given.keys()))


def _shown(entry: list[Any]) -> str:
    kind, inputs = entry
    return f"a {kind} of {', '.join(inputs) or 'nothing'}"


def _name(number: int) -> str:
    return f"chk-{number:06d}"
