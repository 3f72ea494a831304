"""The experiments: they run in a small setting and on a BEIR folder, conclude what their own numbers say, and say
it again without asking models anew."""

from __future__ import annotations

import json
import os
import re

import nbformat
import pytest

import sage_nb as sage
from sage_nb.cli.bench_notebooks import ran
from sage_nb.records.beir import Beir
from tests.notebooks.tutorials import FOLDER, PLACES, tags

EXPERIMENTS = FOLDER / "experiments"
ALL = sorted(path.stem for path in EXPERIMENTS.glob("*.ipynb"))
TIMED = {"reranker_depth": 0.4}  # what is kept takes no time, so it asks some questions anew: 1 of 8 here, 6 of 210
NUMBER = re.compile(r"(?<![+\-\d.])[01]\.\d{3,4}\b")  # a mean or a p; differences have a sign


def experiment(name):
    return nbformat.read(EXPERIMENTS / f"{name}.ipynb", as_version=4)


def run(name, parameters):
    """The notebook, run in its folder with these lines below its parameters, and how many texts models were given."""
    notebook = experiment(name)
    (cell,) = (each for each in notebook.cells if "parameters" in tags(each))
    cell.source += f"\n{parameters}"
    return notebook, ran(notebook, EXPERIMENTS, os.environ).texts


def outputs(cell):
    """What a cell shows, as text."""
    given = (each.get("text") or each.get("data", {}) for each in cell.get("outputs", ()))
    return "\n".join(each if isinstance(each, str) else "\n".join(map(str, each.values())) for each in given)


def timeless(cell):
    """What a cell shows, but for the milliseconds in it."""
    return re.sub(r"\d+ ms", "… ms", outputs(cell))


def unsupported(notebook):
    """The numbers of the conclusion, the last cell, that no output above it shows."""
    *above, conclusion = notebook.cells
    shown = "\n".join(map(outputs, above))
    stated = NUMBER.findall(outputs(conclusion))
    assert stated, "the last cell concludes nothing"
    return [number for number in stated if number not in shown]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / ".sage"))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_an_experiment_concludes_what_it_shows_and_asks_models_little_the_second_time(name):
    (first, given), (again, anew) = (run(name, "SMALL = True") for _ in range(2))
    assert unsupported(first) == []
    assert given > 100  # each document, and each question
    assert anew <= TIMED.get(name, 0) * given
    assert timeless(again.cells[-1]) == timeless(first.cells[-1])


@pytest.mark.parametrize("name", ALL)
def test_what_is_kept_of_an_experiment_is_of_its_full_run_and_small(name):
    notebook = experiment(name)
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "210 questions" in shown
    assert len(shown) < 40_000
    assert not [place for place in PLACES if place in shown]
    assert unsupported(notebook) == []


@pytest.mark.filterwarnings("ignore")
def test_an_experiment_runs_on_a_beir_folder(tmp_path):
    things = ["window", "barrier", "record", "state", "timer", "source"]
    documents = [sage.Document(each, f"A {each} is part of a stream.") for each in things]
    queries = tuple(sage.Query(f"q{each}", f"what is a {each}?") for each in things)
    sage.write_beir(Beir(documents, queries, {f"q{each}": {each: 1} for each in things}), tmp_path / "streams")
    done, _ = run("fusion_ablation", f"FOLDER = {str(tmp_path / 'streams')!r}")
    assert "'6 documents, 6 questions'" in "\n".join(map(outputs, done.cells))
    assert unsupported(done) == []
