"""`sage-nb bench notebooks`: each notebook twice, in a copy of its folder and with a home of its own."""

from __future__ import annotations

import json
import os
import sys

import nbformat
import pytest

from sage_nb.cli.bench_notebooks import ran
from sage_nb.cli.main import main
from sage_nb.errors import SageError

SETTINGS = "SMALL = False"
RETRIEVAL = """
import sage_nb as sage

texts = open("../data/texts").read().split()[: 5 if SMALL else 50]
book = sage.Collection("book")
_ = book.add([sage.Document(text, f"the {text}") for text in texts], progress=False)
"""
COMPARED = """
seen = sage.experiment({"dense": book.dense()}, texts[:3], {"q1": {texts[0]: 1}}, measures=["RR"], cell="seen")
open("ran", "a").write("x")
"""

pytestmark = pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop


def notebook(*sources):
    """Of these code cells, the first tagged `parameters`."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in sources])
    made.cells[0].metadata.tags = ["parameters"]
    return made


def test_the_second_run_finds_what_the_first_has_kept(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "texts").write_text(" ".join(f"thing{n}" for n in range(50)))
    (tmp_path / "books").mkdir()
    nbformat.write(notebook(SETTINGS, RETRIEVAL, COMPARED), tmp_path / "books" / "small.ipynb")
    kept = {path.name for path in (tmp_path / "books").iterdir()}
    options = ["--small", "--out", str(tmp_path / "out")]
    assert main(["bench", "notebooks", str(tmp_path / "books" / "small.ipynb"), *options]) == 0
    (written,) = (tmp_path / "out").glob("notebooks-*.json")
    found = json.loads(written.read_text())
    first, given, second, anew, whole, cells = (each["median"] for each in found["figures"])
    assert (given, anew) == (6, 0)  # five texts and a question
    assert (whole, [each["bar"] for each in found["figures"]]) == (second / first, [None] * 4 + [0.2] * 2)
    (a, b) = found["cells"]["small"][0]
    assert cells == list(b.values())[2] / list(a.values())[2]  # of the one cell that keeps results
    assert "small: second to first" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "books").iterdir()} == kept


def test_a_cell_that_raises_is_named(tmp_path):
    with pytest.raises(SageError, match=r"cell 'wrong' raised ZeroDivisionError"):
        ran(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0", id="wrong")]), tmp_path, dict(os.environ)
        )


@pytest.mark.parametrize(
    ("given", "said"), [(["none.ipynb"], "no notebook 'none.ipynb'"), (["x", "--repeats", "0"], "1 repeat or more")]
)
def test_it_refuses_what_it_cannot_run(given, said, capsys):
    assert main(["bench", "notebooks", *given]) == 2
    assert said in capsys.readouterr().err


def test_without_nbclient_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbclient", None)
    assert main(["bench", "notebooks", "x.ipynb"]) != 0
    assert "bench notebooks needs 'nbclient'; run: pip install 'sage-nb[dev]'" in capsys.readouterr().err
