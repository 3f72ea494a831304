"""The Explorer without a browser: what it shows, what it computes again, what it keeps of marks, what it says."""

from __future__ import annotations

import threading
import time

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError
from sage_nb.notebook.explored import PAGE
from sage_nb.notebook.lines import answer
from sage_nb.notebook.session import Session

TEXTS = {
    "locks": ("A lock lets one thread in. Others wait until it is free.", "guide", 2021),
    "queues": ("A queue hands items from one thread to another.", "guide", 2022),
    "events": ("An event lets threads wait for a flag.", "manual", 2023),
    "rain": ("It rains.", "manual", 2024),
}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    made = sage.Collection(tmp_path_factory.mktemp("explorer") / "book")
    documents = [
        sage.Document(name, text, title=name.title(), source=source, meta={"year": year})
        for name, (text, source, year) in TEXTS.items()
    ]
    made.add(documents, progress=False)
    return made


@pytest.fixture
def explorer(book, tmp_path):
    """Makes explorers that share a cache."""
    cache = sage.CellCache(tmp_path / "cache")

    def make(pipe=None, **given):
        pipe = book.hybrid(k=4) >> sage.rerank(3) if pipe is None else pipe
        return sage.Explorer(pipe, **{"qrels": tmp_path / "judged.tsv", "cell": sage.Cell("explore", cache), **given})

    yield make
    cache.close()


def ranked(view, column=-1):
    return [row["title"] for row in view.columns[column]["rows"]]


def knob(view, name):
    return next(at for at, each in enumerate(view.knobs) if each["name"] == name)


def test_columns_stand_for_stages_and_tell_what_moved(explorer, book):
    view = explorer()
    view.ask("how do threads wait?")
    assert [column["name"] for column in view.columns] == ["lexical", "dense", "fused by rrf", "reranked"]
    assert view.columns[2]["kept"] == 4
    result = view.trace.result
    assert result.hits == (book.hybrid(k=4) >> sage.rerank(3)).search("how do threads wait?").hits
    assert ranked(view) == [hit.document.title for hit in result.hits]
    fused = {row["doc"]: row["rank"] for row in view.columns[2]["rows"]}
    assert [row["moved"] for row in view.columns[3]["rows"]] == [
        fused[row["doc"]] - row["rank"] for row in view.columns[3]["rows"]
    ]


def test_words_that_the_index_matches_are_marked(explorer):
    view = explorer()
    view.ask("waiting threads")
    marked = {row["text"][start:end] for row in view.columns[0]["rows"] for start, end in row["marks"]}
    assert marked == {"thread", "threads", "wait"}


def test_a_slider_computes_what_it_changes_and_nothing_else(explorer):
    view = explorer()
    view.ask("how do threads wait?")
    assert "computed bm25, dense, rerank" in view.status
    view.ask("how do threads wait?")
    assert "all from the cache" in view.status
    view.turn(knob(view, "k of rerank"), 1)
    assert view.status.endswith("computed rerank")
    assert len(view.columns[-1]["rows"]) == 1
    assert view.written.endswith(">> rerank(k=1)")
    view.reset()
    assert "all from the cache" in view.status
    assert view.knobs[knob(view, "k of rerank")]["value"] == 3


def test_a_weight_moves_hits_without_asking_the_retrievers(explorer):
    view = explorer()
    view.ask("how do threads wait?")
    view.turn(knob(view, "weight of lexical"), 0.0)
    assert "bm25" not in view.status
    assert ranked(view, 2)[: len(ranked(view, 1))] == ranked(view, 1)


def test_a_filter_is_applied_before_the_best_k(explorer, book):
    view = explorer(book.lexical(k=1))
    view.ask("threads that wait for a lock")
    assert ranked(view) == ["Locks"]
    view.ask("thread event rain")
    view.choose("source", "manual")
    assert view.wrong == ""
    assert {view.trace.result.hits[0].document.source} == {"manual"}
    assert view.pipe == book.where(source="manual").lexical(k=1)
    view.choose("source", "")
    assert view.pipe == book.lexical(k=1)


def test_fields_with_many_values_are_filtered_by_a_range_or_a_part(tmp_path):
    many = sage.Collection(tmp_path / "many", encoder=None)
    many.add(
        [sage.Document(f"d{n}", "A lock.", meta={"year": 1900 + n, "author": f"Ann {n}"}) for n in range(60)],
        progress=False,
    )
    with_cache = sage.Cell("explore", sage.CellCache(tmp_path / "cache"))
    view = sage.Explorer(many.lexical(k=60), qrels=tmp_path / "judged.tsv", cell=with_cache)
    view.ask("lock")
    assert {facet["name"]: facet["kind"] for facet in view.facets} == {"year": "range", "author": "text"}
    view.choose("year", "1910…1914")
    assert len(view.trace.result.hits) == 5
    view.choose("author", "Ann 13")
    assert [hit.document.id for hit in view.trace.result.hits] == ["d13"]
    view.choose("year", "early…late")
    assert view.wrong == "a range of year is two numbers, as in 1…9, got 'early…late'"
    with_cache.cache.close()


def test_an_open_passage_shows_its_context_and_each_score_worked_out(tmp_path, explorer):
    novel = sage.Collection(tmp_path / "novel", encoder=None)
    text = "It was night. Rain fell on the roof. The lock was cold. A key turned in it. Nobody waited."
    novel.add([sage.Document("night", text)], chunk=sage.chunk(7, overlap=0), progress=False)
    view = explorer(novel.lexical(k=3))
    view.ask("a cold lock")
    view.show(view.trace.result.hits[0].document.id)
    around = [" ".join(view.opened[name].split()) for name in ("before", "text", "after")]
    assert all(around)
    assert " ".join(around) in text
    reason = view.opened["reasons"][0]
    assert reason["stage"] == "lexical"
    total = sum(float(value) for _, _, value in reason["terms"])
    assert total == pytest.approx(float(reason["score"]), abs=1e-3)


