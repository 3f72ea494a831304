"""The quickstart runs from top to bottom in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb"


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_the_quickstart_runs_and_shows_its_results(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    notebook = nbformat.read(QUICKSTART, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(str(cell.get("outputs", "")) for cell in notebook.cells)
    assert "threading.Thread.daemon" in shown
    assert "<table class='sage-table mathjax_ignore'>" in shown
    assert "hybrid  nDCG@10" in shown
