"""Files as documents, read while they are asked for; what cannot be read is reported, never fatal."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sage_nb.errors import BadValueError, MissingExtraError, UnknownNameError
from sage_nb.records.formats import READERS, Reader, require, suffix
from sage_nb.records.values import Document


@dataclass(frozen=True)
class Skipped:
    """A file, or a part of one, that gave no document, and why."""

    path: str
    reason: str


class Loaded:
    """The documents of some files: each pass reads them anew, in order, one file or row at a time.

    `skipped` lists what the latest pass could not read, as far as it has come.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(files)
        self.skipped: list[Skipped] = []

    def __iter__(self) -> Iterator[Document]:
        """The documents, first file first."""
        skipped = self.skipped = []  # a name of its own: a later pass begins another list
        for path in self.files:
            before = len(skipped)
            yield from _documents(path, skipped)
            if skipped[before:]:
                warnings.warn(_report(skipped[before:]), UserWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"Loaded({len(self.files)} files)"


def load(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Loaded:
    r"""Documents from files: a path, a folder, a glob (`**` for any depth), or several of them.

    Reads .txt, .md, .html, .pdf, .ipynb (one document each), .jsonl, .jsonl.gz, .csv, .parquet (one document
    for each row: `id`, `text`, `title`, `source`, `parent` are taken by name, other scalars become meta). Of
    a folder it takes, at any depth, the files of these types that are not hidden. Nothing is read before the
    first document is asked for; what cannot be read is listed in `.skipped`, and warned of.

    Raises BadValueError where a path matches nothing, MissingExtraError where a file needs a library that is
    not installed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "rays.md").write_text("# Rays\nThey scatter.")
    ...     [document.title for document in load(f"{folder}/*.md")]
    ['Rays']
    """
    if not isinstance(paths, str | os.PathLike | Iterable):
        raise BadValueError(f"load({paths!r}) names no file; give a path, a glob or a list of them")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise BadValueError(f"load({paths!r}) names no file; give a path, a glob or a list of them")
    files = dict.fromkeys(path for one in given for path in _matches(os.fspath(one)))  # once each, in order
    for path in {suffix(path): path for path in files}.values():
        require(path)
    return Loaded(files)


def _matches(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if given and path.is_dir():
        return _filled(given, [each for each in sorted(path.rglob("*")) if _shown(each.relative_to(path))])
    if given and path.exists():
        _reader(path)
        return [path]
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
    return _filled(given, [Path(each) for each in sorted(found)])


def _shown(path: Path) -> bool:
    return suffix(path) in READERS and not any(part.startswith(".") for part in path.parts)


def _filled(given: str, found: list[Path]) -> list[Path]:
    files = [path for path in found if not path.is_dir()]
    if not files:
        raise BadValueError(f"{given!r} matches no file in {Path.cwd()}; check the path")
    return files


def _reader(path: Path) -> Reader:
    if suffix(path) not in READERS:
        raise UnknownNameError.of(f"file type of {path.as_posix()}:", suffix(path), READERS)
    return READERS[suffix(path)]


def _documents(path: Path, skipped: list[Skipped]) -> Iterator[Document]:
    try:
        for record in _reader(path)(path):
            if isinstance(record, Document):
                yield record
            else:
                skipped.append(Skipped(path.as_posix(), str(record)))
    except MissingExtraError:
        raise
    except Exception as error:  # noqa: BLE001  # parsers raise anything on a broken file; it is reported
        skipped.append(Skipped(path.as_posix(), _reason(error)))


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    match error:
        case BadValueError() | UnknownNameError():
            return said
        case UnicodeDecodeError():
            return f"not UTF-8 text: {said}"
    return f"{type(error).__name__}: {said}"


def _report(skipped: list[Skipped]) -> str:
    more = f" (and {len(skipped) - 1} more like it)" if len(skipped) > 1 else ""
    return f"skipped {skipped[0].path}: {skipped[0].reason}{more}"
