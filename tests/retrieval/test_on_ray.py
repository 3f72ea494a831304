"""On actors a pipeline answers as it does here, and a collection takes the same documents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import sage_nb as sage
from sage_nb.records.chunk import Chunker
from sage_nb.runtime.ray.environment import RayEnvironment
from tests.retrieval.logged import Log
from tests.runtime.jobs import until

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
DOCUMENTS = [
    sage.Document(
        f"d{n}", f"The {WORDS[n % 8]} met the {WORDS[(n // 8) % 8]} at {WORDS[(3 * n) % 8]} hill {n % 5} times."
    )
    for n in range(120)
]
CUT = Chunker(6, overlap=0)
QUESTIONS = [f"{one} and {other}" for one in WORDS for other in WORDS[:3]]


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster):
    """Every test here wants it."""


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_pipeline_answers_record_for_record_as_here(tmp_path, parallelism):
    collection = sage.Collection(str(tmp_path), encoder=None)
    collection.add(DOCUMENTS, progress=False)
    pipe = (collection.lexical(20) + 2 * collection.lexical(5)) % 7
    here = pipe.run(QUESTIONS)
    there = pipe.run(QUESTIONS, env=RayEnvironment("asked", parallelism=parallelism))
    assert there.results == here.results
    assert len(here.results) == len(QUESTIONS)
    assert all(result.hits for result in here.results)


def filled(folder, encoder, **how):
    collection = sage.Collection(str(folder), encoder=encoder)
    added = collection.add(DOCUMENTS, progress=False, chunk=CUT, **how)
    return collection, added


def scores(pipe, question):
    """Of every document that is found, by its id: those of equal scores have no order of their own."""
    return {hit.document.id: hit.score for hit in pipe.search(question).hits}


@pytest.mark.parametrize("encoder", [None, "bundled"])
def test_a_collection_takes_the_same_documents_in_and_finds_the_same(tmp_path, encoder):
    here, local = filled(tmp_path / "here", encoder)
    there, remote = filled(tmp_path / "there", encoder, env=RayEnvironment("add"), parallelism=2)
    counts = [(each.added, each.replaced, each.unchanged, each.passages, each.skipped) for each in (local, remote)]
    assert counts[0] == counts[1]
    assert counts[0][0] == len(DOCUMENTS)
    assert sorted(there.documents(), key=lambda each: each.id) == sorted(here.documents(), key=lambda each: each.id)
    for question in QUESTIONS[:5]:
        assert scores(there.lexical(1000), question) == pytest.approx(scores(here.lexical(1000), question))
        if encoder:
            assert scores(there.dense(1000), question) == pytest.approx(scores(here.dense(1000), question), abs=1e-5)


def test_documents_that_are_there_already_cost_nothing_on_actors_too(tmp_path):
    collection, _ = filled(tmp_path, None)
    again = collection.add(DOCUMENTS, progress=False, chunk=CUT, env=RayEnvironment("add"))
    assert (again.added, again.unchanged) == (0, len(DOCUMENTS))


COUNT = 3000  # documents: the first half is several commits


def adding(cluster, folder):
    """A process that adds them on two actors of the cluster."""
    address = cluster.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "tests.retrieval.logged", address, str(folder), str(COUNT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def committed(folder):
    """The ids of what the collection holds."""
    return [document.id for document in sage.Collection(folder / "ants", encoder="logged").documents()]


def gone(pid):
    """Whether the process of an actor has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_add_on_actors_whose_driver_is_killed_half_way_goes_on_and_holds_each_document_once(cluster, tmp_path):
    log = Log(tmp_path / "log", COUNT // 2)
    log.folder.mkdir()
    driver = adding(cluster, tmp_path)
    until(lambda: len(committed(tmp_path)) > 0 and len(log.read()) == 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    first = log.read()
    assert driver.pid not in first, "they are embedded on two actors"
    until(lambda: all(map(gone, first)))
    before = committed(tmp_path)
    assert 0 < len(before) < COUNT
    for file in log.folder.glob("pid-*"):
        file.unlink()
    (log.folder / "go").touch()
    last = adding(cluster, tmp_path)
    said, _ = last.communicate(timeout=200)
    assert said.splitlines()[-1] == f"added {COUNT - len(before)} unchanged {len(before)}"
    second = log.read()
    assert len(second) == 2
    assert last.pid not in second
    again = sorted(each for ids in second.values() for each in ids)
    assert again == sorted({f"d{n}" for n in range(COUNT)} - set(before))
    assert sorted(committed(tmp_path)) == sorted(f"d{n}" for n in range(COUNT))


def test_models_of_ones_own_are_known_on_actors(tmp_path, monkeypatch):
    """They are registered in this process only."""
    from sage_nb.models.registry import CROSS_ENCODERS, ENCODERS

    class Letters:
        name, dimension, fingerprint, truncated = "own letters", 4, "1", 0

        def encode(self, texts):
            import numpy as np

            counts = np.array([[1 + text.count(each) for each in "aeio"] for text in texts], np.float32)
            return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    class Length:
        name, fingerprint, truncated = "own length", "1", 0

        def score(self, pairs):
            import numpy as np

            return np.array([len(passage) for _, passage in pairs], np.float32)

    monkeypatch.setitem(ENCODERS, "own letters", Letters)
    monkeypatch.setitem(CROSS_ENCODERS, "own length", Length)
    collection = sage.Collection(str(tmp_path), encoder="own letters")
    assert collection.add(DOCUMENTS, progress=False, env=RayEnvironment("add")).added == len(DOCUMENTS)
    pipe = collection.hybrid(20) >> sage.rerank(5, model="own length")
    assert pipe.run(QUESTIONS, env=RayEnvironment("asked")).results == pipe.run(QUESTIONS).results
