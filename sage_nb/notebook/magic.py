"""`%%sage` and `%sage`: IPython in a few lines; what they do is in `cell`, `session` and `lines`."""

from __future__ import annotations

import traceback
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from sage_nb.errors import SageError
from sage_nb.notebook.cell import begin, failure_of, pipeline_of, questions_of
from sage_nb.notebook.completion import completer
from sage_nb.notebook.config import Sage
from sage_nb.notebook.display import RunView
from sage_nb.notebook.lines import answer
from sage_nb.notebook.live import LiveDisplay
from sage_nb.notebook.options import CellOptions, parallelism
from sage_nb.notebook.session import Session


@magics_class
class SageMagics(Magics):
    """The `%%sage` cell and the `%sage` line."""

    def __init__(self, shell: InteractiveShell, config: Sage, session: Session) -> None:
        super().__init__(shell)
        self._shell, self._config, self._session = shell, config, session
        self._failure: SageError | None = None

    @magic_arguments()
    @argument("name", nargs="?", help="bind the pipeline, or with --on its run, to this name")
    @argument("--on", help="the questions: a name of texts, Queries, a DataFrame or a path; or a path itself")
    @argument("--env", help="local: threads of this kernel; ray: actors of a cluster (default: Sage.env)")
    @argument(
        "--parallelism", type=parallelism, help='subtasks of each operator, or "auto" (default: Sage.parallelism)'
    )
    @argument("--gpus", type=float, help="the share of a GPU for each operator with a model; with --env ray")
    @argument("--fresh", action="store_true", help="compute everything anew, whatever the cache holds")
    @argument("--background", action="store_true", help="go on to the next cell at once; the display follows the run")
    @argument("--checkpoint-every", type=float, help="seconds between commits of results (default: as they come)")
    @argument("--plan", action="store_true", help="show what is cached and what would be computed, and run nothing")
    @argument("--top", type=int, help="hits to show for each question (default: Sage.top)")
    @line_cell_magic
    def sage(self, line: str, cell: str | None = None) -> object:
        """Run a retrieval pipeline written as a Python expression; a line that starts with `>>` goes on.

        As a line: `%sage "a question"` asks the last pipeline; `%sage status`, `runs`, `plan`, `diff A B`, `cache`,
        `clear` and `doctor` show what they say, `%sage explore` opens the Explorer, `%sage trace` shows the last error
        in full.
        """
        try:
            return self._line(line.strip()) if cell is None else self._cell(line, cell)
        except SageError as wrong:
            self._failure = wrong
            raise

    def _cell(self, line: str, source: str) -> object:
        given = {name: value for name, value in vars(parse_argstring(self.sage, line)).items() if value is not None}
        options = CellOptions(**{**self._config.defaults(), **given})
        names = self._shell.user_ns
        stage = pipeline_of(source, names)
        self._session.stage = stage
        if options.on is None:
            if options.name:
                names[options.name] = stage
            return None if options.name else stage
        queries = questions_of(options.on, names)
        if options.plan:
            return self._session.plan(stage, queries, options)
        begun = begin(self._session, stage, queries, options, source, names)
        shown = LiveDisplay(RunView(begun, options.top), self._shell)
        if options.background:
            shown.watch_behind()
            return None
        shown.watch()
        if (failure := failure_of(begun, source)) is not None:
            raise failure
        return None

    def _line(self, line: str) -> object:
        if line == "trace":
            shown = traceback.format_exception(self._failure) if self._failure else ["there was no error\n"]
            print("".join(shown), end="")  # noqa: T201  this is the command's answer
            return None
        return answer(line, self._session, self._shell.user_ns)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext sage_nb`."""
    config, session = Sage(parent=shell), Session()
    config.observe(lambda change: session.use_limit(change.new), "cache_gib")
    session.use_limit(config.cache_gib)
    known: list[Any] = shell.configurables  # what %config knows
    known[:] = [*(each for each in known if not isinstance(each, Sage)), config]
    shell.register_magics(SageMagics(shell, config, session))
    completers: Any = shell.Completer.custom_matchers
    completers[:] = [each for each in completers if getattr(each, "matcher_identifier", "") != "sage_nb"]
    completers.append(completer(shell, session))
