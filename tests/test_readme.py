"""The README's code runs as it is written."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python_blocks(name="README.md"):
    """Those that stand alone: they begin with their imports."""
    text = (ROOT / name).read_text(encoding="utf8")
    return [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if block.startswith("import")]


def test_the_readme_has_the_code_that_is_tested_here():
    assert len(python_blocks()) == 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty one, but for a document, in which the code runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Barriers\n\nA barrier separates checkpoints.\n")
    return tmp_path


def lines(folder):
    """What a JsonlSink has written."""
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_a_collection_and_a_pipeline(folder):
    names: dict = {}
    exec(python_blocks()[0], names)  # noqa: S102  our own text
    assert len(names["run"].results) == 2
    assert (folder / "run.txt").exists()


def test_a_stream(folder, capsys):
    exec(python_blocks()[1].replace("100_000", "5_000"), {})  # noqa: S102
    assert sum(window["value"] for window in lines(folder / "out")) == 6 * (5_000 - 6)  # each record is in six windows
    assert "dead letters" in capsys.readouterr().out


def test_a_pipeline_as_in_sage(folder):
    exec(python_blocks()[2], {})  # noqa: S102
    answers = {each["question"]: each["answer"] for each in lines(folder / "answers")}
    assert set(answers) == {"what is a barrier?", "when do windows close?"}
    assert "A barrier separates checkpoints." in answers["what is a barrier?"]


@pytest.mark.usefixtures("folder")
def test_an_experiment_as_in_pyterrier():
    names = {
        "corpus": [{"docno": "d1", "text": "A barrier separates checkpoints."}, {"docno": "d2", "text": "It rains."}],
        "topics": {"q1": "what is a barrier?"},
        "qrels": {"q1": {"d1": 1}},
    }
    exec(python_blocks()[3], names)  # noqa: S102
    assert {name: means["nDCG@10"] for name, means in names["seen"].means.items()} == dict.fromkeys(
        names["pipelines"], 1.0
    )


def test_the_chinese_readme_has_the_same_code_with_comments_in_chinese():
    english = [ast.dump(ast.parse(block)) for block in python_blocks()]
    chinese = [ast.dump(ast.parse(block)) for block in python_blocks("README.zh.md")]
    assert [each in english for each in chinese] == [True, True]
