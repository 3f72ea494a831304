"""`%%sage` and `%sage`: IPython in a few lines; what they do is in `cell`, `session` and `lines`.

These are loaded when first used: with them `%load_ext` takes several times as long, and a notebook that asks nothing
has no use for them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from sage_nb.errors import SageError
from sage_nb.notebook.config import Sage
from sage_nb.notebook.options import CellOptions, parallelism, unquoted

if TYPE_CHECKING:
    from sage_nb.notebook.session import Session


@magics_class
class SageMagics(Magics):
    """The `%%sage` cell and the `%sage` line."""

    def __init__(self, shell: InteractiveShell, config: Sage) -> None:
        super().__init__(shell)
        self._shell, self._config = shell, config
        self._failure: SageError | None = None
        config.tell_limit()
        config.observe(lambda _: config.tell_limit(), "cache_gib")

    @cached_property
    def session(self) -> Session:
        """What the cells of this kernel share."""
        from sage_nb.notebook.session import Session

        return Session()

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
        `clear` and `doctor` show what they say, `%sage explore` opens the Explorer and `%sage build` the builder,
        `%sage trace` shows the last error in full.
        """
        try:
            return self._line(line.strip()) if cell is None else self._cell(line, cell)
        except SageError as wrong:
            self._failure = wrong
            raise

    def _cell(self, line: str, source: str) -> object:
        from sage_nb.notebook.cell import begin, failure_of, pipeline_of, questions_of
        from sage_nb.notebook.display import RunView
        from sage_nb.notebook.live import LiveDisplay

        given = _given(self.sage, line)
        options = CellOptions(**{**self._config.defaults(), **given})
        names = self._shell.user_ns
        stage = pipeline_of(source, names)
        self.session.stage = stage
        if options.on is None:
            if options.name:
                names[options.name] = stage
            return None if options.name else stage
        queries = questions_of(options.on, names)
        if options.plan:
            return self.session.plan(stage, queries, options)
        begun = begin(self.session, stage, queries, options, source, names)
        shown = LiveDisplay(RunView(begun, options.top), self._shell)
        if options.background:
            shown.watch_behind()
            return None
        shown.watch()
        if (failure := failure_of(begun, source)) is not None:
            raise failure
        return None

    @magic_arguments()
    @argument("name", nargs="?", help="bind the experiment to this name")
    @argument(
        "--on",
        help="the questions, as of %%%%sage; or a test collection with its judgments: a name of one, or a BEIR folder",
    )
    @argument("--qrels", help="the judgments: a name of grades by document by question, or a TREC or BEIR file")
    @argument("--answers", help="a name of reference answers by question: a text, or a list of texts")
    @argument("--measures", help='names with commas between (default: "nDCG@10,R@100,RR,AP")')
    @argument("--baseline", help="the pipeline that the others are compared with")
    @argument("--test", help="randomisation (the default) or t")
    @argument("--correction", help="holm (the default) or none")
    @argument("--judge", help="a generator that grades answers: a name of one, or the name it is registered under")
    @argument("--env", help="local: threads of this kernel; ray: actors of a cluster (default: Sage.env)")
    @argument(
        "--parallelism", type=parallelism, help='subtasks of each operator, or "auto" (default: Sage.parallelism)'
    )
    @argument("--gpus", type=float, help="the share of a GPU for each operator with a model; with --env ray")
    @argument("--fresh", action="store_true", help="compute everything anew, whatever the cache holds")
    @argument("--checkpoint-every", type=float, help="seconds between commits of results (default: as they come)")
    @cell_magic
    def sage_experiment(self, line: str, cell: str) -> None:
        """Compare the pipelines that the cell's lines give names to, as in `bm25 = book.lexical(k=100)`.

        Lines may build on names above them; a name that begins with _ is only a part of others. Or the cell ends with a
        dict of pipelines by names. All run as one graph, with the cache of `%%sage` cells: see `sage.experiment`.
        """
        try:
            self._experiment(line, cell)
        except SageError as wrong:
            self._failure = wrong
            raise

    def _experiment(self, line: str, source: str) -> None:
        from sage_nb.notebook.experiment_cell import ExperimentOptions, ExperimentShown, begin_experiment, variants_of
        from sage_nb.notebook.live import LiveDisplay

        given = _given(self.sage_experiment, line)
        own = {each.name: given.pop(each.name) for each in fields(ExperimentOptions) if each.name in given}
        defaults = {name: value for name, value in self._config.defaults().items() if name != "top"}
        options = ExperimentOptions(CellOptions(**{**defaults, **given}), **own)
        names = self._shell.user_ns
        begun = begin_experiment(self.session, variants_of(source, names), options, names)
        shown = ExperimentShown(begun)
        LiveDisplay(shown, self._shell).watch()
        if shown.failure is not None:
            raise shown.failure
        if options.run.name and shown.made is not None:
            names[options.run.name] = shown.made

    def _line(self, line: str) -> object:
        if line == "trace":
            shown = traceback.format_exception(self._failure) if self._failure else ["there was no error\n"]
            print("".join(shown), end="")  # noqa: T201  this is the command's answer
            return None
        from sage_nb.notebook.lines import answer

        return answer(line, self.session, self._shell.user_ns)


def _completer(shell: InteractiveShell, magics: SageMagics) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for IPython's completer; it is asked about every cell, and loads what it knows for ours alone."""

    @context_matcher(identifier="sage_nb")
    def sage_nb(context: CompletionContext) -> SimpleMatcherResult:
        if not context.full_text.startswith("%%sage") and "%sage " not in context.full_text:
            return SimpleMatcherResult(completions=[])
        from sage_nb.notebook.completion import offers

        offered = offers(context.full_text, context.cursor_line, context.cursor_position, shell.user_ns, magics.session)
        found = [SimpleCompletion(text=each, type="magic") for each in offered if each.startswith(context.token)]
        return SimpleMatcherResult(completions=found)

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = sage_nb
    return matcher


def _given(magic: Any, line: str) -> dict[str, Any]:
    """The options that a cell's first line has."""
    return {name: unquoted(value) for name, value in vars(parse_argstring(magic, line)).items() if value is not None}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext sage_nb`."""
    config = Sage(parent=shell)
    magics = SageMagics(shell, config)
    known: list[Any] = shell.configurables  # what %config knows
    known[:] = [*(each for each in known if not isinstance(each, Sage)), config]
    shell.register_magics(magics)
    completers: Any = shell.Completer.custom_matchers
    completers[:] = [each for each in completers if getattr(each, "matcher_identifier", "") != "sage_nb"]
    completers.append(_completer(shell, magics))
