"""`sage-nb bench lexical`: its figures are written; bm25s, which is installed here, gives the same scores."""

from __future__ import annotations

import json
import sys

from sage_nb.cli.bench_lexical import _unlike
from sage_nb.cli.main import main


def measured(folder, *options):
    given = ["--documents", "200", "--questions", "5", "--repeats", "1", "--out", str(folder)]
    assert main(["bench", "lexical", *given, *options]) == 0
    (written,) = folder.glob("lexical-*.json")
    figures = json.loads(written.read_text())["figures"]
    return {each["figure"]: each["values"][0] for each in figures}


def test_with_peers_it_compares_speeds_and_scores(tmp_path, capsys):
    figures = measured(tmp_path, "--peers", sys.executable)
    for name in ("bm25s", "rank_bm25"):
        for way in ("alone", "a stream"):
            expected = figures[f"sage-nb: {way}"] / figures[f"{name}: {way}"]
            assert figures[f"sage-nb to {name}: {way}"] == expected
    assert figures["top 10 whose scores are not bm25s's"] == 0
    assert figures["adding 1% against building"] > 0
    assert "left out" not in capsys.readouterr().out


def test_without_peers_it_measures_what_is_here(tmp_path, capsys):
    figures = measured(tmp_path)
    assert "sage-nb: alone" in figures
    assert not any("bm25s" in name for name in figures)
    assert "peers are left out (bm25s, rank_bm25)" in capsys.readouterr().out


def test_other_scores_are_noticed():
    ours = {"q1": [2.0, 1.0], "q2": [3.0]}
    assert _unlike(ours, {"q1": [("a", 2.0), ("b", 1.0)], "q2": [("a", 3.0), ("b", 0.0)]}) == 0
    assert _unlike(ours, {"q1": [("a", 2.0), ("b", 1.1)], "q2": [("a", 3.0), ("b", 0.5)]}) == 2


def test_it_refuses_too_few_documents(capsys):
    assert main(["bench", "lexical", "--documents", "99"]) == 2
    assert "bench lexical needs 100 documents" in capsys.readouterr().err
