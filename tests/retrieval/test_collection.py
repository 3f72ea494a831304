"""Collections from the outside: add, find, change, reopen, and what is said of mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, CollectionError, ModelError, SageError, UnknownNameError

DOCUMENTS = [
    sage.Document("barrier", "A barrier aligns the inputs before a snapshot.", source="flink", meta={"year": 2015}),
    sage.Document("window", "A sliding window moves over the stream.", source="flink", meta={"year": 2021}),
    sage.Document("lock", "A lock lets one thread in at a time.", source="python", meta={"year": 1999}),
]


@pytest.fixture
def words(tmp_path):
    collection = sage.Collection(tmp_path / "words", encoder=None)
    collection.add(DOCUMENTS, progress=False)
    return collection


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    collection = sage.Collection(tmp_path_factory.mktemp("collections") / "vectors")
    collection.add(DOCUMENTS, progress=False)
    return collection


def ids(result):
    return [hit.document.id for hit in result]


def test_words_are_found(words):
    assert ids(words.lexical(3).search("sliding windows")) == ["window"]


def test_meaning_is_found(vectors):
    assert ids(vectors.dense(1).search("mutual exclusion")) == ["lock"]


def test_hybrid_is_the_fusion_of_both(vectors):
    by_hand = (vectors.lexical(3) + vectors.dense(3)) % 3
    question = "a thread in a window"
    assert ids(vectors.hybrid(3).search(question)) == ids(by_hand.search(question))
    assert set(vectors.hybrid(3).search(question).hits[0].scores) >= {"dense", "rrf"}


def test_engines_agree(words):
    ours, theirs = (
        words.lexical(3, variant="okapi", engine=e).search("a thread window") for e in ("sage", "rank_bm25")
    )
    assert ids(ours) == ids(theirs)
    np.testing.assert_allclose([h.score for h in ours], [h.score for h in theirs], atol=1e-6)


def test_a_filter_comes_before_the_best_k(vectors):
    for stage in ("lexical", "dense", "hybrid"):
        view = vectors.where(source="flink", year__ge=2020)
        assert ids(getattr(view, stage)(1).search("one thread and a window at a time")) == ["window"]
    assert vectors.where(source="flink").where(year__lt=2020) == vectors.where(
        sage.where(source="flink") & sage.where(year__lt=2020)
    )


def test_adding_again_costs_nothing_and_a_change_replaces(words):
    again = words.add(DOCUMENTS, progress=False)
    assert (again.added, again.replaced, again.unchanged) == (0, 0, 3)
    before = words.snapshot_id
    changed = words.add([sage.Document("lock", "A latch.")], progress=False)
    assert (changed.added, changed.replaced) == (0, 1)
    assert ids(words.lexical(3).search("thread")) == []
    assert words.snapshot_id != before
    words.update([DOCUMENTS[2]], progress=False)
    assert words.snapshot_id == before


def test_update_and_delete_want_known_ids(words):
    with pytest.raises(BadValueError, match=r"update\(\) found no document 'lokc' in the collection; use add\(\)"):
        words.update([sage.Document("lokc", "x")], progress=False)
    with pytest.raises(UnknownNameError, match="unknown document 'lokc'; did you mean 'lock'"):
        words.delete("lokc")
    assert words.delete("lock") == 1
    assert len(words) == 2


def test_two_processes_adding_at_once_lose_nothing(tmp_path):
    code = """
