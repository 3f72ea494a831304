"""Damage, full and read-only disks, other formats, kills: the cell cache forgets, and never gives a wrong value."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage_nb.runtime.cellcache import database, store
from sage_nb.runtime.cellcache.database import ASIDE, FORMAT, NAME
from sage_nb.runtime.cellcache.store import CellCache, Cleared, Entry
from tests.faults.test_disk import Disk
from tests.runtime.cellcache.test_store import ROOT, entries, keys_of, whole

SMALL = 2000  # bytes of a value
KILLS = 15
DATABASE, LOG = NAME, f"{NAME}-wal"


@pytest.fixture
def opened():
    """Opens caches, and closes them in the end."""
    every = []

    def one_more(folder, **limit):
        every.append(CellCache(folder, **limit))
        return every[-1]

    yield one_more
    for each in every:
        each.close()


@pytest.fixture
def cache(opened, tmp_path):
    return opened(tmp_path / "cache")


@pytest.fixture
def impatient(monkeypatch):
    """No long waits for a lock, and none until what failed is tried again."""
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    monkeypatch.setattr(store, "REST", 0.0)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The files of a kernel that was killed: most values in the database, the last ones only in its log."""
    folder = tmp_path_factory.mktemp("stopped")
    cache = CellCache(folder / "live")
    for start in range(0, 60, 6):
        cache.put(entries(keys_of(*range(start, start + 6)), SMALL))
        if start == 48:
            cache._held.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    shutil.copytree(folder / "live", folder / "left", ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    cache.close()
    assert {path.name for path in (folder / "left").iterdir()} == {DATABASE, LOG}
    return folder / "left"


def works(cache):
    """Whether it takes and gives values."""
    cache.put(entries(["after"], SMALL))
    return whole(cache.get(["after"]), SMALL) == ["after"]


def damage(path, how, at, data):
    content = bytearray(path.read_bytes())
    place = int(at * (len(content) - 1))
    if how == "cut":
        del content[place:]
    elif how == "flip":
        content[place] ^= data[0] or 1
    elif how == "overwrite":
        content[place : place + len(data)] = data
    else:
        content[place:place] = data
    path.write_bytes(content)


def test_the_files_of_a_killed_kernel_hold_all_it_committed(stopped, tmp_path, opened):
    shutil.copytree(stopped, tmp_path / "copy")
    assert len(whole(opened(tmp_path / "copy").get(keys_of(*range(60))), SMALL)) == 60


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([DATABASE, LOG]),
    how=st.sampled_from(["cut", "flip", "overwrite", "insert"]),
    at=st.floats(0, 1),
    data=st.binary(min_size=1, max_size=5000),
)
def test_whatever_is_damaged_no_wrong_value_is_given_and_the_cache_goes_on(stopped, tmp_path, name, how, at, data):
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stopped, folder)
    damage(folder / name, how, at, data)
    emptied = (folder / name).stat().st_size <= 1  # which SQLite takes for a new one
    cache = CellCache(folder)
    try:
        found = whole(cache.get(keys_of(*range(60))), SMALL)
        explained = cache.notes or name == LOG or emptied
        assert len(found) == 60 or explained
        cache.facts()
        cache.clear(cell="answers", older_than=1e9)
        assert works(cache)
        whole(cache.get(keys_of(*range(60))), SMALL)
    finally:
        cache.close()


def test_without_the_checksum_a_wrong_value_would_be_given(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(store, "_checksum", lambda key, value: 0)
    cache = opened(tmp_path)
    cache.put(entries(["k"], SMALL))
    cache.close()
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b"k|k|k|", b"k|k?k|", 1))
    with pytest.raises(AssertionError, match="assert False"):
        whole(cache.get(["k"]), SMALL)


def test_a_damaged_value_is_absent_removed_and_said_once(cache):
    cache.put(entries(["a", "b", "c"], SMALL))
    cache.close()
    path = cache.folder / NAME
    path.write_bytes(path.read_bytes().replace(b"b|b|b|", b"b|b?b|", 1).replace(b"c|c|c|", b"c|c?c|", 1))
    assert whole(cache.get(["a", "b"]), SMALL) == ["a"]
    assert (cache.hits, cache.misses, cache.facts().entries) == (1, 1, 2)
    assert whole(cache.get(["a", "b", "c"]), SMALL) == ["a"]
    (note,) = cache.notes
    assert note.startswith("values of the cell cache in ")
    cache.put(entries(["b"], SMALL))
    assert whole(cache.get(["a", "b", "c"]), SMALL) == ["a", "b"]


