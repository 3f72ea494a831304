"""The `%sage` line: a word of its own, or a question for the last pipeline."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.evaluation.diff import diff
from sage_nb.notebook.session import Session
from sage_nb.notebook.tables import cache_table, runs_table
from sage_nb.retrieval.answered import Answered
from sage_nb.retrieval.doctor import doctor
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage

Namespace = Mapping[str, Any]
Command = Callable[[Session, list[str], Namespace], Any]


def answer(line: str, session: Session, namespace: Namespace) -> Any:
    """What a line is answered with.

    Raises BadValueError where it says nothing that can be done.
    """
    words = _words(line)
    if not words:
        raise BadValueError(f'write %sage "a question", or %sage with one of {", ".join(COMMANDS)}')
    if words[0] in COMMANDS and not line.startswith(('"', "'")):
        return COMMANDS[words[0]](session, words[1:], namespace)
    return session.ask(line.strip("\"'"))


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an apostrophe in a question
        return line.split()


def _status(_: Session, words: list[str], namespace: Namespace) -> Any:
    """The Ray cluster with this kernel's jobs; or the dashboard of a job or a run."""
    from sage_nb.notebook.widgets.dashboard import Dashboard
    from sage_nb.runtime.ray.status import cluster_status

    if not words:
        return cluster_status()
    if len(words) > 1 or words[0] not in namespace:
        raise BadValueError(f"write %sage status, or %sage status NAME of a job or a run, got {' '.join(words)!r}")
    return Dashboard(namespace[words[0]])


def _runs(session: Session, words: list[str], _: Namespace) -> Any:
    """The runs of the past, or those of a name."""
    return runs_table(session.history.runs(*words[:1]))


def _plan(session: Session, words: list[str], _: Namespace) -> Any:
    """What running the last cell again would do."""
    _none_of(words, "plan")
    return session.plan_again()


def _diff(session: Session, words: list[str], namespace: Namespace) -> Any:
    """Two runs compared: names of variables, ids or names of runs of the past; a third name is that of qrels."""
    if len(words) not in (2, 3):
        raise BadValueError("write %sage diff A B, or %sage diff A B qrels: names of runs, and of the judgments")
    qrels = namespace.get(words[2]) if words[2:] else None
    if words[2:] and not isinstance(qrels, Mapping):
        raise BadValueError(f"{words[2]!r} names no qrels; write for example {words[2]} = sage.read_qrels('qrels.tsv')")
    before, after = (_run(each, session, namespace) for each in words[:2])
    return diff(before, after, qrels, names=(words[0], words[1]))


def _run(name: str, session: Session, namespace: Namespace) -> Answered:
    held = namespace.get(name)
    return held if isinstance(held, Answered) else session.history.load(name)


def _explore(session: Session, words: list[str], namespace: Namespace) -> Any:
    """The Explorer over the last pipeline, or over that of a name: a pipeline's, or a run's with its questions."""
    from sage_nb.notebook.widgets.explorer import Explorer

    if len(words) > 1:
        raise BadValueError("write %sage explore, or %sage explore NAME: the name of a pipeline or a run")
    held = namespace.get(words[0]) if words else session.stage
    stage, questions = (held.stage, held.queries) if isinstance(held, Run) else (held, session.questions)
    if held is None and not words:
        raise BadValueError("there is no pipeline to explore yet; run a %%sage cell first")
    if not isinstance(stage, Stage):
        raise BadValueError(f"{words[0]!r} names no pipeline and no run; write for example %sage explore answers")
    return Explorer(stage, questions=questions, cell=Cell("explore", session.cache))


def _cache(session: Session, words: list[str], _: Namespace) -> Any:
    """What the cell cache holds."""
    _none_of(words, "cache")
    return cache_table(session.cache.facts(), session.cache.notes)


def _clear(session: Session, words: list[str], _: Namespace) -> Any:
    """Forget what the cache holds: all of it, or that of a cell, or of a cell's stage."""
    if len(words) > 2:
        raise BadValueError("write %sage clear, %sage clear CELL, or %sage clear CELL STAGE")
    if words and words[0] not in {each.cell for each in session.cache.facts().stages}:
        raise UnknownNameError.of("cell", words[0], {each.cell for each in session.cache.facts().stages})
    cell, stage = [*words, None, None][:2]
    return session.cache.clear(cell, stage)


def _doctor(_: Session, words: list[str], __: Namespace) -> Any:
    """What this machine offers and what is installed."""
    _none_of(words, "doctor")
    print(doctor())  # noqa: T201  this is the command's answer


def _build(session: Session, words: list[str], namespace: Namespace) -> Any:
    """The builder: on the pipeline of a name, on the last cell's, or on a new one."""
    from sage_nb.notebook.widgets.builder import PipelineBuilder

    if not words:
        return PipelineBuilder(session.stage, names=namespace)
    pipeline = namespace.get(words[0])
    if words[1:] or not isinstance(pipeline, Stage):
        raise BadValueError(f"write %sage build, or %sage build and the name of a pipeline, got {' '.join(words)!r}")
    return PipelineBuilder(pipeline, called=words[0], names=namespace)


def _none_of(words: list[str], command: str) -> None:
    if words:
        raise BadValueError(f"%sage {command} takes nothing more, got {' '.join(words)!r}")


COMMANDS: Mapping[str, Command] = {
    "status": _status,
    "runs": _runs,
    "plan": _plan,
    "diff": _diff,
    "cache": _cache,
    "clear": _clear,
    "doctor": _doctor,
    "explore": _explore,
    "build": _build,
}
