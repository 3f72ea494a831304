"""Documents first, then what is in the best of them, then what belongs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.errors import BadValueError, CollectionError, UnknownNameError
from sage_nb.records.chunk import Chunker
from sage_nb.retrieval.citations import citation
from sage_nb.retrieval.descent import ABOVE
from sage_nb.retrieval.joined import joined, originals
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import QUESTIONS, WORDS, check_batched, check_cached, check_value, ids, run_cached


@sage.encoder("bag")
class Bag:
    """Counts the animals in a text."""

    name, fingerprint, truncated, dimension = "bag", "1", 0, len(WORDS)

    def encode(self, texts):
        counts = np.array([[1 + 3 * text.count(word) for word in WORDS] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def tales(count=8, chapters=4):
    """Passages by tale, each tale of two parts."""
    return [
        sage.Document(
            f"tale{n}-{c}",
            f"The {WORDS[n % 8]} met the {WORDS[(n + c) % 8]}. Later the {WORDS[3 * c % 8]} came, {c} times.",
            title=f"Tale {n}",
            source="wood" if n % 2 else "farm",
            parent=f"tale{n}",
            meta={"section": f"Part {c // 2}", "open": c != 1},
        )
        for n in range(count)
        for c in range(chapters)
    ]


def collection(folder, documents=None, encoder="bag", **how):
    book = sage.Collection(str(folder / "book"), encoder=encoder)
    book.add(tales() if documents is None else documents, progress=False, **how)
    return book


@pytest.fixture
def book(tmp_path):
    return collection(tmp_path)


def pages(*texts, parent="p"):
    """Passages of one document."""
    return [sage.Document(f"{parent}-{n}", text, parent=parent) for n, text in enumerate(texts)]


def variants(book):
    """Of every kind of argument one or more."""
    return [
        book.hierarchical(4),
        book.hierarchical(5, coarse=book.lexical(2), fine=book.lexical(7, variant="plus"), pool="whole"),
        book.hierarchical(
            3, coarse=book.dense(3), fine=book.hybrid(9, fusion="minmax"), levels=("document", "passage")
        ),
        book.hierarchical(6, levels=("section", "passage"), merge=0.3, expand="neighbours"),
        book.where(source="farm").hierarchical(6, fine=book.where(source="farm").dense(20), expand="parent", merge=1),
    ]


@pytest.mark.parametrize("at", range(5))
def test_the_laws_of_a_stage_hold(tmp_path, book, at):
    pipe = variants(book)[at]
    check_value(pipe)
    found = check_batched(pipe)
    check_cached(tmp_path, pipe)
    assert all(result.hits for result in found[:-1])


def test_without_vectors_documents_are_ranked_by_their_words(tmp_path):
    book = collection(tmp_path, encoder=None)
    assert book.hierarchical() == book.hierarchical(10, coarse=book.lexical(10), fine=book.lexical(100))
    check_value(book.hierarchical(3))
    assert not check_batched(book.hierarchical(3))[-1].hits


@pytest.mark.parametrize("pool", ["best", "whole"])
def test_passages_are_of_the_winners_of_each_level(book, pool):
    pipe = book.hierarchical(32, coarse=book.hybrid(2), pool=pool, merge=1)
    for result in pipe.run(QUESTIONS):
        tops = {hit.document.parent for hit in result.hits}
        sections = {(hit.document.parent, hit.document.meta["section"]) for hit in result.hits}
        assert len(tops) <= 2
        assert len(sections) <= 2
        for hit in result.hits:
            assert {step.stage for step in hit.steps} >= {
                "document rrf",
                "section rrf",
                "passage zscore",
                "hierarchical",
            }
            assert all(step.rank <= 2 for step in hit.steps if step.stage in ("document rrf", "section rrf"))


def test_scores_of_coarse_and_fine_are_those_of_whole_tales_and_of_passages(tmp_path, book):
    levels = ("document", "passage")
    pipe = book.hierarchical(50, coarse=book.lexical(5), fine=book.lexical(50), levels=levels, pool="whole", merge=1)
    whole = {}
    for passage in tales():
        whole[passage.parent] = whole.get(passage.parent, "") + f"{passage.title} {passage.text} "
    shelf = collection(tmp_path / "shelf", [sage.Document(*each) for each in whole.items()], None)
    coarse = {hit.document.id: hit.score for hit in shelf.lexical(50).search("ant and fox").hits}
    fine = {hit.document.id: hit.score for hit in book.lexical(50).search("ant and fox").hits}
    hits = pipe.search("ant and fox").hits
    assert len({hit.document.parent for hit in hits}) == 5
    for hit in hits:
        assert hit.scores["document bm25"] == pytest.approx(coarse[hit.document.parent])
        assert hit.scores["passage bm25"] == pytest.approx(fine[hit.document.id])


def test_a_group_is_as_good_as_its_best_passage_or_as_all_of_it(tmp_path):
    long = pages("ant", "cow cow cow dog", "dog dog eel", parent="long")
    book = collection(tmp_path, [*long, *pages("ant bee bee gnu hen", "ant fox fox gnu hen", parent="broad")], None)
    how = {"coarse": book.lexical(1), "levels": ("document", "passage"), "merge": 1}
    assert ids(book.hierarchical(1, **how).search("ant")) == ["long-0"]
    assert {i.partition("-")[0] for i in ids(book.hierarchical(9, pool="whole", **how).search("ant"))} == {"broad"}


def test_a_passages_score_is_its_own_and_half_that_of_what_it_stands_in(tmp_path):
    book = collection(tmp_path, [*pages("ant ant", "ant bee", parent="a"), *pages("ant cow dog", parent="b")], None)
    result = book.hierarchical(9, levels=("document", "passage"), merge=1).search("ant")
    scores = [hit.scores["passage bm25"] for hit in result.hits]
    deviation = float(np.std(scores))
    assert ids(result) == ["a-0", "a-1", "b-0"]
    own = [(score - min(scores)) / deviation for score in scores]
    assert [hit.score for hit in result.hits] == pytest.approx([own[0] + ABOVE * 2, own[1] + ABOVE * 2, 0.0])
    best = [hit.scores["document bm25"] for hit in result.hits]
    assert best == [scores[0], scores[0], scores[2]], "of two documents the better one is two deviations above"


def test_equal_scores_are_ordered_by_id_and_one_hit_scores_nothing(tmp_path):
    book = collection(tmp_path, [*pages("ant", parent="b"), *pages("ant", "bee", parent="a")], None)
    tied = book.hierarchical(5, levels=("section", "passage")).search("ant")
    assert [(hit.document.id, hit.score) for hit in tied.hits] == [("a-0", 0.0), ("b-0", 0.0)]
    assert [hit.score for hit in book.hierarchical(5).search("bee").hits] == [0.0]


def test_siblings_become_their_parent_when_more_than_the_share_are_hits(tmp_path):
    book = collection(tmp_path, [*pages("ant bee", "ant cow", "dog", "eel"), *pages("ant", "fox", parent="q")], None)
    some = book.hierarchical(9, merge=0.49).search("ant")
    assert sorted(ids(some)) == ["p", "q-0"]
    parent = next(hit for hit in some.hits if hit.document.id == "p")
    assert parent.document.text == "ant bee\n\nant cow\n\ndog\n\neel"
    assert [step.stage for step in parent.steps][-2:] == ["hierarchical", "merge"]
    assert parent.score == parent.scores["hierarchical"], "that of its best passage"
    assert sorted(ids(book.hierarchical(9, merge=0.5).search("ant"))) == ["p-0", "p-1", "q-0"], "half is not more"
    assert sorted(ids(book.hierarchical(9, merge=1).search("ant"))) == ["p-0", "p-1", "q-0"]


def test_sections_merge_where_the_whole_document_does_not(tmp_path):
    def part(n, text, section):
        return sage.Document(f"d-{n}", text, parent="d", meta={"section": section, "n": n, "by": "me"})

    parts = [
        part(0, "ant", "A"),
        part(1, "ant bee", "A"),
        part(2, "cow", "B"),
        part(3, "dog", "B"),
        part(4, "eel", "B"),
    ]
    result = collection(tmp_path, parts, None).hierarchical(9).search("ant")
    assert ids(result) == ["d § A"]
    merged = result.hits[0].document
    assert (merged.text, merged.parent, merged.meta["section"], merged.meta["by"]) == ("ant\n\nant bee", "d", "A", "me")
    assert "n" not in merged.meta, "which differs"


def test_neighbours_are_added_once_and_the_hit_stays_the_passage(tmp_path):
    texts = ["one", "two", "ant", "ant bee", "five", "six"]
    result = (
        collection(tmp_path, pages(*texts), None).hierarchical(9, merge=1, expand="neighbours").search("bee or ant")
    )
    assert {hit.document.id: hit.document.text for hit in result.hits} == {
        "p-3": "ant bee\n\nfive",
        "p-2": "two\n\nant",
    }


def test_a_parent_is_given_to_its_best_hit_alone(tmp_path):
    result = (
        collection(tmp_path, pages("one", "ant", "ant bee", "four", "five"), None)
        .hierarchical(9, merge=1, expand="parent")
        .search("bee or ant")
    )
    assert [(hit.document.id, hit.document.text) for hit in result.hits] == [
        ("p-2", "one\n\nant bee\n\nfour\n\nfive"),
        ("p-1", "ant"),
    ]


def test_what_a_filter_refuses_is_neither_merged_nor_added_nor_counted(book):
    view = book.where(open=True)
    for how in ({"merge": 0.2}, {"merge": 1, "expand": "parent"}, {"merge": 1, "expand": "neighbours"}):
        for result in view.hierarchical(12, **how).run(QUESTIONS[:4]):
            assert result.hits
            for hit in result.hits:
                assert ", 1 times" not in hit.document.text


def test_a_filter_that_lets_nothing_through_is_noted(book):
    result = book.where(source="nowhere").hierarchical(3).search("ant")
    assert not result.hits
    assert result.notes == ("book: no passage meets where(source='nowhere')",)


def test_a_collection_of_single_passages_says_so(tmp_path):
    book = collection(tmp_path, [sage.Document("a", "ant"), sage.Document("b", "ant bee")], None)
    result = book.hierarchical(3).search("ant")
    assert sorted(ids(result)) == ["a", "b"]
    assert result.notes == ("book: each passage is a document of its own; chunk documents, or give passages a parent",)


TEXT = st.lists(
    st.sampled_from(["ant ", "bee. ", "cow\n", "# Eel\n", "dog\n\n", "gnu   hen "]), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(TEXT.map("".join), st.integers(1, 9), st.integers(0, 8), st.sampled_from(["tokens", "sentences", "headings"]))
def test_passages_put_together_are_the_text_they_were_cut_from(text, size, overlap, by):
    passages = Chunker(size, min(overlap, size - 1), by).split(sage.Document("d", text))
    if not passages:
        return
    whole = joined(passages, sage.Document("d", ""))
    start, end = whole.meta["start"], whole.meta["end"]
    assert whole.text.split() == text[start:end].split()
    assert len(whole.text) == end - start, "so that places in it are places in the document"
    for at, letter in enumerate(whole.text):
        assert letter.isspace() or originals(whole, at, at + 1) == (
            sage.Citation("d", start + at, start + at + 1, 0, letter),
        )
    (place,) = originals(whole, 0, len(whole.text))
    assert (place.document, place.start, place.end) == ("d", start, end)


def test_a_place_in_a_widened_or_merged_hit_is_found_in_the_document_it_is_from(tmp_path):
    text = " # Guide\nOne two three four.\n## Use\nAnt five six seven. Eight nine ten eleven twelve."
    book = collection(tmp_path, [sage.Document("d", text)], None, chunk=Chunker(6, 2))
    pipe = book.hierarchical(9, expand="parent", levels=("document", "passage"))
    widened = book.hierarchical(1, expand="parent", levels=("document", "passage")).search("ant").hits[0]
    merged = pipe.search("ant one five eight nine").hits[0]
    assert (widened.document.parent, merged.document.id) == ("d", "d")
    for hit in (widened, merged):
        start = hit.document.text.index("twelve")
        (found,) = originals(hit.document, start, start + 6)
        assert found == sage.Citation("d", text.index("twelve"), text.index("twelve") + 6, quote="twelve")
        assert citation(hit, (start, start + 6)) == sage.Citation("d", found.start, found.end, hit.rank, "twelve")


def test_a_place_over_two_passages_is_in_both_and_cited_by_the_longer_part():
    whole = joined([sage.Document("a", "Rays scatter."), sage.Document("b", "Light bends.")], sage.Document("p", ""))
    places = originals(whole, 5, 20)
    assert places == (sage.Citation("a", 5, 13, quote="scatter."), sage.Citation("b", 0, 5, quote="Light"))
    assert citation(sage.Hit(whole, 2, 0.5), (5, 20)) == sage.Citation("a", 5, 13, 2, "scatter.")
    assert originals(sage.Document("x", "text"), 1, 2) == (sage.Citation("x", 1, 2, quote="e"),)


def test_headings_make_sections_of_what_is_cut(tmp_path):
    text = "# Guide\n" + "ant bee cow dog. " * 8 + "\n## Use\n" + "eel fox gnu hen. " * 8
    book = collection(tmp_path, [sage.Document("d", text)], None, chunk=Chunker(12, 0, "headings"))
    result = book.hierarchical(3, coarse=book.lexical(1), merge=1).search("fox")
    assert {hit.document.meta["section"] for hit in result.hits} == {"Guide > Use"}
    assert "section bm25" in result.hits[0].scores
    assert "document bm25" in result.hits[0].scores


def test_a_cut_document_belongs_to_its_own_parent_as_it_would_whole(tmp_path):
    documents = [
        sage.Document("a", "ant bee. cow dog.", parent="shelf"),
        sage.Document("b", "ant eel. fox gnu.", parent="shelf"),
    ]
    book = collection(tmp_path, documents, None, chunk=Chunker(4, 0))
    assert ids(book.hierarchical(9, merge=0.4).search("ant")) == ["shelf"]
    assert sorted(ids(book.hierarchical(9, merge=0.6).search("ant or bee or eel"))) == ["a#0", "b#0"]


def test_an_updated_or_deleted_passage_changes_its_document_at_once(tmp_path):
    book = collection(tmp_path, pages("ant", "bee", "cow"), None)
    pipe = book.hierarchical(9, merge=0.4)
    assert ids(pipe.search("ant or bee")) == ["p"]
    book.delete("p-1")
    book.update(pages("dog"), progress=False)
    assert ids(pipe.search("dog")) == ["p-0"]
    (hit,) = pipe.search("dog or cow").hits
    assert hit.document.text == "dog\n\ncow"


def test_another_merge_or_expand_computes_no_retrieval_again(tmp_path, book):
    cache = CellCache(tmp_path / "cache")
    try:
        first = run_cached(book.hierarchical(6), cache)
        assert first.stages["hierarchical"]["computed"] == len(QUESTIONS)
        for changed in (book.hierarchical(6, merge=0.2), book.hierarchical(4, expand="neighbours")):
            again = run_cached(changed, cache)
            assert again.stages["hierarchical"]["computed"] == 0
            assert again.results == changed.run(QUESTIONS).results
        other = run_cached(book.hierarchical(6, coarse=book.hybrid(3)), cache)
        assert other.stages["hierarchical"]["computed"] == len(QUESTIONS)
        assert other.stages["hierarchical"]["model_calls"] == 0, "the vectors of the questions are known"
    finally:
        cache.close()


def test_a_question_that_has_failed_passes_on(book):
    def fail(result):
        raise ValueError("no")

    result = (book.lexical(3) >> fail >> book.hierarchical(3)).run(["ant"]).results[0]
    assert "ValueError: no" in result.error
    assert not result.hits


def test_an_expanded_question_is_asked_by_its_terms(book):
    def instead(result):
        return sage.Result(result.query, expansion=sage.Expansion((("fox", 1.0),)))

    pipe = book.hierarchical(3, coarse=book.lexical(9), fine=book.lexical(9))
    assert ids((book.lexical(1) >> instead >> pipe).search("ant")) == ids(pipe.search("fox")) != ids(pipe.search("ant"))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"k": 0}, r"hierarchical\(\) needs k, a whole number of 1 or more, got 0"),
        (
            {"levels": ("passage", "document")},
            "levels are two or three of .*, in this order and down to 'passage', got",
        ),
        ({"levels": ("passage",)}, "levels are two or three"),
        ({"levels": ("document", "section")}, "levels are two or three"),
        ({"levels": "document"}, "levels are two or three"),
        ({"merge": 0}, "merge is a share of a parent's passages, above 0 and up to 1, got 0"),
        ({"merge": True}, "merge is a share"),
        ({"merge": float("nan")}, "merge is a share"),
        ({"expand": "uncles"}, "expand is one of None, 'parent', 'neighbours', got 'uncles'"),
        ({"coarse": 3}, "coarse is a retriever of the collection, lexical, dense or hybrid, got 3"),
        ({"fine": sage.rerank(3)}, "fine is a retriever of the collection, lexical, dense or hybrid, got rerank"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_built(book, how, sentence):
    with pytest.raises(BadValueError, match=sentence):
        book.hierarchical(**how)


def test_other_retrievers_and_names_are_refused(book, tmp_path):
    other = collection(tmp_path / "other", encoder=None)
    with pytest.raises(BadValueError, match=r"coarse searches Collection\(.*other.*, not Collection\(.*; give a retr"):
        book.hierarchical(coarse=other.lexical(3))
    with pytest.raises(BadValueError, match="fine ranks groups of passages, for which there is no variant 'okapi'"):
        book.hierarchical(fine=book.lexical(3, variant="okapi"))
    with pytest.raises(BadValueError, match="coarse ranks groups .* no engine 'rank_bm25'; leave it out"):
        book.hierarchical(coarse=book.lexical(3, engine="rank_bm25"))
    with pytest.raises(UnknownNameError, match="unknown way to pool passages 'bets'; did you mean 'best'"):
        book.hierarchical(pool="bets")
    with pytest.raises(UnknownNameError, match=r"unknown argument of hierarchical\(\) 'merg'; did you mean 'merge'"):
        book.hierarchical(merg=0.3)
    with pytest.raises(CollectionError, match="was built without an encoder, so it has no vectors"):
        other.hierarchical(3, fine=other.dense(3)).search("ant")
    with pytest.raises(CollectionError, match="is empty"):
        sage.Collection(str(tmp_path / "empty"), encoder=None).hierarchical(3).search("ant")
