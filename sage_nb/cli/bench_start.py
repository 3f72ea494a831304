"""`sage-nb bench start`: how long somebody waits for the library, its extension, and the answers of two cells."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sage_nb.cli.bench_stream import Figure, report
from sage_nb.cli.installed import with_bytecode
from sage_nb.corpora.harvested import STDLIB
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError, MissingExtraError, SageError
from sage_nb.retrieval.collection import Collection

CELL_S = 300.0  # seconds that a cell may take on a machine that is busy
ASKED = 5  # questions of a cell
IMPORT = "import time; begun = time.perf_counter(); import sage_nb; print(time.perf_counter() - begun)"
NAMES = "first, second, third = {questions!r}"
CELL = '%%sage answers --on {name}\nbook = Collection("book")\n(book.hybrid(k=100) % 20) >> rerank(k=5)'
PLAIN = "found = answers.stage.run(third).results"


def bench_start(out: str, repeats: int = 5, documents: int = 1000) -> None:
    """Measure, print a table, and write one JSON under `out`; the collection holds so many of pydocs' documents.

    Each repeat is a process, and a kernel, of its own. Cells are timed as their reader sees them: from sending one to
    the kernel until it is idle again. What the second costs beyond its compute is its time less that of other
    questions, as many, asked of the same pipeline without a cell.
    """
    if repeats < 1 or documents < 3 * ASKED:
        raise BadValueError(f"bench start needs 1 repeat and {3 * ASKED} documents or more, got {repeats}, {documents}")
    with_bytecode()
    report("start", out, _figures(repeats, documents), repeats=repeats, documents=documents)


def _figures(repeats: int, documents: int) -> Iterator[Figure]:
    yield Figure("import sage_nb", "s", 0.3, False, [_imported() for _ in range(repeats)])
    with tempfile.TemporaryDirectory() as folder:
        held = list(islice(pydocs((STDLIB,)), documents))
        Collection(Path(folder) / "collections" / "book").add(held, progress=False)
        titles = [each.id for each in held[: 3 * ASKED]]
        asked = [titles[at::3] for at in range(3)]
        loads, firsts, beyond = zip(*(_cells(folder, asked) for _ in range(repeats)), strict=True)
    yield Figure("%load_ext sage_nb", "s", 0.4, False, loads)
    yield Figure(f"first %%sage cell, {ASKED} questions, models loaded", "s", 3.0, False, firsts)
    yield Figure("second %%sage cell, beyond its compute", "s", 0.3, False, beyond)


def _imported() -> float:
    """Seconds, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _cells(folder: str, asked: list[list[str]]) -> tuple[float, float, float]:
    """Seconds of the extension's loading and of the first cell, and of the second beyond its compute."""
    with tempfile.TemporaryDirectory() as home, _kernel(home) as kernel:  # its cache is empty
        Path(home, "collections").symlink_to(Path(folder, "collections"))
        _ran(kernel, NAMES.format(questions=asked))
        load = _ran(kernel, "%load_ext sage_nb")
        first, second = (_ran(kernel, CELL.format(name=name)) for name in ("first", "second"))
        return load, first, second - _ran(kernel, PLAIN)


@contextmanager
def _kernel(home: str) -> Iterator[Any]:
    try:
        from jupyter_client.manager import start_new_kernel
    except ImportError as missing:
        raise MissingExtraError.of("bench start", "jupyter_client", "dev") from missing
    manager, client = start_new_kernel(cwd=home, env={**os.environ, "SAGE_HOME": home}, stderr=subprocess.DEVNULL)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _ran(kernel: Any, code: str) -> float:
    """Seconds until the kernel is idle again."""
    begun = time.perf_counter()
    reply = kernel.execute_interactive(code, timeout=CELL_S, output_hook=_unheard)["content"]
    took = time.perf_counter() - begun
    if reply["status"] != "ok":
        raise SageError(f"the cell {code!r} raised {reply['ename']}: {reply['evalue']}; run it in a notebook")
    return took


def _unheard(_: Any) -> None:
    """What a cell shows is not looked at."""
