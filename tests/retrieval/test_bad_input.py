"""What a collection is given by mistake, or in malice: one sentence, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, CollectionError, ModelError

DOCUMENTS = [sage.Document("a", "a thread holds a lock", source="x"), sage.Document("b", "a window slides", source="y")]


@pytest.fixture
def words(tmp_path):
    collection = sage.Collection(tmp_path / "words", encoder=None)
    collection.add(DOCUMENTS, progress=False)
    return collection


@sage.encoder("changing")
class Changing:
    """Vectors as a test wants them."""

    name, dimension, fingerprint, truncated = "changing", 2, "1", 0
    vector = (1.0, 0.0)

    def encode(self, texts):
        return np.tile(np.array([self.vector], np.float32), (len(texts), 1))


@pytest.fixture
def vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(Changing, "vector", (1.0, 0.0))
    collection = sage.Collection(tmp_path / "vectors", encoder="changing")
    collection.add(DOCUMENTS, progress=False)
    return collection


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (sage.Document(7, "text"), r"the id of document 7 must be a text, got 7 \(int\); make it a str"),
        (sage.Document("c", None), r"the text of document 'c' must be a text, got None \(NoneType\); make it a str"),
        (sage.Document("", "text"), "a document cannot have the id ''; give it a name of characters that print"),
        (sage.Document("\ud800", "text"), r"a document cannot have the id '\\ud800'; give it a name of characters"),
        (sage.Document("c", "text", meta=None), "the meta of document 'c' must be a mapping, got None"),
        (
            sage.Document("c", "text", meta={"n": [1]}),
            r"the meta 'n' of document 'c' must be a text, .* got \[1\] \(list",
        ),
        (
            sage.Document("c", "text", meta={"n": 2**64}),
            "a number of 64 bits, a bool or None, got 18446744073709551616",
        ),
        (sage.Document("c", "text", meta={1: "n"}), "the meta 1 of document 'c' must be a text"),
    ],
)
def test_a_document_that_cannot_be_kept_is_named_and_those_before_it_are_kept(words, document, sentence):
    with pytest.raises(BadValueError, match=sentence):
        words.add([sage.Document("before", "it"), document], progress=False)
    assert {each.id for each in words.documents()} == {"a", "b", "before"}


def test_lone_surrogates_and_control_characters_are_kept_as_text(tmp_path):
    collection = sage.Collection(tmp_path / "odd")
    odd = sage.Document("odd", "half \ud800 \x00\x07 needle", title="\udc80", meta={"k": "\ud800"})
    collection.add([odd], progress=False)
    assert collection.add([odd], progress=False).unchanged == 1
    for question in ("needle", "needle \ud800\x00"):
        (hit,) = collection.hybrid(1).search(question).hits
        assert (hit.document.text, hit.document.title) == ("half ? \x00\x07 needle", "?")
        assert hit.document.meta == {"k": "?"}


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda c: c.add(None), r"add\(\) takes a list of Documents, got a NoneType; put it in brackets"),
        (
            lambda c: c.add(DOCUMENTS, chunk=200),
            r"chunk=200 must be a chunker; write chunk=sage.chunk\(200, overlap=20",
        ),
        (lambda c: c.delete(["a"]), r"delete\(\) takes ids, got \['a'\] \(list\); write delete\('a', 'b'\)"),
        (lambda c: sage.Collection(5), r"a collection is called by a name or a path, got 5 \(int\)"),
        (lambda c: sage.Collection(b"c"), r"a collection is called by a name or a path, got b'c' \(bytes\)"),
        (lambda c: sage.Collection(".."), r"a collection cannot be called '..'; give it a name such as 'handbook'"),
        (lambda c: sage.load(5), r"load\(5\) names no file; give a path, a glob or a list of them"),
    ],
)
def test_a_mistake_gets_a_sentence_and_changes_nothing(words, act, sentence):
    before = words.snapshot_id
    with pytest.raises(BadValueError, match=sentence):
        act(words)
    assert words.snapshot_id == before


def test_a_source_that_breaks_off_loses_nothing_it_gave(words):
    def breaking():
        yield sage.Document("c", "a barrier aligns")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        words.add(breaking(), progress=False)
    assert {each.id for each in words.documents()} == {"a", "b", "c"}


def test_ten_megabytes_are_one_document_and_quick_to_show(words):
    words.add([sage.Document("big", "the quick lock holds a thread. " * 340_000)], progress=False)
    result = words.lexical(3).search("lock " * 20_000)
    assert {hit.document.id for hit in result} == {"a", "big"}
    assert len(result._repr_html_()) < 10_000
    assert len(str(result)) < 1_000


def test_ten_megabytes_are_cut_into_passages_that_all_are_found(words):
    words.add([sage.Document("big", "the quick lock holds a thread. " * 340_000)], chunk=sage.chunk(), progress=False)
    assert len(words) > 10_000
    assert len(words.lexical(100).search("quick")) == 100


def test_vectors_with_nan_are_named_and_the_collection_stays_as_it_was(vectors, monkeypatch):
    monkeypatch.setattr(Changing, "vector", (float("nan"), 0.0))
    before = vectors.snapshot_id
    with pytest.raises(
        BadValueError, match="the vector of 'c' holds NaN or infinity .1 such.; check the model's dtype"
    ):
        vectors.add([sage.Document("c", "more")], progress=False)
    with pytest.raises(
        BadValueError, match="the vector of 'q' holds NaN or infinity .1 such.; check the model's dtype"
    ):
        vectors.dense(1).search("lock")
    assert vectors.snapshot_id == before


def test_a_question_of_another_width_is_refused(vectors, monkeypatch):
    monkeypatch.setattr(Changing, "vector", (1.0, 0.0, 0.0))
    with pytest.raises(
        BadValueError, match=r"expected vectors of shape \(1, 2\), got \(1, 3\); use the model the coll"
    ):
        vectors.dense(1).search("lock")


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([], "the reranker 'odd' gave 0 scores for 1 pairs; return one for each"),
        ([float("nan")], "the reranker 'odd' gave NaN or infinity; try SAGE_DTYPE=float32"),
    ],
)
def test_a_reranker_that_gives_no_scores_is_said(words, scores, sentence):
    class Odd:
        name, fingerprint, truncated = "odd", "1", 0

        def score(self, pairs):
            return np.array(scores, np.float32)

    name = f"odd {scores}"
    sage.cross_encoder(name)(Odd)
    with pytest.raises(ModelError, match=sentence):
        (words.lexical(3) >> sage.rerank(2, name)).search("lock")


def test_a_filter_that_nothing_meets_is_said(words):
    result = words.where(source="z").lexical(3).search("lock")
    assert result.hits == ()
    assert result.notes == ("words: no passage meets where(source='z')",)


def test_a_mistyped_name_is_empty_and_the_near_one_is_told(words, tmp_path):
    with pytest.raises(CollectionError, match="the collection 'wrods' is empty; did you mean 'words'"):
        sage.Collection(tmp_path / "wrods").lexical(3).search("lock")


def test_a_run_that_cannot_be_written_is_said(words, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadValueError, match="file/run.txt could not be written .*; make room, or name another place"):
        words.lexical(3).run(["lock"]).to_trec(tmp_path / "file" / "run.txt")
    assert (tmp_path / "file").read_text() == "mine"


def test_long_results_are_shown_in_part_and_told_in_text(words):
    words.add([sage.Document(f"d{n}", "a lock <b>", source="s") for n in range(30)], progress=False)
    result = words.lexical(100).search("lock")
    assert result._repr_html_().count("<tr>") == 21
    assert "the first 20 of 31 hits" in result._repr_html_()
    lines = str(result).splitlines()
    assert lines[1].startswith("  1. ")
    assert len(lines) == 22


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda book: book.search("lock"), r"no attribute 'search'; a pipeline .* as in words.hybrid\(k=10\).search"),
        (
            lambda book: book.where(source="x").as_retriever(),
            "'View' object has no attribute 'as_retriever'; a pipeline",
        ),
        (lambda book: book.bm25(k=10), "no attribute 'bm25'; did you mean 'lexical'"),
        (lambda book: book.hybird(k=10), "no attribute 'hybird'; did you mean 'hybrid'"),
        (lambda book: book.fit(), "no attribute 'fit'$"),
    ],
)
def test_a_method_of_another_library_is_told_from_ours(words, ask, sentence):
    with pytest.raises(AttributeError, match=sentence):
        ask(words)
    assert not hasattr(words, "_repr_pdf_")  # what displays look for is just not there
