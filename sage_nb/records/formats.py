"""One reader for each type of file: a path in, documents out, and an error for each part that is none."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from sage_nb.errors import BadValueError, MissingExtraError
from sage_nb.records.headings import headings
from sage_nb.records.rows import FIELDS, document, numbered, parsed
from sage_nb.records.values import Document

Reader = Callable[[Path], Iterator[Document | BadValueError]]

_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ROWS = 1000  # rows of a table that are in memory at once


class Cell(msgspec.Struct):
    """A notebook's cell, as nbformat 4 stores it."""

    cell_type: str
    source: str | list[str] = ""


class Notebook(msgspec.Struct):
    """As much of an nbformat 4 file as has text."""

    cells: list[Cell]
    metadata: dict[str, Any] = {}


def suffix(path: Path) -> str:
    """The ending that decides on the reader, without `.gz`.

    >>> suffix(Path("a/b.JSONL.gz")), suffix(Path("notes.v2.md"))
    ('.jsonl', '.md')
    """
    return Path(path.name.lower().removesuffix(".gz") if _packed(path) else path.name.lower()).suffix


def require(path: Path) -> None:
    """Make sure that the library which reads `path` is there, before anything is read.

    Raises MissingExtraError, which names the extra that brings it.
    """
    if suffix(path) in EXTRAS:
        _library(*EXTRAS[suffix(path)])


