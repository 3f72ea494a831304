"""Peers: asked in turn, each in a process of its own; one that fails is left out and the others go on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sage_nb.cli.peers import Peers, write_work
from sage_nb.records.values import Document, Query

DOCUMENTS = [
    Document("d1", "They align.", title="Barriers"),
    Document("d2", "Bees dance, bees hum."),
    Document("d3", "Rain falls."),
]
QUESTIONS = [Query("q1", "barriers"), Query("q2", "bees")]


@pytest.fixture
def folder(tmp_path):
    write_work(tmp_path, DOCUMENTS, QUESTIONS, k=1)
    return tmp_path


def test_each_does_the_work_that_is_written_for_it(folder):
    with Peers(sys.executable, ["bm25s", "rank_bm25"], folder) as others:
        assert {name: answer["seconds"] > 0 for name, answer in others.ask("index").items()} == {
            "bm25s": True,
            "rank_bm25": True,
        }
        asked = others.ask("ask", only=["bm25s"], most=1)["bm25s"]
        assert [(name, hits[0][0]) for name, hits in asked["rankings"].items()] == [("q1", "d1")]
        assert len(asked["seconds"]) == 1
        streamed = others.ask("stream", most=2)
        assert {name: [hits[0][0] for hits in each["rankings"].values()] for name, each in streamed.items()} == {
            "bm25s": ["d1", "d2"],
            "rank_bm25": ["d1", "d2"],
        }
        assert others.versions["bm25s"]


def test_one_that_fails_at_work_is_left_out_and_the_others_go_on(folder, capsys):
    with Peers(sys.executable, ["bm25s", "rank_bm25"], folder) as others:
        failed = others.ask("ask", only=["rank_bm25"], most=1)  # it has no index yet
        assert failed == {}
        assert "rank_bm25 is left out, it ended: AttributeError" in capsys.readouterr().out
        assert "rank_bm25" not in others
        assert list(others.ask("index")) == ["bm25s"]


def test_an_interpreter_is_named_from_where_one_stands(folder, monkeypatch):
    there = Path(sys.executable).parent
    monkeypatch.chdir(there)
    with Peers(f"../{there.name}/{Path(sys.executable).name}", ["rank_bm25"], folder) as others:
        assert "rank_bm25" in others
