"""TREC's files: judgments (qrels), rankings (runs) and queries, as other tools read and write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.rows import numbered, parsed, write_lines
from sage_nb.records.values import Hit, Query, Result

Qrels = dict[str, dict[str, int]]
Run = dict[str, list[tuple[str, float]]]

_HEADS = {"query-id", "query_id", "qid", "query", "topic"}  # what the first column of a header is called
_INTEGER = re.compile(r"[+-]?[0-9]+")


def read_queries(path: str | PathLike[str]) -> tuple[Query, ...]:
    r"""Queries from .jsonl or .jsonl.gz (`id` or `_id`, and `text`), or else from lines of id, tab, text.

    Raises BadValueError for a line that is no query, and for an id that comes twice.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "topics.tsv").write_text("q1\twhat is a barrier?\n")
    ...     read_queries(f"{folder}/topics.tsv")
    (Query(id='q1', text='what is a barrier?'),)
    """
    make = _json_query if _is_json(Path(path)) else _tab_query
    queries: dict[str, Query] = {}
    for number, line in numbered(_file(path)):
        with placed(path, number):
            query = make(line)
            if query.id in queries:
                raise BadValueError(f"query id {query.id!r} comes twice")
            queries[query.id] = query
    return tuple(queries.values())


def write_queries(queries: Iterable[Query], path: str | PathLike[str]) -> None:
    r"""Queries as `read_queries` reads them: JSON lines where `path` ends in .jsonl(.gz), else with tabs.

    Raises BadValueError for what tabs cannot keep: an id with a space, a text with a tab or of several lines.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_queries([Query("q1", "what is a barrier?")], f"{folder}/queries.jsonl")
    ...     Path(folder, "queries.jsonl").read_text()
    '{"_id":"q1","text":"what is a barrier?"}\n'
    """
    line = _as_json if _is_json(Path(path)) else _as_tabs
    write_lines(Path(path), map(line, queries))


def read_qrels(path: str | PathLike[str]) -> Qrels:
    r"""Grades by query and document, from TREC's four columns or from three, with or without a header.

    Raises BadValueError for a line that is neither, and for a document that gets two grades for one query.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "qrels.txt").write_text("q1 0 d7 2\nq1 0 d9 0\n")
    ...     read_qrels(f"{folder}/qrels.txt")
    {'q1': {'d7': 2, 'd9': 0}}
    """
    qrels: Qrels = {}
    for number, line in numbered(_file(path)):
        with placed(path, number):
            columns = _columns(line)
            if number == 1 and _is_header(columns):
                continue
            query, document, grade = _judgment(columns)
            if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
                raise BadValueError(f"{document!r} has two grades for query {query!r}; keep one")
    return qrels


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: str | PathLike[str]) -> None:
    r"""Judgments in BEIR's three columns with a header where `path` ends in .tsv, else in TREC's four.

    Raises BadValueError for an id with a space in it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_qrels({"q1": {"d7": 2}}, f"{folder}/qrels.txt")
    ...     Path(folder, "qrels.txt").read_text()
    'q1 0 d7 2\n'
    """
    row = "{}\t{}\t{}" if ".tsv" in Path(path).suffixes else "{} 0 {} {}"
    head = ["query-id\tcorpus-id\tscore"] if "\t" in row else []
    rows = (
        row.format(_word("query id", query), _word("document id", document), grade)
        for query, grades in qrels.items()
        for document, grade in grades.items()
    )
    write_lines(Path(path), (line.encode() for line in (*head, *rows)))


def read_run(path: str | PathLike[str]) -> Run:
    r"""Document ids and scores by query, in the order of the ranks, from `qid Q0 docid rank score tag`.

    Raises BadValueError for a line that is none of these.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.txt").write_text("q1 Q0 d7 1 12.5 mine\nq1 Q0 d9 2 11.0 mine\n")
    ...     read_run(f"{folder}/run.txt")
    {'q1': [('d7', 12.5), ('d9', 11.0)]}
    """
    ranked: dict[str, list[tuple[int, str, float]]] = {}
    for number, line in numbered(_file(path)):
        with placed(path, number):
            query, rank, document, score = _ranking(_columns(line))
        ranked.setdefault(query, []).append((rank, document, score))
    for rows in ranked.values():
        rows.sort(key=lambda row: row[0])  # by rank alone: equal ranks keep the file's order
    return {query: [(document, score) for _, document, score in rows] for query, rows in ranked.items()}


def write_run(results: Iterable[Result], path: str | PathLike[str], tag: str = "sage_nb") -> None:
    r"""Rankings in TREC's run format; a result without hits leaves no line.

    Raises BadValueError for an id or a tag with a space in it, and for a score that is NaN.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> with TemporaryDirectory() as folder:
    ...     write_run([Result(Query("q1", "x"), (Hit(Document("d7", ""), 1, 12.5),))], f"{folder}/run.txt", tag="mine")
    ...     Path(folder, "run.txt").read_text()
    'q1 Q0 d7 1 12.5 mine\n'
    """
    name = _word("tag", tag)
    rows = (_run_line(result.query, hit, name) for result in results for hit in result.hits)
    write_lines(Path(path), rows)


@contextmanager
def placed(path: str | PathLike[str], number: int) -> Iterator[None]:
    """An error inside is told with the file and the line it is about."""
    try:
        yield
    except BadValueError as error:
        raise BadValueError(f"{Path(path).name}, line {number}: {error}") from error


def _file(path: str | PathLike[str]) -> Path:
    if not Path(path).is_file():
        raise BadValueError(f"there is no file {str(path)!r}; check the path")
    return Path(path)


def _is_json(path: Path) -> bool:
    return ".jsonl" in path.suffixes


def _json_query(line: bytes) -> Query:
    row = parsed(line)
    name, text = row.get("_id", row.get("id")), row.get("text")
    if not isinstance(name, str | int) or not isinstance(text, str):
        raise BadValueError(f"a query has an 'id' or '_id' and a 'text', got {line[:60]!r}")
    return Query(str(name), text)


def _tab_query(line: bytes) -> Query:
    name, tab, text = _decoded(line).partition("\t")
    if not tab:
        raise BadValueError(f"a query is an id, a tab and a text, got {line[:60]!r}")
    return Query(_word("query id", name), text)


def _as_json(query: Query) -> bytes:
    return msgspec.json.encode({"_id": query.id, "text": query.text})


def _as_tabs(query: Query) -> bytes:
    if not query.text or query.text != query.text.strip() or set(query.text) & set("\t\n\r"):
        raise BadValueError(f"lines with tabs cannot keep the text of query {query.id!r}; write a .jsonl file")
    return f"{_word('query id', query.id)}\t{query.text}".encode()


def _columns(line: bytes) -> list[str]:
    text = _decoded(line)
    return text.split("\t") if "\t" in text else text.split()


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadValueError(f"not UTF-8 text: {line[:60]!r}") from error


def _is_header(columns: list[str]) -> bool:
    return len(columns) == 3 and columns[0].lower() in _HEADS and not _INTEGER.fullmatch(columns[2])


def _judgment(columns: list[str]) -> tuple[str, str, int]:
    if len(columns) not in (3, 4) or not _INTEGER.fullmatch(columns[-1]):
        raise BadValueError(f"a judgment is query, document, whole grade (or TREC's four), got {columns}")
    return _word("query id", columns[0]), _word("document id", columns[-2]), int(columns[-1])


def _ranking(columns: list[str]) -> tuple[str, int, str, float]:
    if len(columns) != 6 or not _INTEGER.fullmatch(columns[3]):
        raise BadValueError(f"a run's line is 'qid Q0 docid rank score tag', got {columns}")
    return (
        _word("query id", columns[0]),
        int(columns[3]),
        _word("document id", columns[2]),
        _score(columns[4]),
    )


def _run_line(query: Query, hit: Hit, tag: str) -> bytes:
    name, document = _word("query id", query.id), _word("document id", hit.document.id)
    return f"{name} Q0 {document} {hit.rank} {_score(hit.score)!r} {tag}".encode()


def _score(given: str | float) -> float:
    try:
        score = float(given)
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise BadValueError(f"a score is a number, got {given!r}")
    return score


def _word(kind: str, given: str) -> str:
    if given.split() != [given]:
        raise BadValueError(f"{kind} {given!r} must be a word without spaces, to stand in a column")
    return given
