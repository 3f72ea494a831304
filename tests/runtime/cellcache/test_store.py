"""The cell cache: what is put comes back, within its limit, for any number of threads and processes."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.cellcache.database import NAME
from sage_nb.runtime.cellcache.store import NOTED, CacheFacts, CellCache, Cleared, Entry, StageFacts

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024


def value_of(key, size=20_000):
    """What is always kept under `key` here, so that a wrong value shows itself."""
    return (key.encode() + b"|") * (size // (len(key) + 1))


def entries(keys, size=20_000, cell="answers", stage="rerank"):
    return [Entry(key, value_of(key, size), cell, stage) for key in keys]


def keys_of(*numbers):
    return [f"key-{number}" for number in numbers]


def whole(found, size=20_000):
    """The keys of `found`, all of whose values are the right ones."""
    assert all(value == value_of(key, size) for key, value in found.items())
    return sorted(found)


@pytest.fixture
def again(tmp_path):
    """Opens the same cache, as another kernel would."""
    opened = []

    def one_more(**limit):
        opened.append(CellCache(tmp_path / "cache", **limit))
        return opened[-1]

    yield one_more
    for each in opened:
        each.close()


@pytest.fixture
def cache(again):
    return again()


def test_what_is_put_comes_back_and_nothing_else(cache):
    odd = [
        Entry("empty", b"", "", ""),
        Entry("bytes", bytes(range(256)), "größe", "a\nb"),
        Entry("", b"none", "c", "s"),
    ]
    cache.put([*entries(keys_of(*range(40))), *odd])
    wanted = [*keys_of(*range(0, 80, 2)), "empty", "bytes", "", "empty"]
    found = cache.get(wanted)
    assert {found.pop(each.key) for each in odd} == {each.value for each in odd}
    assert whole(found) == sorted(keys_of(*range(0, 40, 2)))
    assert (cache.hits, cache.misses) == (23, 20)
    assert cache.get([]) == {}
    assert cache.notes == ()


def test_another_kernel_finds_it_too(cache, again):
    cache.put(entries(keys_of(1, 2)))
    other = again()
    assert whole(other.get(keys_of(1, 2, 3))) == keys_of(1, 2)
    other.put(entries(keys_of(3)))
    assert whole(cache.get(keys_of(1, 2, 3))) == keys_of(1, 2, 3)


def test_the_last_value_put_under_a_key_is_its_value(cache):
    cache.put([Entry("k", b"old", "one", "s")])
    cache.put([Entry("k", b"newer", "two", "s"), Entry("k", b"new", "two", "t")])
    assert cache.get(["k"]) == {"k": b"new"}
    assert [(each.cell, each.stage, each.bytes) for each in cache.facts().stages] == [("two", "t", 3)]


def test_the_facts_tell_of_each_stage_of_each_cell(cache):
    before = time.time()
    assert cache.facts() == CacheFacts((), cache.facts().on_disk, cache.limit, 0, 0)
    cache.put([*entries(["a", "b"], 100, stage="rerank"), *entries(["c"], 100, stage="dense")])
    cache.put(entries(["d"], 100, cell="other"))
    cache.get(["a", "d", "x"])
    facts, after = cache.facts(), time.time()
    assert [(each.cell, each.stage, each.entries, each.bytes) for each in facts.stages] == [
        ("answers", "dense", 1, 100),
        ("answers", "rerank", 2, 200),
        ("other", "rerank", 1, 100),
    ]
    assert all(before <= each.oldest <= each.last_used <= after for each in facts.stages)
    assert facts.stages[0].last_used < facts.stages[1].last_used == facts.stages[2].last_used
    assert (facts.entries, facts.hits, facts.misses) == (4, 2, 1)


def test_the_least_recently_used_values_go_when_the_limit_is_passed(cache, again):
    small = again(limit=MIB)
    favourites, later = keys_of(0, 7), []
    for number in range(150):
        later.append(f"key-{number}")
        small.put(entries(later[-1:]))
        small.get(favourites)
        assert small.facts().on_disk <= MIB
    kept = whole(small.get(later))
    assert set(favourites) <= set(kept)
    assert set(kept) == {*favourites, *later[len(later) - len(kept) + 2 :]}, "of the others, the newest"
    assert 25 <= len(kept) <= 50
    small.close()
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) < 3 * MIB


def test_small_values_keep_to_the_limit_too(cache, again):
    small = again(limit=MIB)
    for start in range(0, 9000, 1000):
        small.put(entries(keys_of(*range(start, start + 1000)), 40))
        assert small.facts().on_disk <= MIB
    assert small.facts().entries > 1000


def test_a_lower_limit_holds_from_the_next_put(cache, again):
    cache.put(entries(keys_of(*range(100))))
    small = again(limit=MIB)
    small.put(entries(["one more"]))
    assert small.facts().on_disk <= MIB
    assert whole(small.get(["one more"])) == ["one more"]


def test_a_value_too_large_for_the_limit_is_not_kept_and_that_is_said(cache, again):
    small = again(limit=MIB)
    small.put(entries(keys_of(1)))
    small.put([*entries(keys_of(2)), *entries(["large"], MIB), *entries(["large too"], MIB)])
    assert whole(small.get([*keys_of(1, 2), "large"])) == keys_of(1, 2)
    (note,) = small.notes
    assert note.startswith("a value of the stage 'rerank' is too large for the cell cache in ")


def test_what_one_kernel_used_counts_for_the_next(cache, again):
    cache.put(entries(keys_of(*range(30))))
    cache.get(keys_of(3))
    cache.close()
    small = again(limit=MIB // 4)
    small.put(entries(["last"]))
    kept = whole(small.get(keys_of(*range(30))))
    assert "key-3" in kept
    assert "key-4" not in kept


def test_uses_are_written_down_in_batches(cache, again):
    cache.put(entries(keys_of(*range(NOTED)), 10))
    (made,) = again().facts().stages
    cache.get(keys_of(*range(NOTED - 1)))
    cache.get(keys_of(0))
    assert again().facts().stages == (made,)
    cache.get(keys_of(NOTED - 1))
    assert again().facts().stages[0].last_used > made.last_used


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"cell": "a"}, ["b-x"]),
        ({"stage": "x"}, ["a-y"]),
        ({"cell": "a", "stage": "x"}, ["a-y", "b-x"]),
        ({"cell": "c"}, ["a-x", "a-y", "b-x"]),
        ({"older_than": 0}, []),
        ({"older_than": 3600}, ["a-x", "a-y", "b-x"]),
        ({}, []),
    ],
)
def test_what_is_cleared_is_what_was_chosen(cache, chosen, left):
    every = ["a-x", "a-y", "b-x"]
    for key in every:
        cache.put(entries([key], 1000, *key.split("-")))
    gone = 3 - len(left)
    assert cache.clear(**chosen) == Cleared(gone, sum(len(value_of(key, 1000)) for key in every if key not in left))
    assert whole(cache.get(every), 1000) == left
    assert cache.facts().entries == len(left)


@pytest.mark.parametrize("chosen", [{}, {"cell": "answers"}])
def test_the_room_of_what_is_cleared_goes_back_to_the_disk(cache, chosen):
    cache.put(entries(keys_of(*range(100))))
    assert cache.clear(**chosen).entries == 100
    cache.put(entries(keys_of(1)))
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) < MIB


def test_what_was_used_a_moment_ago_is_not_old(cache):
    cache.put(entries(keys_of(1, 2)))
    time.sleep(0.3)  # the clock is what is tested
    cache.get(keys_of(2))
    cache.clear(older_than=0.3)
    assert whole(cache.get(keys_of(1, 2))) in (keys_of(2), [])
    assert cache.clear(older_than=-1).entries <= 1


def test_threads_may_share_one(cache):
    def work(name):
        for number in range(10):
            keys = [f"{name}-{number}-{each}" for each in range(8)]
            cache.put(entries(keys))
            seen.append(len(whole(cache.get(keys))))

    seen = []
    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [8] * 40
    assert cache.facts().hits == 320
    assert cache.notes == ()


WORKER = """
import sys
from pathlib import Path
from sage_nb.runtime.cellcache.store import CellCache
from tests.runtime.cellcache.test_store import entries, whole
cache, name, found = CellCache(Path(sys.argv[1]), limit=int(sys.argv[2])), sys.argv[3], 0
for number in range(20):
    cache.put(entries([f"{name}-{number}-{each}" for each in range(8)]))
    cache.put(entries([f"shared-{number % 5}"]))
    whole(cache.get([f"{other}-{number}-{each}" for other in "abc" for each in range(8)]))
    found += len(whole(cache.get([f"{name}-{number}-{each}" for each in range(8)])))
    assert cache.facts().on_disk <= cache.limit
