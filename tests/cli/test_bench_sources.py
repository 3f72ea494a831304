"""`sage-nb bench sources`: what it measures is written with the figures of each way."""

from __future__ import annotations

import gzip
import json

from sage_nb.cli.main import main

TEXTS = {
    "a1": ("ants", "Ants carry leaves to their nest."),
    "a2": ("ants", "Ants follow the scent of others."),
    "b1": ("bees", "Bees dance to tell where flowers are."),
    "b2": ("bees", "Bees carry pollen to their hive."),
}


def packed(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_it_compares_sources_with_the_merged_collection(tmp_path, capsys):
    packed(tmp_path / "docs.jsonl.gz", [{"id": i, "text": text, "source": s} for i, (s, text) in TEXTS.items()])
    asked = {"a1": "what do ants carry?", "b1": "why do bees dance?", "b2": "what do bees carry?"}
    packed(tmp_path / "pairs.jsonl.gz", [{"id": name, "query": text} for name, text in asked.items()])
    assert main(["bench", "sources", str(tmp_path), "--out", str(tmp_path / "out"), "--questions", "2"]) == 0
    (written,) = (tmp_path / "out").glob("sources-*.json")
    rows = json.loads(written.read_text())["rows"]
    assert [(row["retriever"], row["way"]) for row in rows] == [
        (retriever, way)
        for retriever in ("lexical", "dense", "hybrid")
        for way in ("merged", "pooled", "zscore", "rrf")
    ]
    assert all(float(row["nDCG@10"]) == 1.0 for row in rows if row["way"] in ("merged", "pooled"))
    assert "nDCG@10" in capsys.readouterr().out


def test_it_refuses_to_ask_nothing(tmp_path, capsys):
    assert main(["bench", "sources", str(tmp_path), "--questions", "0"]) == 2
    assert "bench sources needs 1 question and document or more, got 0 and 4000" in capsys.readouterr().err
