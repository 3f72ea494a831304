"""`sage-nb bench query`: times and quality of each program, and each bar against the best of the others."""

from __future__ import annotations

import json
import sys

import pytest

from sage_nb.cli.bench_query import Times
from sage_nb.cli.main import main
from sage_nb.records.beir import Beir, write_beir
from sage_nb.records.values import Document, Query

TEXTS = {"d1": "Ants carry leaves to their nest.", "d2": "Bees dance to tell where flowers are.", "d3": "Rain falls."}
ASKED = {"q1": ("what do ants carry?", "d1"), "q2": ("why do bees dance?", "d2")}
PLAIN = "sentence_transformers"


@pytest.fixture
def folder(tmp_path):
    documents = [Document(name, text) for name, text in TEXTS.items()]
    questions = tuple(Query(name, text) for name, (text, _) in ASKED.items())
    write_beir(Beir(documents, questions, {name: {answer: 1} for name, (_, answer) in ASKED.items()}), tmp_path)
    return tmp_path


def measured(folder, *options):
    out = folder / "out"
    assert main(["bench", "query", str(folder), "--repeats", "1", "--out", str(out), *options]) == 0
    (written,) = out.glob("query-*.json")
    return {each["figure"]: each["values"][0] for each in json.loads(written.read_text())["figures"]}


def test_with_a_peer_each_bar_is_against_it_and_the_rankings_are_as_good(folder, capsys):
    figures = measured(folder, "--peers", sys.executable)
    for name in ("sage-nb", "sage-nb, default reranker", PLAIN):
        assert figures[f"{name}: nDCG@10"] == 1.0
        assert 0 < figures[f"{name}: a question, p50"] <= figures[f"{name}: a question, p99"]
    stream = figures["sage-nb: a stream"] / figures[f"{PLAIN}: a stream"]
    assert figures[f"sage-nb: a stream to {PLAIN}, the best"] == stream
    p50 = figures[f"{PLAIN}: a question, p50"] / figures["sage-nb: a question, p50"]
    assert figures[f"sage-nb: p50 to {PLAIN}, the best"] == pytest.approx(p50)
    assert figures[f"sage-nb: nDCG@10 less than {PLAIN}'s, float32"] == 0.0
    assert figures["sage-nb: warm to cold"] > 1
    assert "haystack is left out, it ended" in capsys.readouterr().out


def test_without_peers_it_measures_what_is_here(folder, capsys):
    figures = measured(folder, "--questions", "1")
    assert figures["sage-nb: nDCG@10"] == 1.0
    assert not any("the best" in name for name in figures)
    assert "peers are left out" in capsys.readouterr().out


def test_times_of_questions_are_in_milliseconds():
    times = Times()
    times.alone([0.001, 0.002, 0.003])
    times.together(0.5, {"q1": ["d"], "q2": []})
    assert (times.p50, times.rate) == ([2.0], [4.0])
    assert times.p99[0] == pytest.approx(2.98)


def test_it_refuses_to_ask_nothing(folder, capsys):
    assert main(["bench", "query", str(folder), "--questions", "0"]) == 2
    assert "bench query needs 1 question and repeat or more, got 0 and 3" in capsys.readouterr().err
