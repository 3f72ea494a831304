"""The quickstart runs from top to bottom in a kernel of its own, and a second time from what it has kept."""

from __future__ import annotations

import json
import os

import pytest

from sage_nb.cli.bench_notebooks import ran
from tests.notebooks.tutorials import PLACES, tutorial


def run(folder):
    """The quickstart, run, and how many texts models were given."""
    notebook = tutorial("00_quickstart")
    return notebook, ran(notebook, folder, os.environ).texts


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_the_quickstart_shows_its_results_and_asks_models_nothing_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    (first, given), (_, anew) = (run(tmp_path) for _ in range(2))
    shown = "".join(str(cell.get("outputs", "")) for cell in first.cells)
    assert "threading.Thread.daemon" in shown
    assert "<table class='sage-table mathjax_ignore'>" in shown
    assert "<th class=sage-number>nDCG@10</th>" in shown
    assert given > 100
    assert anew == 0


def test_what_is_kept_of_the_quickstart_is_small_and_of_no_machine():
    outputs = json.dumps([cell.get("outputs", []) for cell in tutorial("00_quickstart").cells])
    assert "queue.PriorityQueue" in outputs
    assert len(outputs) < 60_000
    assert not [place for place in PLACES if place in outputs]