def decoded(data: bytes) -> tuple[str, int]:
    r"""Bytes as text, and how many bad places were replaced: at most one character in a hundred.

    >>> decoded(b"\xef\xbb\xbfna\xc3\xafve")
    ('naïve', 0)
    >>> decoded(b"caf\xe9")
    Traceback (most recent call last):
    ...
    sage_nb.errors.BadValueError: not UTF-8 text: byte 3 is 0xe9
    """
    encoding = next((_ENCODINGS[bom] for bom in _ENCODINGS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding), 0
    except UnicodeDecodeError as error:
        text = data.decode(encoding, "replace")
        replaced = text.count("\ufffd")
        if replaced * 100 > len(text):
            at = error.start
            raise BadValueError(f"not UTF-8 text: byte {at} is {data[at]:#04x}") from error
        return text, replaced


def heading(text: str) -> str:
    r"""The first heading of a Markdown text, outside of code; "" where there is none.

    >>> heading("intro\n## Install it ##\n")
    'Install it'
    """
    return next((found.title for found in headings(text)), "")


def read_text(path: Path) -> Iterator[Document | BadValueError]:
    """A .txt file; its name is the title."""
    text, replaced = decoded(path.read_bytes())
    yield _whole(path, text, "", replaced)


def read_markdown(path: Path) -> Iterator[Document | BadValueError]:
    """A Markdown file; its first heading is the title."""
    text, replaced = decoded(path.read_bytes())
    yield _whole(path, text, heading(text), replaced)


def read_html(path: Path) -> Iterator[Document | BadValueError]:
    """The main text of a web page as Markdown, without menus and footers; its own title."""
    trafilatura = _library(*EXTRAS[".html"])
    page = trafilatura.load_html(path.read_bytes())
    if page is None:
        raise BadValueError("no HTML page")
    title = trafilatura.extract_metadata(page).title
    yield _whole(path, trafilatura.extract(page, output_format="markdown", favor_recall=True) or "", title or "")


def read_pdf(path: Path) -> Iterator[Document | BadValueError]:
    """The text of a PDF, with a form feed between two pages; scanned pages have none."""
    reader = _library(*EXTRAS[".pdf"]).PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise BadValueError("the PDF is locked by a password")
    title = str((reader.metadata or {}).get("/Title") or "")
    yield _whole(path, "\f".join(page.extract_text() for page in reader.pages), title.strip())


def read_notebook(path: Path) -> Iterator[Document | BadValueError]:
    """A notebook's Markdown cells as they are and its code in fences, without outputs."""
    try:
        notebook = msgspec.json.decode(path.read_bytes(), type=Notebook)
    except msgspec.DecodeError as error:
        raise BadValueError(f"no notebook of format 4: {error}") from error
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    text = "\n\n".join(_cell(cell, language) for cell in notebook.cells if cell.source)
    yield _whole(path, text, heading(text))


def read_jsonl(path: Path) -> Iterator[Document | BadValueError]:
    """One document for each line, named after its line where it has no id."""
    for number, line in numbered(path):
        yield _line(path, number, line)


def read_csv(path: Path) -> Iterator[Document | BadValueError]:
    """One document for each row; an empty cell is None. Columns `id` to `parent` stay text ("007").

    The file is in memory while it is read, so that a column's type is found from all of its cells.
    """
    text, _ = decoded(path.read_bytes())
    if not text.strip():
        raise BadValueError("the file has no text")
    table, unfit = _csv_table(text.encode())
    rows = (row for batch in table.to_batches(_ROWS) for row in batch.to_pylist())
    yield from _rows(path, zip((n for n in count(1) if n not in unfit), rows, strict=False))
    yield from unfit.values()


def read_parquet(path: Path) -> Iterator[Document | BadValueError]:
    """One document for each row; nested columns are left out."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        rows = (row for batch in table.iter_batches(batch_size=_ROWS) for row in batch.to_pylist())
        yield from _rows(path, enumerate(rows, 1))


def _line(path: Path, number: int, line: bytes) -> Document | BadValueError:
    try:
        return _filled(document(parsed(line), f"{path.as_posix()}:{number}", path.name))
    except BadValueError as error:
        return BadValueError(f"line {number}: {error}")


def _csv_table(data: bytes) -> tuple[Any, dict[int, BadValueError]]:
    from pyarrow import BufferReader, csv, string

    unfit = {}

    def skip(row: Any) -> str:
        number = row.number - 1  # less the header
        unfit[number] = BadValueError(f"row {number}: {row.actual_columns} cells, not {row.expected_columns}")
        return "skip"

    one_block = csv.ReadOptions(use_threads=False, block_size=min(len(data), 2**31 - 1))
    lenient = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)
    texts = dict.fromkeys(FIELDS, string())
    types = csv.ConvertOptions(column_types=texts, null_values=[""], strings_can_be_null=True)
    return csv.read_csv(BufferReader(data), one_block, lenient, types), unfit


def _rows(path: Path, rows: Iterable[tuple[int, Mapping[str, object]]]) -> Iterator[Document | BadValueError]:
    for number, row in rows:
        if "text" not in row:  # then no row of the table has it: said once, for the file
            raise BadValueError(f"no column 'text' (columns: {', '.join(row)})")
        yield _row(path, number, row)


def _row(path: Path, number: int, row: Mapping[str, object]) -> Document | BadValueError:
    try:
        return _filled(document(row, f"{path.as_posix()}:{number}", path.name))
    except BadValueError as error:
        return BadValueError(f"row {number}: {error}")


def _filled(document: Document) -> Document:
    if not document.text.strip():
        raise BadValueError(f"document {document.id!r} has no text")
    return document


def _whole(path: Path, text: str, title: str, replaced: int = 0) -> Document | BadValueError:
    if not text.strip():
        return BadValueError("the file has no text")
    return Document(
        id=path.as_posix(),
        text=text,
        title=title or path.name,
        source=path.parent.name or path.name,
        meta={"path": path.as_posix(), "type": suffix(path)[1:]} | ({"replaced": replaced} if replaced else {}),
    )


def _cell(cell: Cell, language: str) -> str:
    source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
    return f"```{language}\n{source}\n```" if cell.cell_type == "code" else source


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".jsonl.gz")


def _library(feature: str, module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError.of(feature, module, extra) from error


READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".md": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
    ".ipynb": read_notebook,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}

EXTRAS: dict[str, tuple[str, str, str]] = {
    ".html": ("reading HTML", "trafilatura", "html"),
    ".htm": ("reading HTML", "trafilatura", "html"),
    ".pdf": ("reading a PDF", "pypdf", "pdf"),
}
