"""A tutorial in a real kernel: as a reader finds it, then with its exercises done, and done wrongly.

An exercise is a code cell tagged `exercise` (`mine = None`), then a raw cell tagged `solution`, whose text goes into
it, and a code cell tagged `check`. A raw cell tagged `wrong` is an answer that the check of its exercise refuses.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[2] / "notebooks"
UNDONE = "not done yet"
PLACES = ("/tmp/", "/home/", "/usr/", "site-packages", str(Path.cwd()), str(Path.home()))  # of one machine


@dataclass
class Exercise:
    """A task of a tutorial, its answers by tag, and the cell that tells them apart."""

    task: str
    answers: dict[str, list[str]] = field(default_factory=dict)
    check: str = ""


def tutorial(name):
    """The notebook of that name."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tags(cell):
    return set(cell.metadata.get("tags", ()))


def exercises(notebook):
    """Those of a notebook, in its order."""
    found: list[Exercise] = []
    for cell in notebook.cells:
        if "exercise" in tags(cell):
            found.append(Exercise(cell.source))
        if "check" in tags(cell):
            found[-1].check = cell.source
        for tag in tags(cell) & {"solution", "wrong"}:
            found[-1].answers.setdefault(tag, []).append(cell.source)
    return found


class Reader:
    """Someone in front of the notebook's kernel."""

    def __init__(self, client):
        self._client = client

    def turn(self, cell):
        """Run a cell below those that were run before; gives what it printed."""
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return "".join(each.get("text", "") for each in cell.get("outputs", ()))

    def run(self, source):
        """Type something into a cell, and run it."""
        return self.turn(nbformat.v4.new_code_cell(source))

    def refused(self, check):
        """Run a check; gives what it has against the answer, "" if nothing."""
        try:
            self.run(check)
        except CellExecutionError as error:
            return f"{error.ename}: {error.evalue}"
        return ""


@contextmanager
def reading(folder):
    """A kernel of its own, in that folder."""
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel():
        yield Reader(client)
    del client
    gc.collect()


def read_through(reader, notebook):
    """From top to bottom: every exercise says that it is not done yet."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            said = reader.turn(cell)
            assert "check" not in tags(cell) or UNDONE in said, cell.source


def do_exercises(reader, notebook):
    """First wrongly, where it is written how, then as the solutions say."""
    for exercise in exercises(notebook):
        for wrong in exercise.answers.get("wrong", ()):
            reader.run(wrong)
            assert reader.refused(exercise.check).startswith("AssertionError: "), wrong
        [solution] = exercise.answers["solution"]
        reader.run(solution)
        assert reader.refused(exercise.check) == "", solution
        assert UNDONE not in reader.run(exercise.check), solution


def work_through(notebook, folder):
    """Read a tutorial, then do its exercises."""
    with reading(folder) as reader:
        read_through(reader, notebook)
        do_exercises(reader, notebook)