print(found, cache.notes)
"""


@pytest.mark.parametrize("limit", [4 * MIB, 64 * MIB])
def test_processes_may_share_one(again, limit):
    cache = again(limit=limit)
    command = [sys.executable, "-c", WORKER, str(cache.folder), str(limit)]
    workers = [subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE, text=True) for name in "abc"]
    said = [worker.communicate()[0].split(maxsplit=1) for worker in workers]
    assert [notes for _, notes in said] == ["()\n"] * 3
    found = [int(found) for found, _ in said]
    assert min(found) > 0
    assert found == [160] * 3 or limit == 4 * MIB, "with room for all, all are found"
    assert whole(cache.get([f"shared-{number}" for number in range(5)]))


def forked(cache, pipe):
    found = whole(cache.get(keys_of(1, 2)))
    cache.put(entries(["child"]))
    cache.close()
    pipe.send(found)


def test_a_process_that_was_forked_off_has_a_connection_of_its_own(cache):
    cache.put(entries(keys_of(1, 2)))
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=forked, args=(cache, there), daemon=True)
    with cache._held.lock:  # as if a thread were in the middle of a call
        child.start()
    assert here.poll(60)
    assert here.recv() == keys_of(1, 2)
    child.join()
    cache.put(entries(keys_of(3)))
    assert whole(cache.get([*keys_of(1, 2, 3), "child"])) == ["child", *keys_of(1, 2, 3)]
    assert cache.notes == ()


def test_it_is_shipped_as_its_folder_and_limit(cache, again):
    cache.put(entries(keys_of(1)))
    other = pickle.loads(pickle.dumps(again(limit=5 * MIB)))  # noqa: S301  our own bytes, just made
    assert (other.limit, whole(other.get(keys_of(1)))) == (5 * MIB, keys_of(1))
    other.close()


def test_a_limit_of_nothing_is_refused(tmp_path):
    with pytest.raises(BadValueError, match="a cell cache needs a limit of 1 byte or more, got 0"):
        CellCache(tmp_path, limit=0)


def test_a_closed_one_opens_again(cache):
    cache.put(entries(keys_of(1)))
    cache.close()
    cache.close()
    assert whole(cache.get(keys_of(1))) == keys_of(1)
    assert (cache.folder / NAME).exists()
    assert isinstance(cache.facts().stages[0], StageFacts)