def test_a_whole_value_under_another_key_is_absent(cache):
    cache.put(entries(["a", "b", "c"], SMALL))
    cache._held.database.connection().executescript(
        "CREATE TEMP TABLE swapped AS SELECT key, id, checksum FROM entries WHERE key IN ('a', 'b'); "
        "UPDATE entries SET checksum = (SELECT checksum FROM swapped WHERE key <> entries.key) WHERE key <> 'c'; "
        "UPDATE contents SET id = -id WHERE id IN (SELECT id FROM swapped); "
        "UPDATE contents SET id = (SELECT id FROM swapped WHERE swapped.id <> -contents.id) WHERE id < 0;"
    )
    assert whole(cache.get(["a", "b", "c"]), SMALL) == ["c"]
    assert len(cache.notes) == 1


@pytest.mark.parametrize("garbage", [b"", b"x" * 100, b"SQLite format 3\0" + b"\xff" * 4096, os.urandom(50_000)])
def test_a_file_that_is_no_database_is_set_aside(cache, garbage):
    cache.folder.mkdir()
    (cache.folder / NAME).write_bytes(garbage)
    assert cache.get(["a"]) == {}
    assert works(cache)
    if garbage:
        (note,) = cache.notes
        assert note.startswith(f"the cell cache in {str(cache.folder)!r} was damaged and begins anew")
        assert (cache.folder / ASIDE).read_bytes() == garbage


def test_one_generation_is_kept_of_what_was_damaged(cache):
    cache.folder.mkdir()
    for garbage in (b"first" * 100, b"second" * 100):
        (cache.folder / NAME).unlink(missing_ok=True)
        (cache.folder / NAME).write_bytes(garbage)
        assert works(cache)
        cache.close()
    assert (cache.folder / ASIDE).read_bytes() == b"second" * 100
    assert len([path for path in cache.folder.iterdir() if path.name.startswith(ASIDE)]) == 1
    cache.clear()
    assert not (cache.folder / ASIDE).exists()


def test_a_database_of_someone_else_is_set_aside_whole(cache):
    cache.folder.mkdir()
    other = sqlite3.connect(cache.folder / NAME)
    other.executescript("CREATE TABLE thesis (text); INSERT INTO thesis VALUES ('precious');")
    other.close()
    assert works(cache)
    kept = sqlite3.connect(cache.folder / ASIDE)
    assert kept.execute("SELECT text FROM thesis").fetchall() == [("precious",)]
    kept.close()


@pytest.mark.parametrize(
    "broken", ["DROP TABLE contents", "DROP TABLE entries", "ALTER TABLE entries DROP COLUMN stage"]
)
def test_a_database_without_its_tables_is_begun_anew(cache, broken):
    cache.put(entries(["a"], SMALL))
    cache._held.database.connection().executescript(f"DROP INDEX by_use; {broken}")
    cache.put(entries(["b"], SMALL))
    assert whole(cache.get(["a", "b"]), SMALL) in (["b"], [])
    assert works(cache)
    assert len(cache.notes) == 1


def test_who_finds_damage_second_leaves_the_new_file_alone(cache, opened):
    other = opened(cache.folder)
    for each in (cache, other):
        each.put(entries(["a"], SMALL))
    connections = [each._held.database.connection() for each in (cache, other)]
    connections[0].executescript("DROP TABLE contents")
    cache.put(entries(["b"], SMALL))
    other._held.database.set_aside()
    assert whole(other.get(["b"]), SMALL) == ["b"]
    assert whole(cache.get(["b"]), SMALL) == ["b"]


def test_a_newer_format_is_left_alone(cache, opened):
    cache.put(entries(["a"], SMALL))
    cache._held.database.connection().execute(f"PRAGMA user_version = {FORMAT + 1}")
    cache.close()
    before = (cache.folder / NAME).read_bytes()
    older = opened(cache.folder)
    assert older.get(["a"]) == {}
    older.put(entries(["b"], SMALL))
    assert older.facts().stages == ()
    assert older.clear() == Cleared(0, 0)
    (note,) = older.notes
    assert "cannot be used (a newer sage_nb wrote it, in format 2: upgrade sage-nb)" in note
    older.close()
    assert (cache.folder / NAME).read_bytes() == before
    assert sorted(path.name for path in cache.folder.iterdir()) == ["cells.lock", NAME]


