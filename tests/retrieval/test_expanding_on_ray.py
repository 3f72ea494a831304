"""On actors, and in shards, questions are expanded, dealt out and asked again as here."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.models.generator import GENERATORS
from sage_nb.runtime.ray.environment import RayEnvironment
from tests.retrieval.laws import animals
from tests.retrieval.test_iterative import QUESTIONS, films, reached
from tests.retrieval.test_variants import neighbours

__all__ = ["films"]


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster, monkeypatch):
    """Every test here wants it; the generator is registered in this process only."""
    monkeypatch.setitem(GENERATORS, "neighbours", neighbours)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return animals(tmp_path_factory.mktemp("collections"))


ASKED = {"a": "ant and bee", "b": "gnu", "c": "nobody"}


@pytest.mark.parametrize(
    "make",
    [
        lambda view: view.lexical(3) >> sage.rm3(docs=3, terms=4) >> view.lexical(5),
        lambda view: sage.multi_query(view.lexical(3), "neighbours", n=2),
        lambda view: sage.hyde("neighbours") >> sage.decompose(view.lexical(3), "neighbours", n=2) % 4,
    ],
    ids=["rm3", "multi_query", "decompose"],
)
def test_a_pipeline_that_expands_its_questions_answers_as_here(book, make):
    here = make(book).run(ASKED).results
    assert make(book).run(ASKED, env=RayEnvironment("asked", parallelism=2)).results == here
    assert here[0].hits


def test_rounds_go_round_on_actors_as_here(films):
    pipe = sage.iterative(films.lexical(3))
    here = pipe.run(QUESTIONS).results
    assert pipe.run(QUESTIONS, env=RayEnvironment("asked", parallelism=2)).results == here
    assert reached(here) == (8, 8)


def test_a_collection_in_shards_takes_weighted_terms_as_the_whole(book):
    with book.sharded(2) as shards:
        for make in (
            lambda view: view.lexical(3) >> sage.rm3(docs=3, terms=4) >> view.lexical(50),
            lambda view: view.lexical(3) >> sage.rm3(terms=4) >> view.lexical(50, variant="plus"),
        ):
            assert make(shards).run(ASKED).results == make(book).run(ASKED).results
