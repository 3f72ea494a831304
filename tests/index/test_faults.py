"""What is not ours stays, what is lost is said, and a disk that is full costs no more than the commit in hand."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zlib
from pathlib import Path

import filelock
import msgspec
import numpy as np
import pytest

from sage_nb.errors import CollectionError
from sage_nb.index.dense import write_vectors
from sage_nb.index.files import checksum, read_array, write_array
from sage_nb.index.folder import IndexFolder
from sage_nb.index.lexical import Postings
from sage_nb.index.manifest import read_manifest, write_manifest
from tests.index.making import SETTINGS, index, segment

VECTORS = msgspec.structs.replace(SETTINGS, encoder="e", dimension=8)
FULL = Path("/dev/full")
needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("room", ["segments", "tombstones"])
def test_a_folder_with_someone_elses_files_is_refused_and_left_alone(tmp_path, room):
    (tmp_path / room / "mine").mkdir(parents=True)
    (tmp_path / room / "mine" / "thesis.txt").write_text("precious")
    said = f"has no MANIFEST and yet something in {room}/, .* name another folder, or put the MANIFEST back"
    with pytest.raises(CollectionError, match=said):
        IndexFolder(tmp_path).snapshot()
    with pytest.raises(CollectionError, match=said):
        IndexFolder(tmp_path).commit(SETTINGS, segment({"a": "ant"}))
    with pytest.raises(CollectionError, match=said):
        IndexFolder(tmp_path).compact()
    assert f"{room}/mine/thesis.txt" in files(tmp_path)


def test_a_lost_manifest_loses_no_segment(tmp_path):
    opened = index(tmp_path, {"a": "ant"}, {"b": "bee"})
    before = files(tmp_path / "segments")
    manifest = (tmp_path / "MANIFEST").read_bytes()
    (tmp_path / "MANIFEST").unlink()
    for folder in (opened, IndexFolder(tmp_path)):
        with pytest.raises(CollectionError, match="has no MANIFEST and yet something in segments/"):
            folder.commit(SETTINGS, segment({"c": "cow"}))
    assert files(tmp_path / "segments") == before
    (tmp_path / "MANIFEST").write_bytes(manifest)
    assert [document.id for document in IndexFolder(tmp_path).snapshot().documents()] == ["a", "b"]


def test_only_what_a_commit_could_have_left_is_swept_away(tmp_path):
    folder = index(tmp_path, {"a": "ant"})
    left, dead = tmp_path / "segments" / ("0" * 32), tmp_path / "tombstones" / f"{'0' * 32}.npy"
    mine = [tmp_path / "segments" / "notes", tmp_path / "tombstones" / "notes.npy"]
    for path in (left, mine[0]):
        path.mkdir()
    (tmp_path / "tombstones").mkdir()
    for path in (dead, mine[1]):
        path.write_bytes(b"")
    folder.commit(SETTINGS, segment({"b": "bee"}))
    assert all(path.exists() for path in mine)
    assert not left.exists()
    assert not dead.exists()


def test_a_first_commit_that_is_killed_leaves_an_empty_collection(tmp_path, monkeypatch):
    class Killed(BaseException):
        """Nothing catches it, and nothing is tidied."""

    def killed(self, folder):
        raise Killed

    monkeypatch.setattr(Postings, "write", killed)
    monkeypatch.setattr(IndexFolder, "_sweep", killed)
    with pytest.raises(Killed, match="^$"):
        IndexFolder(tmp_path).commit(SETTINGS, segment({"a": "ant"}))
    monkeypatch.undo()
    assert files(tmp_path / "segments")
    assert index(tmp_path).snapshot().rows == 0
    assert index(tmp_path, {"b": "bee"}).snapshot().rows == 1


def test_a_failed_write_is_said_and_stands_in_no_ones_way(tmp_path, monkeypatch):
    folder = index(tmp_path, {"a": "ant", "b": "bee"})
    before = files(tmp_path / "segments")

    def full(self, where):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Postings, "write", full)
    with pytest.raises(CollectionError, match="No space left on device.; it still holds its last snapshot: make room"):
        folder.commit(SETTINGS, segment({"c": "cow", "a": "another"}))
    assert files(tmp_path / "segments") == before
    assert files(tmp_path / "tombstones") == []
    assert folder.commit(SETTINGS, None, ["b"]).deleted == 1
    monkeypatch.undo()
    assert folder.commit(SETTINGS, segment({"c": "cow"})).added == 1
    assert [document.id for document in folder.snapshot().documents()] == ["a", "c"]


@needs_a_full_disk
@pytest.mark.parametrize(("kind", "name"), [("flat", "flat.faiss"), ("hnsw", "ann.faiss")])
@pytest.mark.parametrize("rows", [1, 2000])
def test_vectors_that_a_full_disk_does_not_take_are_an_os_error(tmp_path, kind, name, rows):
    (tmp_path / name).symlink_to(FULL)
    with pytest.raises(OSError, match="No space left on device"):
        write_vectors(tmp_path, np.ones((rows, 32), np.float32), kind)


@needs_a_full_disk
@pytest.mark.parametrize("rows", [1, 20_000])
def test_an_array_that_a_full_disk_does_not_take_is_an_os_error(rows):
    with pytest.raises(OSError, match="No space left on device"):
        write_array(FULL, np.arange(rows))


@pytest.mark.parametrize("read", [np.load, read_array])
@pytest.mark.parametrize(
    "values",
    [np.arange(5), np.zeros(0, np.int32), np.eye(3)[:0], np.asfortranarray(np.eye(3)[:, :2])],
)
def test_arrays_come_back_as_they_were(tmp_path, values, read):
    write_array(tmp_path / "a.npy", values)
    found = read(tmp_path / "a.npy")
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("content", [b"", b"notes", b"\x93NUMPY\x01\0"])
def test_a_file_that_holds_no_array_is_named(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(CollectionError, match="a.npy is damaged .its header is not that of an array.; restore"):
        read_array(tmp_path / "a.npy")


def test_an_array_of_objects_is_none(tmp_path):
    """Its bytes would be taken for addresses."""
    write_array(tmp_path / "a.npy", np.arange(5))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes().replace(b"'<i8'", b"'|O' "))
    with pytest.raises(CollectionError, match="a.npy is damaged .its header is not that of an array.; restore"):
        read_array(tmp_path / "a.npy")


def test_an_array_that_is_cut_off_is_named(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(5))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(CollectionError, match="a.npy is damaged .mmap length is greater than file size.; restore"):
        read_array(tmp_path / "a.npy")


def test_arrays_are_read_by_many_threads_while_garbage_is_collected(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    script = f"""
import gc, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sage_nb.index.files import read_array
gc.callbacks.append(lambda phase, info: time.sleep(0))
gc.set_threshold(50, 2, 2)
sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(4) as readers:
    print({{array.shape for array in readers.map(read_array, [Path({str(tmp_path / "a.npy")!r})] * 4000)}})
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout == "{(2, 3)}\n", run.stderr


