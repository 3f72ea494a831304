"""`sage-nb bench memory`: a first search in processes of their own, memory, and cost against size."""

from __future__ import annotations

import json

from sage_nb.cli.bench_memory import _searched, forget, made_up
from sage_nb.cli.main import main


def test_it_opens_a_collection_in_new_processes_and_searches_growing_ones(tmp_path, capsys):
    assert main(["bench", "memory", "--repeats", "1", "--scale", "0.001", "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("memory-*.json")
    figures = {each["figure"]: each for each in json.loads(written.read_text())["figures"]}
    first = figures["first search of 100 passages"]
    assert (first["median"] > 0, first["bar"]) == (True, 300.0)
    assert figures["memory over vectors and postings"]["bar"] == 1.3
    for kind in ("hnsw", "ivfpq"):
        for size in (20, 30, 100, 300):
            assert 0 < figures[f"{kind}, {size} passages: Recall@10 of exact search"]["median"] <= 1
    assert sum("growth" in name for name in figures) == 6  # three sizes beyond the first, of each kind
    assert "ms" in capsys.readouterr().out


def test_recall_is_of_exact_search_on_the_same_questions():
    points = made_up(205)
    took, exact, recall = _searched(points[5:], points[:5], "flat", 2)
    assert (recall, len(took), len(exact)) == (1.0, 2, 2)


def test_forgetting_leaves_files_as_they_are(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "kept").write_text("whole")
    forget(tmp_path)
    assert (tmp_path / "below" / "kept").read_text() == "whole"


def test_it_refuses_a_scale_of_nothing(capsys):
    assert main(["bench", "memory", "--scale", "0"]) == 2
    assert "a scale in (0, 1], got 5 and 0" in capsys.readouterr().err
