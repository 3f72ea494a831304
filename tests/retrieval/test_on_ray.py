"""On actors a pipeline answers as it does here, and a collection takes the same documents."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.records.chunk import Chunker
from sage_nb.runtime.ray.environment import RayEnvironment

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
