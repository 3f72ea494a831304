"""Vectors: exact search is brute force, the approximate kinds are measured against it."""

from __future__ import annotations

import numpy as np
import pytest

from sage_nb.errors import BadValueError, CollectionError, UnknownNameError
from sage_nb.index.dense import DenseReader, check_vectors, write_vectors


def clustered(rows: int, width: int = 32) -> np.ndarray:
    noise = np.random.default_rng(3)
    vectors = noise.normal(size=(20, width))[noise.integers(0, 20, rows)] + 0.4 * noise.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(vectors, queries, k, allowed=None):
    scores = queries @ vectors.T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


@pytest.fixture
def vectors():
    return clustered(3000)


def test_flat_search_is_brute_force(tmp_path, vectors):
    reader = DenseReader(tmp_path, write_vectors(tmp_path, vectors, "flat"))
    queries = 5 * vectors[:7]  # not unit length on purpose
    scores, rows = reader.search(queries, 10, None)
    assert rows.tolist() == brute_force(vectors, queries, 10).tolist()
    np.testing.assert_allclose(scores[:, 0], 5, atol=1e-4)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_filter_is_applied_before_the_best_are_taken(tmp_path, vectors, kind, share):
    reader = DenseReader(tmp_path, write_vectors(tmp_path, vectors, kind))
    allowed = np.random.default_rng(1).random(len(vectors)) < share
    _, rows = reader.search(vectors[:20], 10, allowed)
    assert allowed[rows].all()
    truth = brute_force(vectors, vectors[:20], 10, allowed)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
    assert recall >= 0.9


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("k", [10, 100])
def test_a_filter_that_leaves_out_what_is_near_still_gives_the_best_k(tmp_path, vectors, kind, k):
    reader = DenseReader(tmp_path, write_vectors(tmp_path, vectors, kind))
    near = (vectors @ vectors[0]) > 0.3  # a whole neighbourhood
    _, rows = reader.search(vectors[:1], k, ~near)
    truth = brute_force(vectors, vectors[:1], k, ~near)
    assert near.sum() > 2 * k
    assert len(set(rows[0].tolist()) & set(truth[0].tolist())) >= 0.95 * k
    assert not near[rows].any()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_a_filter_that_leaves_fewer_than_k_gives_those(tmp_path, vectors, kind):
    reader = DenseReader(tmp_path, write_vectors(tmp_path, vectors, kind))
    allowed = np.arange(len(vectors)) < 3
    _, rows = reader.search(vectors[:2], 10, allowed)
    assert [set(each.tolist()) for each in rows] == [{0, 1, 2, -1}] * 2


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_the_recall_shown_is_reached(tmp_path, vectors, kind):
    facts = write_vectors(tmp_path, vectors, kind)
    assert facts.kind == kind
    assert facts.recall >= 0.95
    _, rows = DenseReader(tmp_path, facts).search(vectors[:100], 10, None)
    truth = brute_force(vectors, vectors[:100], 10)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
    assert found == pytest.approx(facts.recall, abs=0.06)


def test_vectors_come_back_as_they_were(tmp_path, vectors):
    reader = DenseReader(tmp_path, write_vectors(tmp_path, vectors, "ivfpq"))
    np.testing.assert_array_equal(reader.vectors(), vectors)
    np.testing.assert_array_equal(reader.vectors(np.array([5, 2])), vectors[[5, 2]])


def test_a_bad_vector_is_named():
    vectors = np.ones((2, 3), np.float32)
    check_vectors(vectors, 3, ["a", "b"])
    with pytest.raises(BadValueError, match=r"expected vectors of shape \(2, 4\), got \(2, 3\); use the model"):
        check_vectors(vectors, 4, ["a", "b"])
    vectors[1, 0] = np.nan
    with pytest.raises(
        BadValueError, match="the vector of 'b' holds NaN or infinity .1 such.; check the model's dtype"
    ):
        check_vectors(vectors, 3, ["a", "b"])


def test_an_unknown_kind_is_named(tmp_path, vectors):
    with pytest.raises(UnknownNameError, match="unknown dense index 'hsnw'; did you mean 'hnsw'"):
        write_vectors(tmp_path, vectors, "hsnw")


def test_a_damaged_index_is_named(tmp_path, vectors):
    facts = write_vectors(tmp_path, vectors, "flat")
    (tmp_path / "flat.faiss").write_bytes(b"nonsense")
    with pytest.raises(CollectionError, match="flat.faiss is damaged .FAISS cannot read it.; restore"):
        DenseReader(tmp_path, facts)
