"""The tutorials: they run from top to bottom, their exercises can be done, wrong answers are told from right ones."""

from __future__ import annotations

import json
import os

import nbformat
import pytest

from sage_nb.cli.bench_notebooks import ran
from tests.notebooks.tutorials import (
    FOLDER,
    PLACES,
    UNDONE,
    do_exercises,
    exercises,
    read_through,
    reading,
    tags,
    tutorial,
    work_through,
)

ALL = sorted(path.stem for path in FOLDER.glob("0[1-9]_*.ipynb"))
ON_RAY = {"01_distributed_pipelines"}  # test_tutorials_on_ray.py, one at a time


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / ".sage"))


@pytest.mark.parametrize("name", [name for name in ALL if name not in ON_RAY])
@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_a_tutorial_can_be_worked_through(name, tmp_path):
    work_through(tutorial(name), tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_the_tutorial_on_retrieval_asks_models_nothing_the_second_time(tmp_path):
    first, again = (ran(tutorial("04_advanced_rag"), tmp_path, os.environ) for _ in range(2))
    assert first.texts > 1000
    assert again.texts == 0


@pytest.mark.parametrize("name", ALL)
def test_a_tutorial_has_exercises_with_solutions_and_predictions(name):
    notebook = tutorial(name)
    found = exercises(notebook)
    assert 2 <= len(found) <= 4
    assert all(each.check and len(each.answers["solution"]) == 1 for each in found)
    assert any("wrong" in each.answers for each in found)
    guesses = [cell for cell in notebook.cells if cell.cell_type == "code" and "prediction" in cell.source]
    assert len(guesses) >= 2


@pytest.mark.parametrize("name", ALL)
def test_what_a_tutorial_shows_is_small_and_of_no_machine(name):
    notebook = tutorial(name)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    outputs = json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert len(outputs) < 120_000
    assert not [place for place in PLACES if place in outputs]
    failed = [cell.id for cell in notebook.cells for each in cell.get("outputs", ()) if each.output_type == "error"]
    assert not failed
    assert all("outputs" not in cell for cell in notebook.cells if tags(cell) & {"solution", "wrong"})


def small(solution, wrong):
    """A tutorial of one exercise: to double three."""
    check = f"if mine is None:\n    print({UNDONE!r})\nelse:\n    assert mine == 6, 'twice three'\n    print('right')"
    new = nbformat.v4
    return new.new_notebook(
        cells=[
            new.new_code_cell("mine = None", metadata={"tags": ["exercise"]}),
            new.new_raw_cell(solution, metadata={"tags": ["solution"]}),
            new.new_raw_cell(wrong, metadata={"tags": ["wrong"]}),
            new.new_code_cell(check, metadata={"tags": ["check"]}),
        ]
    )


@pytest.fixture(scope="class")
def reader(tmp_path_factory):
    """In front of one kernel, for all of a class."""
    with reading(tmp_path_factory.mktemp("reader")) as someone:
        yield someone


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
class TestControls:
    """What a tutorial that is wrong is noticed by."""

    def test_one_that_is_right_passes(self, reader):
        notebook = small("mine = 6", "mine = 7")
        read_through(reader, notebook)
        do_exercises(reader, notebook)

    @pytest.mark.parametrize(
        ("solution", "wrong"), [("mine = 7", "mine = 8"), ("mine = 6", "mine = 6"), ("1", "mine = 0")]
    )
    def test_wrong_solutions_and_right_wrong_answers_are_noticed(self, solution, wrong, reader):
        notebook = small(solution, wrong)
        read_through(reader, notebook)
        with pytest.raises(AssertionError, match="mine|1"):
            do_exercises(reader, notebook)

    def test_a_check_that_lets_all_pass_is_noticed(self, reader):
        notebook = small("mine = 6", "mine = 7")
        notebook.cells[-1].source = f"print({UNDONE!r} if mine is None else 'right')"
        read_through(reader, notebook)
        with pytest.raises(AssertionError, match="mine = 7"):
            do_exercises(reader, notebook)

    def test_an_exercise_that_is_done_already_is_noticed(self, reader):
        notebook = small("mine = 6", "mine = 7")
        notebook.cells[0].source = "mine = 6"
        with pytest.raises(AssertionError, match="twice three"):
            read_through(reader, notebook)
