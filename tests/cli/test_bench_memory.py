"""`sage-nb bench memory`: a first search in processes of their own, memory, and cost against size."""

from __future__ import annotations

import json

import numpy as np

from sage_nb.cli.bench_memory import _bytes_of_index, _searched
from sage_nb.cli.main import main
from sage_nb.cli.synthetic import ENCODER, MadeUp, passages
from sage_nb.retrieval.collection import Collection


def test_it_opens_a_collection_in_new_processes_and_searches_growing_ones(tmp_path, capsys):
    assert main(["bench", "memory", "--repeats", "1", "--scale", "0.001", "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("memory-*.json")
    figures = {each["figure"]: each for each in json.loads(written.read_text())["figures"]}
    assert figures["first search of 100 passages"]["median"] > 0
    assert figures["first search of 100 passages"]["bar"] == 300.0
    assert figures["memory held, over vectors + postings"]["bar"] == 1.3
    for kind in ("hnsw", "ivfpq"):
        for size in ("20", "30", "100", "300"):
            assert 0 < figures[f"{kind}, {size} passages: Recall@10 of exact search"]["median"] <= 1
    assert sum("growth" in name for name in figures) == 6  # three sizes beyond the first, of each kind
    assert "ms" in capsys.readouterr().out


def test_vectors_and_postings_are_counted_and_nothing_else(tmp_path):
    book = Collection(tmp_path / "book", encoder=ENCODER)
    book.add(passages(3), progress=False)
    files = {path.name: path.stat().st_size for path in (tmp_path / "book" / "segments").glob("*/*")}
    lexical = ("terms.arrow", "starts.npy", "rows.npy", "frequencies.npy", "lengths.npy")
    assert _bytes_of_index(tmp_path / "book") == 3 * 384 * 4 + sum(files[name] for name in lexical)
    assert "documents.arrow" in files  # whose text is no part of it


def test_recall_is_of_exact_search_on_the_same_questions():
    made = MadeUp()
    vectors, questions = made.encode([f"p{n}" for n in range(200)]), made.encode([f"q{n}" for n in range(5)])
    took, exact, recall = _searched(vectors, questions, "flat", 2)
    assert recall == 1.0
    assert len(took) == len(exact) == 2
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_it_refuses_a_scale_of_nothing(capsys):
    assert main(["bench", "memory", "--scale", "0"]) == 2
    assert "a scale in (0, 1], got 5 and 0" in capsys.readouterr().err
