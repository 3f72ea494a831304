"""The README's code runs as it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf8")


def python_blocks():
    """Those that stand alone: they begin with their imports."""
    return [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if block.startswith("import")]


def test_the_readme_has_the_code_that_is_tested_here():
    assert len(python_blocks()) == 2


def test_a_collection_and_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Barriers\n\nA barrier separates checkpoints.\n")
    names: dict = {}
    exec(python_blocks()[0], names)  # noqa: S102  our own text
    assert len(names["run"].results) == 2
    assert (tmp_path / "run.txt").exists()


def test_a_stream(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(python_blocks()[1].replace("100_000", "5_000"), {})  # noqa: S102
    windows = [
        json.loads(line) for file in (tmp_path / "out").glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    assert sum(window["value"] for window in windows) == 6 * (5_000 - 6)  # each record is in six windows
    assert "dead letters" in capsys.readouterr().out
