"""The documentation of the very versions installed here, as documents: docstrings and language topics."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches

from sage_nb.corpora.harvested import STDLIB, Harvest, NotImported, harvested
from sage_nb.errors import UnknownNameError
from sage_nb.records.values import Document

CHILDREN = 2  # packages imported at a time
SECONDS = 120.0  # a package that takes longer to import hangs
CUT_OFF = "cut off"

# What keeps an import from opening a window, asking the network, taking a GPU or talking.
_QUIET = {
    "PYTHONWARNINGS": "ignore",
    "MPLBACKEND": "Agg",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "BROWSER": "true",
    "PYTHONHASHSEED": "0",  # sets print in one order
}


class PyDocs:
    """Documents from docstrings: packages are imported two at a time, each in a process of its own.

    What was read of an installed package is kept in `pydocs` of the home (`SAGE_HOME`, else `.sage`) until something
    is installed or removed, or its file there is deleted; one's own packages, and those of which anything failed but
    the import of a module that is not there, are imported anew by each pass.

    `skipped` lists what the latest pass could not import; one warning for each package says so.
    """

    def __init__(self, packages: Iterable[str], seconds: float = SECONDS) -> None:
        self.packages = tuple(packages)
        self.skipped: list[NotImported] = []
        self._seconds = seconds

    def __iter__(self) -> Iterator[Document]:
        skipped = self.skipped = []
        seen: set[str] = set()
        with ThreadPoolExecutor(CHILDREN) as pool:
            found = pool.map(lambda package: harvested(package, self._read), self.packages)
            for package, harvest in zip(self.packages, found, strict=True):
                skipped.extend(harvest.skipped)
                if harvest.failed:
                    skipped.append(NotImported(package, harvest.failed))
                if loss := harvest.loss(package):
                    warnings.warn(f"pydocs: {loss}", stacklevel=2)
                for document in harvest.documents:
                    if document.id not in seen:
                        seen.add(document.id)
                        yield document

    def __repr__(self) -> str:
        return f"pydocs({list(self.packages)})"

    def _read(self, package: str) -> Harvest:
        """The documents of one package, out of a child process that may print, hang or crash as it likes."""
        receive, send = os.pipe()
        with tempfile.TemporaryDirectory() as folder:
            child = subprocess.Popen(
                [sys.executable, "-m", "sage_nb.corpora.harvest", package, str(send)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[send],
                cwd=folder,
                env={
                    **os.environ,
                    **_QUIET,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
                start_new_session=True,
            )
            os.close(send)
            watch = threading.Timer(self._seconds, _end, [child])
            watch.start()
            with os.fdopen(receive, encoding="utf8") as lines:
                harvest = _received(lines, package)
            code = child.wait()
            late = not watch.is_alive()
            watch.cancel()
        if harvest.failed == CUT_OFF:
            how = f"no answer within {self._seconds:.0f} s" if late else _how(code)
            return Harvest(harvest.documents, harvest.skipped, f"its import ended the process ({how})")
        return harvest


def pydocs(packages: Iterable[str] | None = None) -> PyDocs:
    """Documents from the docstrings of installed packages; "stdlib" is the standard library with the language topics.

    One document for each public module, class, function and method that has a docstring: `id` and `title` the
    qualified name, `source` the package, `parent` the module or class. None: everything installed. A module or a
    lazy name that cannot be imported is left out, and listed in `skipped`.

    Raises UnknownNameError for a package that is not installed.

    >>> document = next(iter(pydocs(["json"])))
    >>> document.id, document.source, document.meta["kind"]
    ('json', 'json', 'module')
    """
    given = _installed() if packages is None else [packages] if isinstance(packages, str) else packages
    wanted = list(dict.fromkeys(given))
    for name in wanted:
        if name != STDLIB and not _is_importable(name) and name not in (installed := _installed()):
            known = [STDLIB, *installed, *(each for each in sys.stdlib_module_names if not each.startswith("_"))]
            raise UnknownNameError.of("package", name, get_close_matches(name, known, n=5))
    return PyDocs(wanted)


def _installed() -> list[str]:
    """The standard library and every import package of every installed distribution."""
    found = importlib.metadata.packages_distributions()
    return [STDLIB, *sorted(name for name in found if name.isidentifier() and not name.startswith("_"))]


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _received(lines: Iterable[str], package: str) -> Harvest:
    documents, skipped, whole = [], [], False
    for line in lines:
        try:
            sent = json.loads(line)
        except ValueError:  # the child died in the middle of a line
            break
        if "id" in sent:
            documents.append(_document(sent, package))
        elif "skipped" in sent:
            skipped.append(NotImported(sent["skipped"], sent["reason"]))
        else:
            whole = True
    top = next((each.reason for each in skipped if each.name == package), "")
    if top:
        return Harvest(tuple(documents), tuple(each for each in skipped if each.name != package), top)
    return Harvest(tuple(documents), tuple(skipped), "" if whole else CUT_OFF)


def _document(sent: dict[str, str], package: str) -> Document:
    meta = {"kind": sent["kind"], "version": sent["version"]}
    return Document(sent["id"], sent["text"], sent["id"], package, sent["parent"], meta)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started (it leads a process group of its own)."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
