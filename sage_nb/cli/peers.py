"""Peers of a bench: other programs that do the same work in processes of their own, in the same run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from typing_extensions import Self

from sage_nb.errors import BadValueError, SageError
from sage_nb.index.text import indexed_text
from sage_nb.models.precision import float32_copy
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.models.threads import THREADS_SET
from sage_nb.models.weights import RERANKER, model_folder
from sage_nb.records.values import Document, Query

CHECKOUT = Path(__file__).parents[2]
PACKAGE = "tests.benchmarks.peers"
QUIET = {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "TOKENIZERS_PARALLELISM": "true"}

Answers = dict[str, dict[str, Any]]  # by the peer's name


class Process:
    """One peer; it answers a request at a time."""

    def __init__(self, python: str, name: str, folder: Path, threads: int) -> None:
        self._name, self._log = name, folder / f"{name}.log"
        environment = {**os.environ, **QUIET, **dict.fromkeys(THREADS_SET, str(threads))}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(Path(python).absolute()), "-m", PACKAGE, name, str(folder.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=CHECKOUT,
                env=environment,
            )
        try:
            self.loaded = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """What it answers.

        Raises SageError with its last word where it has ended.
        """
        with suppress(BrokenPipeError):  # what it said last is told below
            print(json.dumps({"do": do, **what}), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            said = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise SageError(f"{self._name} is left out, it ended: {said or 'without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Peers:
    """Those of the named peers that can run, each loaded and ready; one that fails is left out, and that is said.

    Without a `python`, the interpreter of an environment in which they are installed, there are none.

    >>> with Peers(None, ["haystack"], Path("unused")) as others:
    ...     others.ask("index")
    peers are left out (haystack); --peers .venv-peers/bin/python, which make bench-peers makes, has them
    {}
    """

    def __init__(self, python: str | None, names: Sequence[str], folder: Path, threads: int = 2) -> None:
        self.versions: dict[str, str] = {}
        self.loading: dict[str, float] = {}
        self._running: dict[str, Process] = {}
        if python is None:
            left = f"peers are left out ({', '.join(names)})"
            print(f"{left}; --peers .venv-peers/bin/python, which make bench-peers makes, has them")
            return
        check_peers(python)
        for name in names:
            with _left_out():
                self._start(Process(python, name, folder, threads), name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.close()

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def ask(self, do: str, only: Iterable[str] | None = None, **what: Any) -> Answers:
        """What each answers, one after the other."""
        answers: Answers = {}
        for name in [each for each in self._running if only is None or each in only]:
            with _left_out():
                answers[name] = self._running[name].ask(do, **what)
            if name not in answers:
                self._running.pop(name).close()
        return answers

    def _start(self, process: Process, name: str) -> None:
        self._running[name] = process
        self.loading[name] = process.loaded["seconds"]
        self.versions.update(process.loaded["versions"])


@contextmanager
def _left_out() -> Iterator[None]:
    """One that fails does not end the bench: it says so."""
    try:
        yield
    except SageError as ended:
        print(ended, flush=True)


def best_of(rates: Mapping[str, Sequence[float]]) -> str:
    """Whose median is the highest.

    >>> best_of({"one": [1, 2, 9], "other": [3, 3, 3]})
    'other'
    """
    return max(rates, key=lambda name: statistics.median(rates[name]))


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Times as high, turn by turn.

    >>> ratio([6, 9], [2, 3])
    [3.0, 3.0]
    """
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def check_peers(python: str) -> None:
    """Raises BadValueError where peers cannot be run."""
    if not Path(python).is_file():
        raise BadValueError(
            f"--peers {python} is no interpreter; run make bench-peers, and give .venv-peers/bin/python"
        )
    if not (CHECKOUT / PACKAGE.replace(".", "/")).is_dir():
        raise BadValueError(
            f"--peers wants a checkout of the project, and {CHECKOUT} has no {PACKAGE.replace('.', '/')}"
        )


def write_work(folder: Path, documents: Iterable[Document], questions: Iterable[Query], **settings: int) -> None:
    """What every peer is given: documents as they are indexed here, questions, and the models that are bundled.

    The reranker is kept in float16, in which a library that computes in what it loads is slow on a CPU: they are given
    the same weights in float32.
    """
    reranker = float32_copy(model_folder(RERANKER), folder / "reranker")
    models = {"encoder": str(model_folder(DEFAULT_ENCODER)), "reranker": str(reranker)}
    (folder / "settings.json").write_text(json.dumps({**models, **settings}), encoding="utf8")
    _write(folder / "documents.jsonl", {each.id: indexed_text(each) for each in documents})
    _write(folder / "questions.jsonl", {each.id: each.text for each in questions})


def _write(path: Path, texts: Mapping[str, str]) -> None:
    with path.open("w", encoding="utf8") as out:
        out.writelines(json.dumps(row) + "\n" for row in texts.items())