@pytest.mark.parametrize("wiped", ["folder", "files", "database"])
def test_wiped_while_in_use_it_goes_on(cache, opened, wiped):
    other = opened(cache.folder)
    for each in (cache, other):
        each.put(entries(keys_of(1, 2), SMALL))
    if wiped == "folder":
        shutil.rmtree(cache.folder)
    for path in cache.folder.glob(NAME if wiped == "database" else "*"):
        path.unlink()
    whole(cache.get(keys_of(1, 2)), SMALL)
    for each in (cache, other, opened(cache.folder)):
        each.put(entries(keys_of(1, 2, 3), SMALL))
        assert whole(each.get(keys_of(1, 2, 3)), SMALL) == keys_of(1, 2, 3)
        assert whole(cache.get(keys_of(1, 2, 3)), SMALL) == keys_of(1, 2, 3)


def test_a_log_that_is_taken_away_in_use_gives_no_wrong_value(cache, opened):
    other = opened(cache.folder)
    for each in (cache, other):
        each.put(entries(keys_of(1, 2), SMALL))
    (cache.folder / LOG).unlink()
    every = (cache, other, opened(cache.folder))
    for number in range(3, 9):
        for each in every:
            each.put(entries(keys_of(number, number + 1), SMALL))
            whole(each.get(keys_of(*range(10))), SMALL)
    for each in every:
        each.close()
    whole(cache.get(keys_of(*range(10))), SMALL)
    assert works(cache)


