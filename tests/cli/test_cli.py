"""The shell's commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sage_nb.cli.main import main
from sage_nb.records.beir import Beir, write_beir
from sage_nb.records.values import Document, Query


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_doctor_tells_the_dtype_and_the_versions(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for word in ("models run on", "torch", "faiss-cpu", "weights checked", "home"):
        assert word in shown


def test_index_then_search(home, capsys):
    (home / "a.md").write_text("# Locks\nOne thread at a time.")
    (home / "b.md").write_text("# Windows\nThey slide.")
    assert main(["index", "notes", str(home / "*.md")]) == 0
    assert main(["search", "notes", "mutual exclusion", "-k", "1"]) == 0
    assert "Locks" in capsys.readouterr().out


def test_a_mistake_is_one_sentence_on_stderr(capsys):
    assert main(["index", "notes", "nowhere/*.md"]) == 2
    seen = capsys.readouterr()
    assert seen.err.startswith("sage-nb: ")
    assert "nowhere/*.md" in seen.err
    assert seen.err.count("\n") == 1


def test_bench_quality_measures_a_folder(home, capsys):
    folder = home / "small"
    folder.mkdir()
    texts = {"a": "a lock for threads", "b": "a sliding window"}
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    (folder / "docs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"id": "q", "text": "lock"}) + "\n")
    (folder / "qrels.tsv").write_text("q\ta\t1\n")
    assert main(["bench", "quality", str(folder)]) == 0
    (written,) = (home / "bench").glob("quality-*.json")
    rows = json.loads(written.read_text())["rows"]
    ways = ("bm25", "dense", "rrf", "default")
    assert [(row["pipeline"], row["nDCG@10"]) for row in rows] == [(n, "1.0000") for n in ways]
    assert [(row["against"], row["difference"], row["p"]) for row in rows[2:]] == [
        ("default to rrf", "+0.0000", "1.0000"),
        ("default to bm25", "+0.0000", "1.0000"),
    ]
    assert "bm25" in capsys.readouterr().out


def test_bench_quality_asks_about_the_second_half_where_it_is_told_to(home):
    documents = [Document(f"d{n}", text) for n, text in enumerate(("rain", "snow", "wind", "hail"))]
    folder = home / "weather"
    asked = (Query("early", "hail"), Query("late", "hail"))  # what is judged of the first is not what it finds
    write_beir(Beir(documents, asked, {"early": {"d0": 1}, "late": {"d3": 1}}), folder)
    scores = []
    for more in ([], ["--half"]):
        assert main(["bench", "quality", str(folder), "--into", str(home / "kept"), "--out", str(home), *more]) == 0
        written = max(home.glob("quality-*.json"), key=lambda path: path.stat().st_mtime_ns)
        scores.append(json.loads(written.read_text())["rows"][0]["RR"])
        written.unlink()
    assert float(scores[0]) < float(scores[1]) == 1.0


def test_bench_levels_compares_ways_to_passages_question_by_question(home, capsys):
    texts = ("The window slides.", "The barrier aligns.", "A mark tells the time.", "State is kept by key.")
    documents = [Document(f"{p}-{n}", f"{p}: {t}", parent=p) for p in ("flow", "batch") for n, t in enumerate(texts)]
    folder = home / "tiny"
    write_beir(Beir(documents, (Query("q", "the barrier of a flow"),), {"q": {"flow-1": 1}}), folder)
    assert main(["bench", "levels", str(folder), "--repeats", "1", "--into", str(home / "kept")]) == 0
    (written,) = (home / "bench").glob("levels-*.json")
    rows = json.loads(written.read_text())["rows"]
    assert [row["way"] for row in rows] == ["flat", "best", "whole"] * 4
    assert {row["R@10"] for row in rows} == {"1.0000"}
    assert {(row["difference"], row["p"]) for row in rows if row["way"] != "flat"} == {("+0.0000", "1.0000")}
    assert "hybrid, zscore" in capsys.readouterr().out
    assert main(["bench", "levels", str(folder), "--repeats", "0"]) == 2
    assert "bench levels needs 1 repeat or more, got 0" in capsys.readouterr().err


def test_bench_stream_measures_each_figure(home, capsys):
    assert main(["bench", "stream", "--repeats", "1", "--scale", "0.002"]) == 0
    (written,) = (home / "bench").glob("stream-*.json")
    figures = json.loads(written.read_text())["figures"]
    assert len(figures) == 8
    assert all(len(figure["values"]) >= 1 and figure["unit"] for figure in figures)
    assert "fused" in capsys.readouterr().out


def test_bench_stream_refuses_a_scale_it_cannot_run(capsys):
    assert main(["bench", "stream", "--scale", "0"]) == 2
    assert "a scale in (0, 1]" in capsys.readouterr().err


def test_cluster_status_without_a_cluster_says_so_in_one_sentence():
    code = "from sage_nb.cli.main import main; exit(main(['cluster', 'status', '--address', '127.0.0.1:1']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sage-nb: there is no Ray cluster at '127.0.0.1:1': ")
    assert done.stderr.count("\n") == 1
