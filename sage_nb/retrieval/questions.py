"""Whatever a person calls questions, as `Query`s with ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.records.trec import read_queries
from sage_nb.records.values import Query

MOST = 1_000_000  # questions of one run; a source that never ends would otherwise fill the memory

_TEXT_COLUMNS, _ID_COLUMNS = ("query", "text", "question"), ("qid", "id", "query_id")


def as_queries(questions: object) -> list[Query]:
    """Strings, `Query`s, strings by id, a DataFrame (`query` or `text`, perhaps `qid` or `id`), or the path of a file.

    Strings are called q1, q2, …

    >>> as_queries(["what is a barrier?"])
    [Query(id='q1', text='what is a barrier?')]
    """
    queries = list(_read(questions))
    if not queries:
        raise BadValueError("there are no questions to run; give at least one")
    seen: set[str] = set()
    for query in queries:
        check_text(query.text, f"question {query.id!r}")
        if query.id in seen:
            raise BadValueError(f"two questions have the id {query.id!r}; give each its own")
        seen.add(query.id)
    return queries


def check_text(text: object, name: str) -> str:
    """`text`, refused where there is nothing to search for in it."""
    if not isinstance(text, str):
        raise BadValueError(f"{name} must be a text, got {text!r} ({type(text).__name__})")
    if not text.strip():
        raise BadValueError(f"{name} has no text; give it some words")
    return text


def _read(questions: object) -> Iterable[Query]:
    if isinstance(questions, Path):
        return read_queries(questions)
    if isinstance(questions, str):
        path = Path(questions)
        if len(questions) < 1000 and path.suffix and path.is_file():
            return read_queries(path)
        return [Query("q1", questions)]
    if hasattr(questions, "columns") and hasattr(questions, "to_dict"):
        return _from_frame(questions)
    if isinstance(questions, Mapping):
        return [Query(str(name), text) for name, text in questions.items()]
    if isinstance(questions, Iterable):
        asked = [_query(each, number) for number, each in enumerate(islice(questions, MOST + 1), start=1)]
        if len(asked) > MOST:
            raise BadValueError(f"there are more than {MOST:,} questions, perhaps without end; take some with islice")
        return asked
    raise BadValueError(
        f"questions must be texts, Query objects, a DataFrame or a path, got a {type(questions).__name__}"
    )


def _query(value: object, number: int) -> Query:
    if isinstance(value, Query):
        return value
    if isinstance(value, str):
        return Query(f"q{number}", value)
    raise BadValueError(f"question {number} must be a text or a Query, got {value!r} ({type(value).__name__})")


def _from_frame(frame: Any) -> list[Query]:
    columns = [str(name) for name in frame.columns]
    text = next((name for name in _TEXT_COLUMNS if name in columns), None)
    name = next((name for name in _ID_COLUMNS if name in columns), None)
    if text is None:
        raise BadValueError(f"a DataFrame of questions needs a column 'query' or 'text', this one has {columns}")
    names = frame[name].astype(str) if name else [f"q{number}" for number in range(1, len(frame) + 1)]
    return [Query(*pair) for pair in zip(names, frame[text], strict=True)]
