import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.beir import Beir, Corpus, read_beir, write_beir
from sage_nb.records.values import Document, Query

NAMES = st.text(min_size=1, max_size=5).filter(lambda name: name.split() == [name])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
DOCUMENTS = st.builds(
    Document,
    NAMES,
    st.text(),
    st.text(),
    st.text(),
    st.text(),
    st.dictionaries(st.text(), SCALARS, max_size=3),
)


@st.composite
def collections(draw) -> Beir:
    queries = tuple(Query(name, draw(st.text())) for name in draw(st.lists(NAMES, unique=True, max_size=3)))
    grades = st.dictionaries(NAMES, st.integers(0, 3), min_size=1, max_size=3)
    return Beir(draw(st.lists(DOCUMENTS, max_size=3)), queries, {query.id: draw(grades) for query in queries})


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "Rays", "text": "Rays scatter.", "metadata": {"year": 1962, "tags": []}}\n'
        '{"_id": "d2", "title": "", "text": "", "url": "https://x.org", "metadata": {}}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "rays?"}\n{"_id": "q2", "text": "waves?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\n")
    return folder


def test_a_folder_of_beir_is_read_with_the_queries_of_its_split(tmp_path):
    read = read_beir(beir(tmp_path))
    assert list(read.documents) == [
        Document("d1", "Rays scatter.", "Rays", meta={"year": 1962}),
        Document("d2", "", meta={"url": "https://x.org"}),
    ]
    assert (read.queries, read.qrels) == ((Query("q1", "rays?"),), {"q1": {"d1": 1}})
    assert read_beir(tmp_path, split="train").queries == (Query("q2", "waves?"),)


def test_the_plainer_layout_is_read_packed_or_not(tmp_path):
    (tmp_path / "docs.jsonl.gz").write_bytes(
        gzip.compress(b'{"id": "d1", "text": "Rays.", "title": "R", "source": "physics", "parent": "book"}\n')
    )
    (tmp_path / "queries.jsonl").write_text('{"id": "q1", "text": "rays?", "answers": ["x"]}\n')
    (tmp_path / "qrels.tsv").write_text("q1\td1\t2\n")
    read = read_beir(tmp_path)
    assert list(read.documents) == [Document("d1", "Rays.", "R", "physics", "book")]
    assert (read.queries, read.qrels) == ((Query("q1", "rays?"),), {"q1": {"d1": 2}})


@given(collections())
def test_a_collection_comes_back(collection):
    with tempfile.TemporaryDirectory() as folder:
        write_beir(collection, folder, split="dev")
        read = read_beir(folder, split="dev")
        assert list(read.documents) == collection.documents
        assert (read.queries, read.qrels) == (collection.queries, collection.qrels)


def test_documents_are_read_anew_on_each_pass_and_only_as_far_as_asked(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "d1", "text": "one"}\n{"_id": "d2"\n')
    corpus = Corpus(path)
    assert next(iter(corpus)).id == next(iter(corpus)).id == "d1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"_id": "d2"', "broken JSON: Input data was truncated"),
        ('{"text": "two"}', "a document has an 'id' or '_id', got b'{"),
        ('{"_id": "", "text": "two"}', "a document has an 'id' or '_id', got b'{"),
        ('{"_id": "d2", "title": "x"}', r"no field 'text' \(fields: title, id\)"),
    ],
)
def test_a_line_that_is_no_document_is_refused_with_its_place(tmp_path, line, said):
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"_id": "d1", "text": "one"}}\n{line}\n')
    with pytest.raises(BadValueError, match=f"^corpus.jsonl, line 2: {said}"):
        list(Corpus(path))


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(BadValueError, match=r"has no corpus.jsonl or docs.jsonl \(.gz\); check the folder"):
        read_beir(tmp_path)
    (tmp_path / "docs.jsonl").write_text("")
    with pytest.raises(BadValueError, match=r"has no qrels.tsv \(.gz\)"):
        read_beir(tmp_path)


def test_an_unknown_split_is_refused_with_the_known(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown split of '.*': 'tets'; did you mean 'test'\? .*test, train"):
        read_beir(beir(tmp_path), split="tets")
