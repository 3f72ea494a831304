"""On actors the levels are what they are here."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.runtime.ray.environment import RayEnvironment
from tests.retrieval.laws import QUESTIONS
from tests.retrieval.test_hierarchical import tales


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster):
    """Every test here wants it."""


def test_hierarchical_retrieval_answers_record_for_record_as_here(tmp_path):
    book = sage.Collection(str(tmp_path / "book"), encoder=None)
    book.add(tales(), progress=False)
    pipe = book.hierarchical(6, merge=0.4, expand="neighbours")
    here = pipe.run(QUESTIONS)
    there = pipe.run(QUESTIONS, env=RayEnvironment("levels", parallelism=2))
    assert there.results == here.results
    assert any(result.hits for result in here.results)


def test_a_collection_in_shards_is_refused(tmp_path):
    book = sage.Collection(str(tmp_path / "book"), encoder=None)
    book.add(tales(), progress=False)
    with book.sharded(2) as shards, pytest.raises(BadValueError, match="hierarchical.. wants a whole collection and"):
        shards.hierarchical(3, coarse=shards.lexical(3), fine=shards.lexical(3))
