"""On actors a ranking is refined, calibrated and reranked as it is here."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.models.generator import GENERATORS
from sage_nb.models.registry import CROSS_ENCODERS, ENCODERS
from sage_nb.runtime.ray.environment import RayEnvironment
from tests.retrieval.laws import QUESTIONS, animals


class Vowels:
    """An encoder that counts vowels."""

    name, dimension, fingerprint, truncated = "vowels", 5, "1", 0

    def encode(self, texts):
        import numpy as np

        counts = np.array([[0.1 + text.lower().count(each) for each in "aeiou"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


class Length:
    """A scorer that likes long passages."""

    name, fingerprint, truncated = "length", "1", 0

    def score(self, pairs):
        import numpy as np

        return np.array([len(passage) for _, passage in pairs], np.float32)


def eels(conversation):
    """Grades by the number of eels; a text that is no grade where there are many."""
    return str(5 * conversation[-1].content.count("eel"))


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_refined_ranking_is_the_same_on_actors(cluster, tmp_path, monkeypatch, parallelism):
    monkeypatch.setitem(ENCODERS, "vowels", Vowels)
    monkeypatch.setitem(CROSS_ENCODERS, "length", Length)
    monkeypatch.setitem(GENERATORS, "eels", eels)
    book = animals(tmp_path)
    pipe = (
        sage.fuse(book.lexical(20), book.lexical(9, variant="plus"), by="condorcet")
        >> sage.dedup(0.6)
        >> sage.rerank(k=12, model="length", top=8)
        >> sage.rerank(k=12, model="length", budget=1e9)
        >> sage.llm_rerank("eels", k=10, top=6)
        >> sage.mmr(8, encoder="vowels")
        >> sage.calibrate(points=((0.0, 0.1), (1.0, 0.9)))
        >> sage.min_score(0.1)
        >> sage.compress(60, encoder="vowels")
        >> sage.reorder()
    )
    here = pipe.run(QUESTIONS).results
    assert any(result.missing for result in here)
    assert any(len(result.hits) > 3 for result in here)
    assert pipe.run(QUESTIONS, env=RayEnvironment("refined", parallelism=parallelism)).results == here
