"""`%%sage` and `%sage`: IPython in a few lines; what they do is in `cell`."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from sage_nb.errors import SageError
from sage_nb.notebook.cell import CellOptions, run_cell
from sage_nb.notebook.display import RunView
from sage_nb.retrieval.run import Pipeline, Run

WORDS = {
    "Collection": "sage_nb.retrieval.collection",
    "chunk": "sage_nb.records.chunk",
    "fuse": "sage_nb.retrieval.stage",
    "load": "sage_nb.records.load",
    "pydocs": "sage_nb.corpora.pydocs",
    "rerank": "sage_nb.retrieval.rerank",
    "where": "sage_nb.records.filters",
}


def vocabulary() -> dict[str, Any]:
    """The words a cell may use without importing them."""
    return {name: getattr(import_module(home), name) for name, home in WORDS.items()}


@magics_class
class SageMagics(Magics):
    """The `%%sage` cell and the `%sage` line."""

    _stage: Pipeline | None = None
    _failure: SageError | None = None

    @magic_arguments()
    @argument("name", nargs="?", help="bind the pipeline, or with --on its run, to this name")
    @argument("--on", help="the variable that holds the questions: texts, Queries, a DataFrame or a path")
    @argument("--top", type=int, default=5, help="hits to show for each question (default 5)")
    @line_cell_magic
    def sage(self, line: str, cell: str | None = None) -> object:
        """Run a retrieval pipeline written as a Python expression; a line that starts with `>>` goes on.

        As a line: `%sage "a question"` asks the last pipeline, `%sage status` shows the Ray cluster with this kernel's
        jobs, `%sage trace` the last error in full.
        """
        try:
            return self._line(line.strip()) if cell is None else self._cell(line, cell)
        except SageError as wrong:
            self._failure = wrong
            raise

    def _cell(self, line: str, cell: str) -> object:
        options = CellOptions(**vars(parse_argstring(self.sage, line)))
        assert self.shell is not None  # noqa: S101  IPython sets it before any magic runs
        answer = run_cell(cell, options, self.shell.user_ns, vocabulary())
        if isinstance(answer, Run):
            self._stage = answer.stage
            return RunView(answer, options.top)
        self._stage = answer
        return None if options.name else answer

    def _line(self, line: str) -> object:
        if line == "trace":
            shown = traceback.format_exception(self._failure) if self._failure else ["there was no error\n"]
            print("".join(shown), end="")  # noqa: T201  this is the command's answer
            return None
        if line == "status":
            from sage_nb.runtime.ray.status import cluster_status

            return cluster_status()
        if not line:
            raise UsageError('write %sage "a question", %sage status, %sage trace, or a %%sage cell')
        if self._stage is None:
            raise UsageError("there is no pipeline to ask yet; run a %%sage cell first")
        return self._stage.search(line.strip("\"'"))


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext sage_nb`."""
    shell.register_magics(SageMagics)
