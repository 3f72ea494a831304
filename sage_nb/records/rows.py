"""One row of a table, or one line of JSON, as a document."""

from __future__ import annotations

import datetime
import decimal
import gzip
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.values import Document, Scalar

FIELDS = ("id", "text", "title", "source", "parent")

_BOM = b"\xef\xbb\xbf"


def opened(path: Path, mode: Literal["rb", "wb"] = "rb") -> BinaryIO | gzip.GzipFile:
    """A file of bytes to read or to write, packed where its name ends in `.gz`."""
    return gzip.open(path, mode) if path.suffix.lower() == ".gz" else path.open(mode)


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1 in the file, without a byte order mark."""
    with opened(path) as lines:
        for number, line in enumerate(lines, 1):
            bare = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if bare:
                yield number, bare


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """A file of lines, in place once all of them are written: an error on the way leaves no half of it.

    A link is followed, and a device or a pipe is written to: it is never replaced by a file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        _write_through(path, lines)
        return
    aside = path.with_name(f".{path.name}")  # the same ending: packed or not
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(aside, "wb") as out:
            out.writelines(line + b"\n" for line in lines)
        aside.replace(path)
    except OSError as failed:
        raise BadValueError(
            f"{path} could not be written ({failed.strerror or failed}); make room, or name another place"
        ) from failed
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _write_through(path: Path, lines: Iterable[bytes]) -> None:
    try:
        with path.open("wb") as out:
            out.writelines(line + b"\n" for line in lines)
    except OSError as failed:
        raise BadValueError(
            f"{path} could not be written ({failed.strerror or failed}); name another place"
        ) from failed


def parsed(line: bytes) -> dict[str, object]:
    """The JSON object that a line holds.

    >>> parsed(b'{"id": 7}')
    {'id': 7}
    >>> parsed(b"[7]")
    Traceback (most recent call last):
    ...
    sage_nb.errors.BadValueError: not a JSON object: b'[7]'
    """
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValueError(f"broken JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadValueError(f"not a JSON object: {line[:40]!r}")
    return row


def document(row: Mapping[str, object], name: str, source: str = "") -> Document:
    """The document of a row: the fields it has by name, every other scalar as meta.

    `name` and `source` stand in where the row has no `id` or no `source`. Lists and mappings are left out.

    >>> document({"text": "Rays scatter.", "year": 1962, "tags": ["a"]}, "papers.csv:1")
    Document(id='papers.csv:1', text='Rays scatter.', title='', source='', parent='', meta={'year': 1962})
    """
    words = {key: str(value) for key in FIELDS if (value := scalar(row.get(key))) is not None}
    return Document(
        id=words.get("id") or name,
        text=_text(row),
        title=words.get("title", ""),
        source=words.get("source") or source,
        parent=words.get("parent", ""),
        meta=scalars({key: row[key] for key in row if key not in FIELDS}),
    )


def scalars(row: Mapping[str, object]) -> dict[str, Scalar]:
    """What of a row can be meta: its scalars, as plain data.

    >>> scalars({"year": 1962, "tags": ["a"], "on": datetime.date(1962, 5, 1)})
    {'year': 1962, 'on': '1962-05-01'}
    """
    return {key: value for key in row if isinstance(value := scalar(row[key]), Scalar)}


def scalar(value: object) -> object:
    """`value` as plain data: NaN is None, a date its ISO text, a Decimal a float; the rest as it is.

    >>> scalar(float("nan")), scalar(datetime.date(2020, 5, 1)), scalar(decimal.Decimal("1.5"))
    (None, '2020-05-01', 1.5)
    """
    match value:
        case float() if math.isnan(value):
            return None
        case datetime.date() | datetime.time():  # a datetime is a date
            return value.isoformat()
        case decimal.Decimal():
            return scalar(float(value))
    return value


def _text(row: Mapping[str, object]) -> str:
    if "text" not in row:
        raise BadValueError(f"no field 'text' (fields: {', '.join(map(str, row)) or 'none'})")
    text = scalar(row["text"])
    if text is not None and not isinstance(text, str):
        raise BadValueError(f"field 'text' is a {type(text).__name__}, not a string")
    return text or ""