def test_marks_are_qrels_that_the_measures_read(explorer, book, tmp_path):
    view = explorer(questions=[sage.Query("q7", "how do threads wait?")])
    assert view.examples == ["how do threads wait?"]
    view.ask("how do threads wait?")
    view.mark("locks", 1)
    view.mark("queues", 0)
    view.mark("events", 1)
    view.mark("events", None)
    assert sage.read_qrels(tmp_path / "judged.tsv") == {"q7": {"locks": 1, "queues": 0}} == view.qrels
    assert sage.read_queries(tmp_path / "judged.queries.jsonl") == view.queries
    again = explorer()
    again.ask("how do threads wait?")
    numbers = {row["title"]: str(row["doc"]) for column in again.columns for row in column["rows"]}
    assert again.marks == {numbers["Locks"]: 1, numbers["Queues"]: 0}
    measured = sage.evaluate(book.lexical(k=3).run(list(view.queries)), view.qrels)
    assert measured


def test_a_mark_that_cannot_be_written_is_not_kept(explorer, tmp_path):
    (tmp_path / "file").write_text("")
    view = explorer(qrels=tmp_path / "file" / "judged.tsv")
    view.ask("how do threads wait?")
    view.mark("locks", 1)
    assert "could not be written" in view.wrong
    assert view.qrels == {}


def test_what_fails_is_said_and_leaves_what_was_shown(explorer, book):
    view = explorer()
    view.ask("  ")
    assert view.wrong == "the question has no text; give it some words"
    view.ask("how do threads wait?")
    shown, written = view.columns, view.written
    view.turn(knob(view, "weight of lexical"), 0.0)
    view.turn(knob(view, "weight of dense"), 0.0)
    assert "not all 0" in view.wrong
    assert "0.0, 1.0" in view.written
    view.reset()
    assert (view.columns, view.written, view.wrong) == (shown, written, "")


def test_a_stage_of_ones_own_that_fails_is_a_sentence(explorer, book):
    def broken(result):
        raise ZeroDivisionError("no paper")

    view = explorer(book.lexical(k=2) >> broken)
    view.ask("how do threads wait?")
    assert "ZeroDivisionError: no paper" in view.wrong
    assert not view.busy


def test_a_page_of_hits_is_drawn_and_more_when_asked(tmp_path, explorer):
    many = sage.Collection(tmp_path / "many", encoder=None)
    many.add([sage.Document(f"d{n}", f"A lock, {n}.") for n in range(1000)], progress=False)
    view = explorer(many.lexical(k=1000))
    view.ask("lock")
    assert (len(view.columns[0]["rows"]), view.columns[0]["total"]) == (PAGE, 1000)
    view.on_more()
    assert len(view.columns[0]["rows"]) == 2 * PAGE


def test_an_expansion_is_a_column_of_terms(explorer, book):
    view = explorer(book.lexical(k=3) >> sage.rm3(docs=2, terms=3) >> book.lexical(k=3))
    view.ask("locks")
    assert [bool(column["terms"]) for column in view.columns] == [False, True, False]


def test_an_answer_cites_documents_that_can_be_opened(explorer, book):
    view = explorer(book.hybrid(k=3) >> sage.answer())
    view.ask("What does a lock let in?")
    cited = [piece["cites"] for piece in view.answer["pieces"] if piece["cites"]]
    assert cited
    assert set(cited) <= set(view.answer["docs"])
    assert "locks" in view.html()


def test_of_sliders_that_wait_the_last_alone_is_asked(explorer, book):
    gate, asked = threading.Event(), []

    def slow(result):
        asked.append(result.query.text)
        gate.wait(30)
        return result

    view = explorer(book.lexical(k=2) >> slow)
    for text in ("one lock", "two locks", "three locks", "four locks"):
        view.on_ask(text)
        end = time.monotonic() + 30
        while not asked and time.monotonic() < end:
            time.sleep(0.01)
    gate.set()
    end = time.monotonic() + 30
    while view.question != "four locks" and time.monotonic() < end:
        time.sleep(0.01)
    assert asked == ["one lock", "four locks"]


def test_without_javascript_it_shows_each_hits_place_in_each_ranking(explorer):
    view = explorer()
    assert "Nothing has been asked yet." in view.text()
    view.ask("how do threads wait?")
    for shown in (view.html(), view.text()):
        assert all(text in shown for text in ("how do threads wait?", "lexical", "reranked", "Locks", "#1"))
    data, _ = view._repr_mimebundle_()
    assert data["text/html"] == view.html()


def test_sage_explore_opens_the_last_pipeline_or_one_of_a_name(book, tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    session = Session()
    with pytest.raises(BadValueError, match="there is no pipeline to explore yet; run a %%sage cell first"):
        answer("explore", session, {})
    session.stage = book.lexical(k=2)
    view = answer("explore", session, {})
    view.ask("a lock")
    assert ranked(view) == ["Locks"]
    run = book.dense(k=2).run(["what is a lock?"])
    named = answer("explore answers", session, {"answers": run})
    assert (named.pipe, named.examples) == (book.dense(k=2), ["what is a lock?"])
    with pytest.raises(SageError, match="'other' names no pipeline"):
        answer("explore other", session, {"other": 7})
    session.cache.close()


def test_only_a_pipeline_that_takes_a_question_is_explored():
    with pytest.raises(BadValueError, match="needs a pipeline that begins with a retriever, got rerank"):
        sage.Explorer(sage.rerank(3))
