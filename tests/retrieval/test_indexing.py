"""Adding as a stream: killed at any moment it goes on from its last commit, and a collection may end a stream."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sage_nb as sage
from sage_nb.errors import CollectionError
from sage_nb.index.folder import IndexFolder
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.context import LocalContext
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from tests.runtime.jobs import CrashAt, Once, Paced, finished

ROOT = Path(__file__).parents[2]
DOCUMENTS, KILLS = 4000, 8
ADDER = """
import sys, time
import numpy as np
import sage_nb as sage

@sage.encoder("logging")
class Logging:
    name, dimension, fingerprint, truncated = "logging", 4, "1", 0

    def encode(self, texts):
        time.sleep(0.005)
        with open(sys.argv[2], "a") as log:
            log.write("".join(text.split()[0] + "\\n" for text in texts))
        return np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(texts), 1))

collection = sage.Collection(sys.argv[1], encoder="logging")
documents = [sage.Document(f"d{n}", f"d{n} is about ants") for n in range(int(sys.argv[3]))]
report = collection.add(documents, progress=False)
print(report.added, report.unchanged, flush=True)
"""


def adding(folder, log):
    command = [sys.executable, "-c", ADDER, str(folder), str(log), str(DOCUMENTS)]
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=path, stdout=subprocess.PIPE, text=True)


def killed_behind(process, log, texts):
    """Kill -9 at about the moment when so many texts have been embedded."""
    while len(embedded(log)) < texts and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def committed(folder):
    return {document.id for document in sage.Collection(folder).documents()}


def embedded(log):
    return log.read_text().split() if log.exists() else []


def test_an_add_that_is_killed_embeds_nothing_again_that_was_committed(tmp_path):
    folder, seed = tmp_path / "ants", int(os.environ.get("SAGE_TEST_SEED", "7"))
    print("seed", seed)
    moments, before, growth = random.Random(seed), set(), 0
    for kill in range(KILLS):
        log = tmp_path / f"log{kill}"
        killed_behind(adding(folder, log), log, moments.randint(1, 900))
        again = before & set(embedded(log)[:-1])
        assert again == set()
        after = committed(folder)
        assert before <= after
        growth += len(after) > len(before)
        before = after
    assert growth, "some run must have committed something for this to mean anything"
    process = adding(folder, tmp_path / "log")
    said, _ = process.communicate(timeout=120)
    assert said.split() == [str(DOCUMENTS - len(before)), str(len(before))]
    assert not before & set(embedded(tmp_path / "log"))
    assert committed(folder) == {f"d{n}" for n in range(DOCUMENTS)}
    assert len(sage.Collection(folder)) == DOCUMENTS


def numbered(count):
    return [{"key": n, "n": n, "time": float(n)} for n in range(count)]


def document(record):
    return sage.Document(f"d{record['n']}", f"number {record['n']} of the ants")


@pytest.mark.parametrize("at", [0, 60, 99])
def test_a_stream_that_fails_leaves_each_document_once_in_its_collection(tmp_path, at):
    collection = sage.Collection(tmp_path / "ants", encoder=None)
    checkpoint = Checkpointing(str(tmp_path / "checkpoints"), every=0.005)
    env = LocalEnvironment("index", checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    fails_once = Once(lambda record: record["n"] == at)
    env.from_source(Paced(numbered(100))).map(fails_once, on_error="fail").map(document).sink(collection.sink())
    job = env.submit()
    assert job.wait(60) == "finished"
    assert job.restarts == 1
    assert sorted(each.id for each in collection.documents()) == sorted(f"d{n}" for n in range(100))


@pytest.mark.parametrize("point", ["before manifest", "after manifest", "notify"])
def test_a_collection_holds_each_document_once_wherever_its_job_fails(tmp_path, point):
    collection = sage.Collection(tmp_path / "ants", encoder=None)
    checkpoint = Checkpointing(str(tmp_path / "checkpoints"), every=0.005)
    env = LocalEnvironment("index", parallelism=2, checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    env.probe = probe = CrashAt(point=point, nth=2)
    env.from_source(Paced(numbered(100), hold=probe.hold)).map(document).sink(collection.sink())
    assert finished(env).restarts == 1
    assert sorted(each.id for each in collection.documents()) == sorted(f"d{n}" for n in range(100))
    assert len(sage.Collection(tmp_path / "ants")) == 100


def test_what_waits_to_be_committed_and_comes_again_counts_once(tmp_path):
    """So it is for a sink that survives the failure of another task, and goes back to the last checkpoint."""
    collection = sage.Collection(tmp_path / "ants", encoder=None)
    sink = collection.sink()
    sink.open(LocalContext())
    for text in ("one", "one", "two"):
        sink.write_batch([sage.Document("a", text), sage.Document("b", "other")])
    sink.flush()
    assert sorted((each.id, each.text) for each in collection.documents()) == [("a", "two"), ("b", "other")]


def test_a_stream_into_a_collection_embeds_it_and_keeps_what_is_no_document_aside(tmp_path):
    collection = sage.Collection(tmp_path / "mixed")
    env = LocalEnvironment("index")
    items = [
        sage.Document("lock", "A lock lets one thread in."),
        "text",
        sage.Document("void", " "),
        sage.Document("w", "A window."),
    ]
    env.from_collection(items).sink(collection.sink(chunk=sage.chunk(50, overlap=0)))
    job = env.submit()
    assert job.wait(60) == "finished"
    assert collection.dense(1).search("mutual exclusion").hits[0].document.parent == "lock"
    assert len(collection) == 2
    said = {letter.error.partition(", got")[0] for letter in job.dead_letters}
    assert said == {"BadValueError: a collection takes Documents with a text"}
    assert len(job.dead_letters) == 2


def test_what_came_before_a_documents_error_is_kept(tmp_path):
    def documents():
        yield sage.Document("first", "an ant")
        raise OSError("the disk is gone")

    collection = sage.Collection(tmp_path / "c", encoder=None)
    with pytest.raises(OSError, match="the disk is gone"):
        collection.add(documents(), progress=False)
    assert [each.id for each in collection.documents()] == ["first"]


def test_adding_in_parallel_adds_the_same(tmp_path):
    documents = [document(record) for record in numbered(300)]
    one, many = (sage.Collection(tmp_path / name) for name in ("one", "many"))
    one.add(documents, progress=False)
    report = many.add(documents, progress=False, parallelism=3)
    assert report.added == 300
    assert one.snapshot_id == many.snapshot_id


def test_the_progress_bar_tells_documents_and_their_number(tmp_path, capsys):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    collection.add([document(record) for record in numbered(700)])
    assert "700/700" in capsys.readouterr().err


class FullOnce:
    """A disk that is full the first time that something is committed."""

    def __init__(self, monkeypatch):
        self.times, commit = 0, IndexFolder.commit

        def failing(folder, *arguments):
            self.times += 1
            if self.times == 1:
                raise CollectionError("no room on the disk; make some")
            return commit(folder, *arguments)

        monkeypatch.setattr(IndexFolder, "commit", failing)


def test_an_add_whose_commit_fails_says_so_and_goes_on_when_it_is_run_again(tmp_path, monkeypatch):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    documents = [document(record) for record in numbered(1500)]
    FullOnce(monkeypatch)
    with pytest.raises(CollectionError, match="no room on the disk; make some"):
        collection.add(documents, progress=False)
    collection.add(documents, progress=False)
    assert len(collection) == 1500


def test_a_stream_whose_collection_could_not_commit_goes_back_and_loses_nothing(tmp_path, monkeypatch):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    env = LocalEnvironment("index", checkpoint=str(tmp_path / "ckpt"), restart=FixedDelay(3, 0.0))
    env.from_collection(numbered(1500)).map(document).sink(collection.sink())
    FullOnce(monkeypatch)
    job = env.submit()
    assert job.wait(60) == "finished"
    assert job.restarts == 1
    assert len(collection) == 1500
