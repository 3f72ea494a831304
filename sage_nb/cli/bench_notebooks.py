"""`sage-nb bench notebooks`: what a notebook costs when it is run a second time, with what its first run has kept."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.installed import with_bytecode
from sage_nb.errors import BadValueError, MissingExtraError, SageError

SHARE = 0.2  # of the first run's time, that the second should take at most
CELL_S = 1800  # seconds that a cell may take on a machine that is busy
KEEPING = re.compile(r"^%%sage|\bsage\.(?:experiment|sweep)\(", re.MULTILINE)  # cells whose results a cache may hold
COUNT = """
def _count_texts():
    from sage_nb.models.cross_encoder import PairScorer
    from sage_nb.models.encoder import SentenceEncoder

    def counted(method):
        def count(self, texts):
            _texts[0] += len(texts)
            return method(self, texts)

        return count

    for kind, name in ((SentenceEncoder, "encode"), (SentenceEncoder, "tokens"), (PairScorer, "score")):
        setattr(kind, name, counted(getattr(kind, name)))

_texts = [0]
_count_texts()
"""


@dataclass(frozen=True)
class Ran:
    """One run of a notebook: seconds of its cells by their ids, which of these keep results, and what models got.

    `texts` are those, and pairs of them, that the models of the notebook's own process were given; what counting them
    imports beforehand took `counting` seconds.
    """

    cells: Mapping[str, float]
    keeping: frozenset[str]
    texts: int
    counting: float

    @property
    def seconds(self) -> float:
        """Of the whole notebook, once its kernel is there."""
        return self.counting + sum(self.cells.values())

    @property
    def kept(self) -> float:
        """Seconds of the cells that keep results."""
        return sum(took for name, took in self.cells.items() if name in self.keeping)


def bench_notebooks(notebooks: Sequence[str], out: str, repeats: int = 1, *, small: bool = False) -> None:
    """Run each notebook twice, print a table, and write one JSON under `out`, with the seconds of every cell.

    Each run is in a kernel of its own, whose start is not timed. Both are in a copy of the notebook's folder, with a
    home of their own that is empty at first. With `small`, `SMALL = True` stands below its cell tagged `parameters`.
    """
    try:
        import nbclient  # noqa: F401  its absence is told before anything is run
    except ImportError as missing:
        raise MissingExtraError.of("bench notebooks", "nbclient", "dev") from missing
    if repeats < 1:
        raise BadValueError(f"bench notebooks needs 1 repeat or more, got {repeats}")
    if absent := [each for each in notebooks if not Path(each).is_file()]:
        raise BadValueError(f"there is no notebook {absent[0]!r}; name an .ipynb file")
    with_bytecode()
    cells: dict[str, list[list[Mapping[str, float]]]] = {}
    figures = (each for name in notebooks for each in _figures(Path(name), repeats, cells, small=small))
    report("notebooks", out, figures, repeats=repeats, small=small, cells=cells)


def _figures(path: Path, repeats: int, cells: dict[str, Any], *, small: bool) -> Iterator[Figure]:
    pairs = [_twice(path, small=small) for _ in range(repeats)]
    cells[path.stem] = [[first.cells, again.cells] for first, again in pairs]
    for which, runs in zip(("first", "second"), zip(*pairs, strict=True), strict=True):
        yield Figure(f"{path.stem}: {which} run", "s", None, False, [run.seconds for run in runs])
        yield Figure(f"{path.stem}: {which} run", "texts to models", None, False, [run.texts for run in runs])
    yield Figure(f"{path.stem}: second to first", "ratio", SHARE, False, [b.seconds / a.seconds for a, b in pairs])
    if pairs[0][0].keeping:
        kept = [again.kept / first.kept for first, again in pairs]
        yield Figure(f"{path.stem}: second to first, cells that keep results", "ratio", SHARE, False, kept)


def _twice(path: Path, *, small: bool) -> tuple[Ran, Ran]:
    """Its first run and its second, by one home."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = _copied(path.resolve().parent, Path(scratch)), Path(scratch, "home")
        home.mkdir()
        env = {name: value for name, value in os.environ.items() if name not in ("SAGE_HOME", "RAY_ADDRESS")}
        first, again = (ran(_read(path, small=small), folder, env | {"HOME": str(home)}) for _ in range(2))
    return first, again


def _copied(folder: Path, scratch: Path) -> Path:
    """A copy of a notebook's folder without its home, below as many folders, where `data` is found as before."""
    copy = scratch / folder.parent.name / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*"))
    for above, there in ((folder.parent, copy.parent), (folder.parent.parent, scratch)):
        if (above / "data").is_dir():
            (there / "data").symlink_to(above / "data")
    return copy


def _read(path: Path, *, small: bool) -> Any:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if small and "parameters" in cell.metadata.get("tags", ()):
            cell.source += "\nSMALL = True"
    return notebook


def ran(notebook: Any, folder: Path, env: Mapping[str, str]) -> Ran:
    """Run a notebook's code in a folder, from top to bottom in a kernel with these variables; it keeps the outputs.

    Raises SageError where a cell raises.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    count, told = new_code_cell(COUNT), new_code_cell("print(_texts[0])")
    asked = new_notebook(cells=[count, *code, told], metadata=notebook.metadata)
    client = NotebookClient(asked, timeout=CELL_S, resources={"metadata": {"path": str(folder)}})
    seconds = {}
    with client.setup_kernel(env=dict(env)):
        for at, cell in enumerate(asked.cells):
            begun = time.perf_counter()
            try:
                client.execute_cell(cell, at)
            except CellExecutionError as error:
                raise SageError(f"cell {cell.id!r} raised {error.ename}: {error.evalue}; run it in Jupyter") from error
            seconds[cell.id] = time.perf_counter() - begun
    own = {cell.id: seconds[cell.id] for cell in code}
    keeping = frozenset(cell.id for cell in code if KEEPING.search(cell.source))
    return Ran(own, keeping, int(told.outputs[0].text), seconds[count.id])
