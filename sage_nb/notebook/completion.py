"""What Tab offers in a `%%sage` cell and a `%sage` line: options, names, operators, collections, runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sage_nb.notebook.cell import WORDS
from sage_nb.notebook.lines import COMMANDS
from sage_nb.notebook.options import RUNNERS
from sage_nb.notebook.session import Session
from sage_nb.records.disk import home
from sage_nb.retrieval.stage import Stage

OPTIONS = (
    "--on", "--env", "--parallelism", "--gpus", "--fresh", "--background", "--checkpoint-every", "--plan", "--top",
)  # fmt: skip

OF_EXPERIMENTS = (
    "--on", "--qrels", "--answers", "--measures", "--baseline", "--test", "--correction", "--judge", "--env",
    "--parallelism", "--gpus", "--fresh", "--checkpoint-every",
)  # fmt: skip


def offers(text: str, line: int, column: int, names: dict[str, Any], session: Session) -> list[str]:
    """What may stand at the cursor of a cell; nothing where the cell is not ours."""
    before = text.split("\n")[line][:column]
    if before.startswith("%sage "):
        return _of_line(before.split()[1:] + [""] * before.endswith(" "), names, session)
    if not text.startswith("%%sage"):
        return []
    return _of_first_line(before, names) if line == 0 else _of_body(before)


def _of_line(words: list[str], names: dict[str, Any], session: Session) -> list[str]:
    if len(words) == 1:
        return sorted([*COMMANDS, "trace"])
    if words[0] in ("diff", "runs"):
        runs = session.history.runs()
        return list(dict.fromkeys([*(run.name for run in runs), *(run.id for run in runs)]))
    if words[0] == "build" and len(words) == 2:
        return sorted(name for name, value in names.items() if isinstance(value, Stage) and not name.startswith("_"))
    if words[0] == "clear" and len(words) == 2:
        return sorted({each.cell for each in session.cache.facts().stages})
    return []


def _of_first_line(before: str, names: dict[str, Any]) -> list[str]:
    last = re.findall(r"\S+", before)[-1 if before.endswith(" ") else -2 :][0]
    if last in ("--on", "--qrels", "--answers"):
        return sorted(name for name, value in names.items() if not name.startswith("_") and _may_be_questions(value))
    if last == "--env":
        return list(RUNNERS)
    known = OF_EXPERIMENTS if before.startswith("%%sage_experiment") else OPTIONS
    return [each for each in known if each not in before]


def _of_body(before: str) -> list[str]:
    if re.search(r"Collection\(\s*[\"'][^\"']*$", before):
        return sorted(path.parent.name for path in (home() / "collections").glob("*/MANIFEST"))
    return [] if before.rstrip().endswith(".") or re.search(r"\.\w*$", before) else sorted(WORDS)


def _may_be_questions(value: object) -> bool:
    return isinstance(value, (str, Iterable)) and not isinstance(value, (type, bytes)) and not callable(value)
