"""Datasets of the library `ir_datasets`, as test collections like any other."""

from __future__ import annotations

import sys

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, MissingExtraError


def test_where_the_library_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingExtraError, match=r"needs 'ir_datasets'; run: pip install 'sage-nb\[datasets\]'"):
        sage.read_ir_dataset("beir/scifact/test")


def test_what_is_no_dataset_is_said():
    with pytest.raises(BadValueError, match="the dataset has no docs; name one of its subsets that has"):
        sage.read_ir_dataset(object())


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    return pytest.importorskip("ir_datasets", reason="an extra")


def test_a_dataset_is_read_and_can_be_searched_and_measured(library, tmp_path):
    (tmp_path / "docs.tsv").write_text("d1\tA thread holds a lock.\nd2\tA window slides.\n")
    (tmp_path / "queries.tsv").write_text("q1\twho holds the lock?\nq2\twindow\nq3\tnever judged\n")
    (tmp_path / "qrels").write_text("q1 0 d1 1\nq1 0 d2 0\nq2 0 d2 2\n")
    files = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels"}
    held = sage.read_ir_dataset(library.create_dataset(**{key: str(tmp_path / name) for key, name in files.items()}))
    assert held.queries == (sage.Query("q1", "who holds the lock?"), sage.Query("q2", "window"))
    assert held.qrels == {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}}
    assert (
        list(held.documents)
        == list(held.documents)
        == [
            sage.Document("d1", "A thread holds a lock."),
            sage.Document("d2", "A window slides."),
        ]
    )
    book = sage.Collection(tmp_path / "book", encoder=None)
    book.add(held.documents, progress=False)
    seen = sage.experiment({"bm25": book.lexical(2)}, held.queries, held.qrels, measures=["RR"])
    assert seen.means == {"bm25": {"RR": 1.0}}


def test_a_name_that_the_library_does_not_know_is_said(library):
    with pytest.raises(BadValueError, match="ir_datasets knows no dataset 'beir/scifct'; see https"):
        sage.read_ir_dataset("beir/scifct")
