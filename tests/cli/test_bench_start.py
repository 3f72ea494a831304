"""`sage-nb bench start`: a process and a kernel of their own."""

from __future__ import annotations

import json

import pytest

from sage_nb.cli.bench_start import _kernel, _ran
from sage_nb.cli.main import main
from sage_nb.errors import SageError


def test_it_times_the_import_the_extension_and_two_cells(tmp_path, capsys):
    assert main(["bench", "start", "--repeats", "1", "--documents", "20", "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("start-*.json")
    figures = json.loads(written.read_text())["figures"]
    assert [(each["bar"], each["bar_is"]) for each in figures] == [(bar, "most") for bar in (0.3, 0.4, 3.0, 0.3)]
    imported, loaded, first, beyond = (each["median"] for each in figures)
    assert 0 < imported < first
    assert loaded > 0
    assert beyond < first  # which loads the models
    assert "%load_ext" in capsys.readouterr().out


def test_a_cell_that_fails_is_no_figure(tmp_path):
    with _kernel(str(tmp_path)) as kernel, pytest.raises(SageError, match=r"'1 / 0' raised ZeroDivisionError"):
        _ran(kernel, "1 / 0")


def test_it_refuses_a_collection_with_too_few_documents(capsys):
    assert main(["bench", "start", "--documents", "3"]) == 2
    assert "15 documents or more, got 5, 3" in capsys.readouterr().err