@pytest.mark.parametrize("name", ["documents.arrow", "origins.arrow", "terms.arrow", "rows.npy", "flat.faiss"])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_one_flipped_bit_is_named(tmp_path, name, at):
    IndexFolder(tmp_path).commit(VECTORS, segment({"a": "ant bee", "b": "cow"}, np.eye(2, 8, dtype=np.float32)))
    path = next(tmp_path.glob(f"segments/*/{name}"))
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)
    with pytest.raises(CollectionError, match=f"{name} is damaged .its checksum does not match.; restore the coll"):
        IndexFolder(tmp_path).snapshot()


def test_a_flipped_bit_among_the_tombstones_is_named(tmp_path):
    index(tmp_path, {"a": "ant", "b": "bee"}).commit(SETTINGS, None, ["a"])
    (path,) = tmp_path.glob("tombstones/*.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CollectionError, match="npy is damaged .its checksum does not match.; restore the collection"):
        IndexFolder(tmp_path).snapshot()


def test_a_very_large_file_is_summed_by_its_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("sage_nb.index.files.WHOLE", 10)
    monkeypatch.setattr("sage_nb.index.files.EDGE", 2)
    (tmp_path / "a").write_bytes(b"abcdefghijkl")
    assert checksum(tmp_path / "a") == zlib.crc32(b"abkl")


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", ".."])
def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path, name):
    index(tmp_path, {"a": "ant"})
    manifest = read_manifest(tmp_path)
    (entry,) = manifest.segments
    entry = msgspec.structs.replace(entry, id=name)
    write_manifest(tmp_path, msgspec.structs.replace(manifest, segments=(entry,)))
    with pytest.raises(
        CollectionError, match=f"MANIFEST names '{name}', which is outside of the collection; do not tr"
    ):
        IndexFolder(tmp_path).snapshot()


def test_a_folder_that_another_writer_holds_is_said(tmp_path, monkeypatch):
    folder = index(tmp_path, {"a": "ant"})
    monkeypatch.setattr("sage_nb.index.folder.LOCK_SECONDS", 0.1)
    said = "has been locked by another writer for 0 s; wait for it, or end it"
    with filelock.FileLock(tmp_path / "write.lock"), pytest.raises(CollectionError, match=said):
        folder.commit(SETTINGS, segment({"b": "bee"}))
    assert folder.commit(SETTINGS, segment({"b": "bee"})).added == 1


def test_a_collection_where_a_file_is_cannot_be_read(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CollectionError, match="file cannot be read .Not a directory.; name another folder"):
        IndexFolder(tmp_path / "file").snapshot()


@pytest.mark.parametrize("name", ["terms.arrow", "rows.npy"])
def test_a_file_with_a_scrambled_head_is_named(tmp_path, name):
    index(tmp_path, {"a": "ant bee"})
    path = next(tmp_path.glob(f"segments/*/{name}"))
    content = path.read_bytes()
    path.write_bytes(bytes(byte ^ 0x55 for byte in content[:200]) + content[200:])
    with pytest.raises(CollectionError, match=f"{name} is damaged .*; restore the collection from a copy"):
        IndexFolder(tmp_path).snapshot()