import sys
import sage_nb as sage
name = sys.argv[2]
documents = [sage.Document(f"{name}{n}", f"ant {n}") for n in range(700)]
shared = [sage.Document(f"both{n}", f"bee {n}") for n in range(100)]
sage.Collection(sys.argv[1], encoder=None).add([*documents, *shared], progress=False)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "c")]
    writers = [subprocess.Popen([*command, name]) for name in "xy"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    collection = sage.Collection(tmp_path / "c")
    expected = {f"{name}{n}" for name in "xy" for n in range(700)} | {f"both{n}" for n in range(100)}
    assert sorted(document.id for document in collection.documents()) == sorted(expected)
    assert collection.info().documents == 1500


def segments(collection):
    """The files of the segments: (name, which file, when written) -> bytes."""
    found = (each for each in (Path(collection.info().path) / "segments").rglob("*") if each.is_file())
    return {(each.name, (held := each.stat()).st_ino, held.st_mtime_ns): held.st_size for each in found}


def test_adding_one_percent_rewrites_nothing_and_writes_under_five_percent(tmp_path):
    noise = np.random.default_rng(5)
    words = [f"w{number}" for number in np.minimum(noise.zipf(1.3, 400_000), 50_000)]
    texts = [" ".join(words[at : at + 40]) for at in noise.integers(0, len(words) - 40, 10_100)]
    documents = [sage.Document(f"d{n}", text) for n, text in enumerate(texts)]
    collection = sage.Collection(tmp_path / "c", encoder=None)
    collection.add(documents[:10_000], progress=False)
    built = segments(collection)
    collection.add(documents[10_000:], progress=False)
    now = segments(collection)
    assert built.items() <= now.items()
    written = sum(size for file, size in now.items() if file not in built)
    assert 0 < written < 0.05 * sum(built.values())


def test_chunks_live_and_die_with_their_document(tmp_path):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    text = " ".join(f"word{n}" for n in range(200))
    collection.add([sage.Document("long", text)], chunk=sage.chunk(50, overlap=5), progress=False)
    assert len(collection) > 3
    assert {document.parent for document in collection.documents()} == {"long"}
    assert collection.info().documents == 1
    collection.delete("long")
    assert len(collection) == 0


def test_a_collection_opens_as_it_was(vectors):
    again = sage.Collection(vectors.info().path)
    assert again.snapshot_id == vectors.snapshot_id
    assert eval(repr(vectors.where(source="flink").hybrid(5)), vars(sage) | _names()) == vectors.where(  # noqa: S307
        source="flink"
    ).hybrid(5)


def _names():
    return {"Collection": sage.Collection, "where": sage.where}


def test_duplicate_ids_are_refused_and_the_first_is_kept(words):
    twice = [sage.Document("new", "one"), sage.Document("new", "two")]
    with pytest.raises(BadValueError, match="two documents of this add.. have the id 'new' and different content"):
        words.add(twice, progress=False)
    assert ids(words.lexical(5).search("one"))[0] in {"new", "lock"}
    assert "new" in {document.id for document in words.documents()}


def test_a_document_without_text_is_reported_and_the_rest_added(words):
    with pytest.warns(UserWarning, match="1 documents were skipped; the first, 'void', because it has no text"):
        report = words.add([sage.Document("void", " \n"), sage.Document("full", "text")], progress=False)
    assert report.skipped == (("void", "it has no text"),)
    assert report.added == 1


def test_a_long_document_is_cut_for_the_encoder_and_counted(tmp_path):
    collection = sage.Collection(tmp_path / "long")
    report = collection.add([sage.Document("big", "a very long story " * 20_000)], progress=False)
    assert report.truncated == 1
    assert "1 longer than the encoder reads" in repr(report)


def test_a_long_question_is_cut_and_said(vectors):
    result = vectors.dense(1).search("thread " * 15_000)
    assert "the question was cut to what the encoder reads" in result.notes


@pytest.mark.parametrize(
    ("act", "kind", "sentence"),
    [
        (lambda c: c.lexical(0), BadValueError, r"lexical\(\) needs k, a whole number of 1 or more, got 0"),
        (lambda c: c.dense(3).search("x"), CollectionError, "built without an encoder, so it has no vectors; use .lex"),
        (lambda c: c.lexical(3, variant="lucen"), UnknownNameError, "BM25 variant 'lucen'; did you mean 'lucene'"),
        (lambda c: c.lexical(3, engine="bm25"), UnknownNameError, "unknown lexical engine 'bm25'"),
        (lambda c: c.hybrid(3, weights=(1, 2, 3)), BadValueError, "2 rankings are fused and 3 weights given"),
        (
            lambda c: c.add(["text"], progress=False),
            BadValueError,
            r"add\(\) takes Documents, got 'text' \(str\); wrap",
        ),
        (lambda c: c.add("text"), BadValueError, r"add\(\) takes a list of Documents, got a str; put it in br"),
        (lambda c: sage.Collection(c.info().path, encoder="bundled"), CollectionError, "encoder '' and not 'bundled'"),
        (lambda c: sage.Collection(""), BadValueError, "a collection cannot be called ''; give it a name such as"),
        (lambda c: sage.Collection("x", analyzer="englsh"), UnknownNameError, "did you mean 'english'"),
    ],
)
def test_a_mistake_gets_a_sentence(words, act, kind, sentence):
    with pytest.raises(kind, match=sentence):
        act(words)


def test_an_empty_collection_says_so(tmp_path):
    empty = sage.Collection(tmp_path / "void")
    with pytest.raises(CollectionError, match="the collection 'void' is empty; add documents to it with .add"):
        empty.lexical(3).search("x")
    assert repr(empty.add([], progress=False)) == "nothing to add to 'void': there were no documents"


def test_a_k_beyond_the_collection_gives_all_and_says_so(words):
    assert words.lexical(50).search("a").notes[-1] == "k=50 asked, the collection holds 3"


def test_another_models_vectors_are_refused(tmp_path):
    @sage.encoder("tiny")
    class Tiny:
        name, dimension, fingerprint, truncated = "tiny", 2, "1", 0

        def encode(self, texts):
            return np.tile(np.array([[1, 0]], np.float32), (len(texts), 1))

    collection = sage.Collection(tmp_path / "tiny", encoder="tiny")
    collection.add(DOCUMENTS, progress=False)
    Tiny.dimension = 3
    with pytest.raises(
        ModelError, match="'tiny' holds vectors of 2 dimensions and 'tiny' makes 3; open it with the mo"
    ):
        collection.dense(1).search("x")
    Tiny.dimension, Tiny.fingerprint = 2, "2"
    with pytest.raises(
        SageError, match="the weights of 'tiny' are not those that the collection 'tiny' was built with"
    ):
        collection.dense(1).search("x")


def test_markup_in_documents_is_shown_as_text(tmp_path):
    collection = sage.Collection(tmp_path / "c", encoder=None)
    bad = "<script>alert(1)</script> <img src=x onerror=alert(1)> needle \x07"
    collection.add([sage.Document("x", bad, title="<b>t</b>", source="<i>")], progress=False)
    shown = collection.lexical(1).search("needle <script>")._repr_html_()
    assert "<script>" not in shown.replace("&lt;script&gt;", "")
    assert "<img" not in shown
    assert "<i>" not in shown
    assert "\x07" not in shown
    assert "<mark>needle</mark>" in shown


AGAIN = """
import sys
import sage_nb as sage
documents = [sage.Document(name, f"about {name}") for name in sys.argv[2:]]
added = sage.Collection(sys.argv[1]).add(documents, progress=False)
print(added.added, added.unchanged, "torch" in sys.modules)
"""


@pytest.mark.parametrize(("names", "said"), [("ab", "0 2 False"), ("abc", "1 2 True")])
def test_adding_what_is_there_loads_no_model(tmp_path, names, said):
    book = sage.Collection(tmp_path / "book")
    book.add([sage.Document(name, f"about {name}") for name in "ab"], progress=False)
    command = [sys.executable, "-c", AGAIN, str(tmp_path / "book"), *names]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == said
    assert len(book) == len(names)
