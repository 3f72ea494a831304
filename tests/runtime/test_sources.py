"""Sources: splits read in turn and shared out, slow ones that keep no record back, ones that have nothing just now."""

from __future__ import annotations

import json
import threading
import time

import pytest

import sage_nb as sage
from tests.runtime.jobs import Paced, clicks, finished, multiset, ran, until


@pytest.mark.parametrize("parallelism", [1, 2, 3, 5])
def test_splits_are_shared_out_among_the_subtasks(parallelism):
    data = [clicks(20, name=name) for name in "abc"]
    rows, _ = ran(lambda env: env.from_source(Paced(*data, rest=0), parallelism=parallelism))
    assert multiset(rows) == multiset(record for split in data for record in split)
    for split in data:
        mine = [record for record in rows if record["key"][0] == split[0]["key"][0]]
        assert mine == split  # in its order


@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_list_is_dealt_out_and_each_item_read_once(parallelism):
    rows, _ = ran(lambda env: env.from_collection(list(range(100)), parallelism=parallelism))
    assert sorted(rows) == list(range(100))


@pytest.mark.parametrize("items", [(1, 2), range(3), {"a": 1}.keys(), iter([1, 2]), lambda: [1, 2], lambda: iter("ab")])
def test_collections_of_all_kinds_are_read(items):
    expected = list(items()) if callable(items) else [1, 2] if not hasattr(items, "__len__") else list(items)
    assert ran(lambda env: env.from_collection(items))[0] == expected


def test_files_are_splits(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(f"{name}{n}") + "\n" for n in range(3)))
    read = lambda path: map(json.loads, path.read_text().splitlines())  # noqa: E731
    rows, _ = ran(lambda env: env.from_files(tmp_path / "*.jsonl", read, parallelism=2))
    assert sorted(rows) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_files_that_are_not_there_are_said(tmp_path):
    env = sage.LocalEnvironment("files")
    env.from_files(tmp_path / "*.none", name="pages").for_each(abs)
    with pytest.raises(sage.BadValueError, match=r"operator 'pages': no file matches .*\*\.none'; look at the folder"):
        env.submit().wait(60)


def test_a_source_that_grows_slow_does_not_keep_its_records():
    seen, go_on = [], threading.Event()

    class Tiring(sage.SourceFunction):
        def read(self, split, start):
            yield from range(1000)
            for n in range(1000, 1003):
                time.sleep(0.02)
                yield n
            while not go_on.is_set():
                yield sage.IDLE

    env = sage.LocalEnvironment("tiring")
    env.from_source(Tiring()).for_each(seen.append)
    job = env.submit()
    try:
        until(lambda: len(seen) == 1003)
        assert job.status == "running"
    finally:
        go_on.set()
    assert job.wait(60) == "finished"


def test_an_idle_source_lets_checkpoints_be_taken(tmp_path):
    go_on = threading.Event()

    class Waiting(sage.SourceFunction):
        def read(self, split, start):
            while not go_on.wait(0.001):
                yield sage.IDLE

    env = sage.LocalEnvironment("waiting", checkpoint=sage.Checkpointing(str(tmp_path), every=0.01))
    env.from_source(Waiting()).for_each(abs)
    job = env.submit()
    try:
        until(lambda: len(job.metrics().checkpoints) >= 2)
    finally:
        go_on.set()
    assert job.wait(60) == "finished"


def test_a_source_that_fails_is_read_on_from_where_it_was(tmp_path):
    class Breaking(sage.SourceFunction):
        def __init__(self):
            self.due, self.starts = [30, 60], []

        def __deepcopy__(self, memo):
            return self

        def read(self, split, start):
            self.starts.append(start)
            for n in range(start, 100):
                if n in self.due:
                    self.due.remove(n)
                    raise ConnectionError("away")
                yield n

    source, rows = Breaking(), []
    env = sage.LocalEnvironment("breaking", restart=sage.FixedDelay(5, 0.0))
    env.from_source(source).sink(sage.CollectSink(rows))
    job = finished(env)
    assert (rows, job.restarts, source.starts[0]) == (list(range(100)), 2, 0)
