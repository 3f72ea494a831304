"""What the cells of one kernel share: the cache, the runs of the past, the last pipeline; no IPython in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from sage_nb.errors import BadValueError, SageError
from sage_nb.notebook.options import CellOptions
from sage_nb.records.values import Query
from sage_nb.retrieval.changes import changes, step_facts
from sage_nb.retrieval.history import History, RunFacts, new_id, versions
from sage_nb.retrieval.plan import RunPlan, planned
from sage_nb.retrieval.questions import check_text
from sage_nb.retrieval.recall import Cell, home_cache
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.yaml import to_yaml
from sage_nb.runtime.cellcache.store import CellCache, Cleared
from sage_nb.runtime.environment import Environment, LocalEnvironment


class CellRun:
    """A run that a cell began: with what its pipeline has that the run before had not, and a note of what was kept."""

    def __init__(self, run: Run, options: CellOptions, source: str, before: RunFacts | None, cache: CellCache) -> None:
        self.run, self.name, self.source = run, options.cell, source
        self._options = options
        self._cache = cache
        self.begun = time.time()
        self.steps = step_facts(run.stage)  # type: ignore[arg-type]
        self.news = changes(before.steps, self.steps) if before else {}
        self.notes: list[str] = []
        self.kept = threading.Event()

    @property
    def remarks(self) -> list[str]:
        """Why results of some stages, or of all, or the run itself, are not kept, a sentence each."""
        uncached = [f"{step.label} runs uncached: {step.unknown}" for step in self.steps if step.unknown]
        return [*uncached, *self._cache.notes, *self.notes]

    def facts(self) -> RunFacts:
        """The run as it is kept."""
        run, metrics = self.run, self.run.job.metrics()
        return RunFacts(
            id=new_id(self.name, self.begun),
            name=self.name,
            status=run.status,
            begun=self.begun,
            seconds=run.seconds,
            pipeline=run.pipeline,
            written=_written(run.stage),
            cell=self.source,
            steps=self.steps,
            stages={name: dict(counts) for name, counts in run.stages.items()},  # type: ignore[arg-type]
            questions=run.queries,
            answered=run.done,
            environment={"runner": self._options.env, "tasks": str(len(metrics.tasks))},
            versions=versions(),
        )


class Session:
    """Begins the runs of a kernel's cells, and keeps them."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self._last: tuple[Stage, Sequence[Query], CellOptions] | None = None

    @property
    def cache(self) -> CellCache:
        """The one of `SAGE_HOME`, else of `.sage`."""
        return home_cache()

    @property
    def questions(self) -> Sequence[Query]:
        """Those of the last cell that had some."""
        return self._last[1] if self._last else ()

    @property
    def history(self) -> History:
        """The runs beside it."""
        return History.at_home()

    def plan(self, stage: Stage, queries: Sequence[Query], options: CellOptions) -> RunPlan:
        """What a cell would do."""
        self._last = stage, queries, options
        return planned(stage, queries, self._cell(options), self.history.last(options.cell))

    def plan_again(self) -> RunPlan:
        """What the last cell would do, were it run again.

        Raises BadValueError where there was none with questions.
        """
        if self._last is None:
            raise BadValueError("there is nothing to plan yet; run a %%sage cell with --on first")
        return self.plan(*self._last)

    def begin(self, stage: Stage, queries: Sequence[Query], options: CellOptions, source: str) -> CellRun:
        """Start a cell's run; it is kept when it has ended, however that was."""
        self._last = stage, queries, options
        before = self.history.last(options.cell)
        run = Run.begun(stage, queries, self.environment(options), **options.how)
        begun = CellRun(run, options, source, before, self.cache)
        threading.Thread(target=self._record, args=(begun,), name="sage-record", daemon=True).start()
        return begun

    def ask(self, text: str) -> Any:
        """The last pipeline's answer to one question, kept as a cell's are."""
        if self.stage is None:
            raise BadValueError("there is no pipeline to ask yet; run a %%sage cell first")
        asked = Query("q", check_text(text, "the question"))
        env = LocalEnvironment("asked", resources={Cell: Cell("asked", self.cache)})
        return self.stage.run([asked], env=env, on_error="fail").results[0]

    def _record(self, begun: CellRun) -> None:
        job = begun.run.job
        while job.status in ("running", "restarting"):
            time.sleep(0.02)
        try:
            self.history.keep(begun.facts(), begun.run.so_far)
        except SageError as error:
            begun.notes.append(str(error))
        finally:
            begun.kept.set()

    def _cell(self, options: CellOptions) -> Cell:
        return Cell(options.cell, self.cache, fresh=options.fresh, every=options.checkpoint_every)

    def environment(self, options: CellOptions) -> Environment:
        """Where a cell's pipelines run, with the cache for what they give."""
        given: Any = {"parallelism": options.parallelism, "resources": {Cell: self._cell(options)}}
        if options.env == "local":
            return LocalEnvironment(options.cell, **given)
        from sage_nb.runtime.ray.environment import RayEnvironment

        return RayEnvironment(options.cell, **given)


def _written(stage: Any) -> str:
    try:
        return to_yaml(stage)
    except BadValueError:
        return ""


def clear_cache(cell: str | None = None, stage: str | None = None, older_than: float | None = None) -> Cleared:
    """Forget what the cell cache holds of a cell, of a stage, last used more than `older_than` seconds ago; or all.

    >>> import os
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     os.environ["SAGE_HOME"] = folder
    ...     clear_cache(cell="answers")
    Cleared(entries=0, bytes=0)
    >>> del os.environ["SAGE_HOME"]
    """
    cache = home_cache()
    try:
        return cache.clear(cell, stage, older_than)
    finally:
        cache.close()