def test_a_folder_that_is_a_file_counts_as_empty(opened, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = opened(folder)
        cache.put(entries(["a"], SMALL))
        assert cache.get(["a"]) == {}
        assert cache.facts().stages == ()
        assert cache.clear() == Cleared(0, 0)
        (note,) = cache.notes
        assert note.startswith(f"the cell cache in {str(folder)!r} cannot be used (")
        assert note.endswith("this run goes on without it: mend the folder, or give another")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.gone()


def test_on_a_full_disk_the_run_goes_on_and_what_is_kept_can_be_had(disk, opened, impatient):
    cache = opened(disk.folder / "cache")
    cache.put(entries(["early"], SMALL))
    for number in range(400):
        cache.put(entries(keys_of(number), SMALL))
    kept = whole(cache.get(["early", *keys_of(*range(400))]), SMALL)
    assert "early" in kept
    assert len(kept) < 401
    (note,) = cache.notes
    assert "cannot be written (d" in note
    assert note.endswith("this run goes on, and what it computes is not kept: make room, or mend the folder")
    disk.make_room()
    assert works(cache)


def test_a_full_disk_can_be_cleared(disk, opened):
    cache = opened(disk.folder / "cache")
    for number in range(400):
        cache.put(entries(keys_of(number), SMALL))
    assert cache.notes
    assert cache.clear().entries > 0
    assert works(cache)


def test_a_disk_too_full_to_begin_on(disk, opened, impatient):
    if disk._mounted:
        with (disk.folder / "filler").open("wb") as filler, pytest.raises(OSError, match="No space left"):
            filler.write(bytes(10_000_000))
    cache = opened(disk.folder / "cache")
    if disk._mounted:
        cache.put(entries(["a"], SMALL))
        assert cache.get(["a"]) == {}
        assert len(cache.notes) in (1, 2)
        (disk.folder / "filler").unlink()
    assert works(cache)


def test_a_disk_that_may_only_be_read_counts_as_empty(disk, opened, impatient):
    disk.protect()
    cache = opened(disk.folder / "cache")
    cache.put(entries(["a"], SMALL))
    assert cache.get(["a"]) == {}
    assert cache.facts().stages == ()
    (note,) = cache.notes
    assert "cannot be used (" in note


def test_a_cache_whose_disk_becomes_read_only_goes_on(disk, opened, impatient):
    cache = opened(disk.folder / "cache")
    cache.put(entries(["a"], SMALL))
    cache.close()
    if not disk._mounted:
        pytest.skip("needs a file system of its own")
    assert disk._mount("-o", "remount,ro", str(disk.folder))
    cache.put(entries(["b"], SMALL))
    assert cache.get(["a", "b"]) == {}
    (note,) = cache.notes
    assert "Read-only file system" in note
    assert disk._mount("-o", "remount,rw,size=64m", str(disk.folder))
    cache.put(entries(["b"], SMALL))
    assert whole(cache.get(["a", "b"]), SMALL) == ["a", "b"]


def test_a_cache_that_another_holds_for_long_is_read_and_not_written(cache, impatient):
    cache.put(entries(["a"], SMALL))
    cache.close()
    holder = sqlite3.connect(cache.folder / NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        cache.put(entries(["b"], SMALL))
        assert whole(cache.get(["a", "b"]), SMALL) == ["a"]
    (note,) = cache.notes
    assert "cannot be written (database is locked); this run goes on, and what it computes is not kept" in note
    holder.execute("ROLLBACK")
    holder.close()
    assert works(cache)


def test_what_failed_is_not_tried_again_at_once(cache, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    cache.put(entries(["a"], SMALL))
    cache.close()
    holder = sqlite3.connect(cache.folder / NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    cache.put(entries(["b"], SMALL))
    holder.execute("ROLLBACK")
    holder.close()
    cache.put(entries(["b"], SMALL))
    assert whole(cache.get(["a", "b"]), SMALL) == ["a"]
    cache.clear(cell="no such")
    assert works(cache)


def test_an_interrupted_put_keeps_nothing_and_stands_in_no_ones_way(cache, opened):
    class Stopped(Entry):
        """The stop button, while its value is written."""

        @property
        def stage(self):
            raise KeyboardInterrupt("stop")

    cache.put(entries(["a"], SMALL))
    bad = object.__new__(Stopped)
    for name, value in (("key", "c"), ("value", b"c"), ("cell", "answers")):
        object.__setattr__(bad, name, value)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        cache.put([*entries(["b"], SMALL), bad])
    assert whole(opened(cache.folder).get(["a", "b", "c"]), SMALL) == ["a"]
    assert works(opened(cache.folder))


WRITER = """
import sys
from pathlib import Path
from tests.runtime.cellcache.test_store import CellCache, entries
cache, number = CellCache(Path(sys.argv[1])), int(sys.argv[2])
cache.get(["warm"])
print("ready", flush=True)
while True:
    cache.put(entries([f"k{number}-{each}" for each in range(16)]))
    print(number, flush=True)
    number += 1
"""


def killed_after(folder: Path, number: int, seconds: float) -> list[int]:
    """The batches that the writer said were put when it was killed."""
    command = [sys.executable, "-c", WRITER, str(folder), str(number)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    said = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()
    return [int(each) for each in said]


def test_writers_killed_in_mid_put_leave_whole_batches_and_no_wrong_value(tmp_path, opened):
    seed = int(os.environ.get("SAGE_TEST_SEED", "20261126"))
    print("seed", seed)
    moments, number, put = random.Random(seed), 0, 0
    reader = opened(tmp_path)
    for _ in range(KILLS):
        said = killed_after(tmp_path, number, moments.uniform(0, 0.2))
        put += len(said)
        last = said[-1] if said else number - 1
        for batch in range(number, last + 2):
            found = whole(reader.get([f"k{batch}-{each}" for each in range(16)]))
            assert len(found) in (0, 16), "all of a put, or none"
            assert len(found) == 16 or batch != last, "what was put is there"
        number = last + 2
    assert reader.notes == ()
    assert put > KILLS, "the writers must have got somewhere for this to mean anything"


def test_a_damaged_name_is_damage_too(opened, tmp_path):
    """SQLite tells it in its error as it is, which is no text."""
    folder = tmp_path / "cache"
    first = opened(folder)
    first.put(entries(keys_of(*range(100)), SMALL))
    first.close()
    path = folder / DATABASE
    content = bytearray(path.read_bytes())
    content[200::97] = b"\xa5" * len(content[200::97])
    path.write_bytes(content)
    again = opened(folder)
    assert again.get(keys_of(*range(100))) == {}
    assert works(again)
    assert "was damaged and begins anew" in again.notes[0]
