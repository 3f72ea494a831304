"""What a person judges while exploring: grades by question and document, kept as qrels with their questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from sage_nb.records.trec import Qrels, read_qrels, read_queries, write_qrels, write_queries
from sage_nb.records.values import Query


class Judgments:
    """Grades in a file of qrels, and the questions that they are for in a file beside it; read anew where they are.

    `read_qrels` and `read_queries` read both, so that `evaluate` can be given them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     judged = Judgments(folder + "/judged.tsv")
    ...     judged.mark(judged.query("what is a lock?"), "d7", 1)
    ...     again = Judgments(folder + "/judged.tsv")
    ...     list(again.qrels.values()), [query.text for query in again.queries]
    ([{'d7': 1}], ['what is a lock?'])
    """

    def __init__(self, path: str | PathLike[str], known: Iterable[Query] = ()) -> None:
        self.path = Path(path)
        self.questions = self.path.with_name(f"{self.path.name.partition('.')[0]}.queries.jsonl")
        self._qrels: Qrels = read_qrels(self.path) if self.path.is_file() else {}
        self._queries = {query.text: query for query in known}
        if self.questions.is_file():
            self._queries |= {query.text: query for query in read_queries(self.questions)}

    @property
    def qrels(self) -> Qrels:
        """The grades by question and document."""
        return {query: dict(grades) for query, grades in self._qrels.items()}

    @property
    def queries(self) -> tuple[Query, ...]:
        """The questions for which there are grades."""
        return tuple(query for query in self._queries.values() if query.id in self._qrels)

    def query(self, text: str) -> Query:
        """The question of that text: with the id that it is known by, else with one that follows from the text."""
        if text not in self._queries:
            digest = hashlib.blake2b(text.encode("utf8", "surrogatepass"), digest_size=5).hexdigest()
            self._queries[text] = Query(f"x{digest}", text)
        return self._queries[text]

    def mark(self, query: Query, document: str, grade: int | None) -> None:
        """Grade a document for a question, or take its grade back; both files are written at once.

        Raises BadValueError where they cannot be, or cannot hold an id: then nothing is marked.
        """
        grades = {**self._qrels.get(query.id, {})}
        grades.pop(document, None)
        if grade is not None:
            grades[document] = grade
        qrels = {name: each for name, each in {**self._qrels, query.id: grades}.items() if each}
        write_qrels(qrels, self.path)
        self._qrels = qrels
        self._queries.setdefault(query.text, query)
        write_queries(self.queries, self.questions)

    def __len__(self) -> int:
        """How many grades."""
        return sum(map(len, self._qrels.values()))
