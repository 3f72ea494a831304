"""A question followed through a pipeline: the end is what the pipeline gives, and every score is accounted for."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError
from sage_nb.records.filters import where
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.knobs import knobs, narrowed, sources, turned
from sage_nb.retrieval.trace import key_of, traced
from sage_nb.retrieval.why import why

QUESTION = sage.Query("q", "how does a lock let threads wait?")
WORDS = ("lock", "thread", "wait", "queue", "barrier", "window", "event", "free")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    made = sage.Collection(tmp_path_factory.mktemp("trace") / "book")
    made.add(
        [
            sage.Document(
                f"d{n}",
                " ".join(f"A {word} is number {n % (at + 2)}." for at, word in enumerate(WORDS) if n % (at + 2)),
                source=("guide", "manual")[n % 2],
                meta={"year": 2000 + n},
            )
            for n in range(1, 41)
        ],
        progress=False,
    )
    return made


@pytest.fixture
def cell(tmp_path):
    cache = sage.CellCache(tmp_path / "cache")
    yield sage.Cell("explore", cache)
    cache.close()


@sage.generator("trace-thesaurus")
def thesaurus(conversation):
    return "1. barriers and events\n2. free queues"


PIPELINES = {
    "hybrid": lambda book: book.hybrid(k=12) >> sage.rerank(5),
    "weighted": lambda book: 0.7 * book.lexical(k=9) + 0.3 * book.dense(k=9),
    "union": lambda book: (book.lexical(k=4) | 2 * book.dense(k=4)) % 5,
    "intersection": lambda book: book.lexical(k=20) & book.dense(k=20),
    "expanded": lambda book: book.lexical(k=5) >> sage.rm3(docs=3, terms=4) >> book.lexical(k=9, variant="plus"),
    "refined": lambda book: book.lexical(k=20) >> sage.dedup() >> sage.calibrate(2.0, -1.0) >> sage.min_score(0.4),
    "cascade": lambda book: book.hybrid(k=20) >> sage.rerank(8, top=6) >> sage.mmr(4),
    "sources": lambda book: sage.multi_source({"words": book.lexical(k=9), "sense": book.dense(k=9)}, k=7),
    "worded": lambda book: sage.multi_query(book.lexical(k=9), "trace-thesaurus", n=2) % 6,
    "hierarchical": lambda book: book.hierarchical(k=5),
    "answered": lambda book: book.hybrid(k=9) >> sage.answer(),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("kept", [False, True])
def test_the_end_of_a_trace_is_what_the_pipeline_gives(book, cell, name, kept):
    pipeline = PIPELINES[name](book)
    found = traced(pipeline, QUESTION, cell if kept else None).result
    assert found == pipeline.search(QUESTION.text)
    assert found.hits


def test_stops_stand_in_the_order_of_the_pipeline(book):
    trace = traced(PIPELINES["hybrid"](book), QUESTION)
    assert [stop.title for stop in trace.stops] == ["bm25", "dense", "rrf", "% 12", "rerank"]
    assert [stop.reads for stop in trace.stops] == [(), (), (0, 1), (2,), (3,)]


def test_the_rankings_inside_a_stage_of_several_operators_are_read_off_its_hits(book):
    trace = traced(PIPELINES["sources"](book), QUESTION)
    assert [stop.title for stop in trace.stops] == ["words: bm25", "sense: dense", "multi_source"]
    assert trace.stops[-1].reads == (0, 1)
    ranks = [hit.rank for hit in trace.stops[0].result]
    assert ranks == sorted(ranks)


def test_only_what_a_change_concerns_is_computed_again(book, cell):
    pipeline = PIPELINES["hybrid"](book)
    assert traced(pipeline, QUESTION, cell).computed == ("bm25", "dense", "rerank")
    assert traced(pipeline, QUESTION, cell).computed == ()
    by_name = {knob.name: knob for knob in knobs(pipeline)}
    fewer = turned(pipeline, by_name["k of rerank"].at, 3)
    assert traced(fewer, QUESTION, cell).computed == ("rerank",)
    weighed = turned(pipeline, by_name["weight of dense"].at, 0.5)
    assert traced(weighed, QUESTION, cell).computed == ("rerank",)


def test_what_a_cell_has_run_is_known(book, cell):
    pipeline = PIPELINES["hybrid"](book)
    env = sage.LocalEnvironment("cell", resources={sage.Cell: cell})
    assert pipeline.run([QUESTION], env=env).results
    assert traced(pipeline, QUESTION, cell).computed == ()


def test_a_changed_collection_is_asked_anew(tmp_path, cell):
    notes = sage.Collection(tmp_path / "notes", encoder=None)
    notes.add([sage.Document("a", "A lock.")], progress=False)
    assert len(traced(notes.lexical(k=5), QUESTION, cell).result) == 1
    notes.add([sage.Document("b", "A lock, and a thread.")], progress=False)
    assert len(traced(notes.lexical(k=5), QUESTION, cell).result) == 2


def test_a_stage_that_fails_says_so(book):
    def broken(result):
        raise RuntimeError("out of paper")

    with pytest.raises(SageError, match="broken.* RuntimeError: out of paper"):
        traced(book.lexical(k=2) >> broken, QUESTION)


def sums(trace):
    """Of each stop whose scores are worked out, whether they add up for every hit."""
    told = {}
    for stop in trace.stops:
        for hit in stop.result:
            reason = next((each for each in why(trace, key_of(hit)) if each.stage == stop.title), None)
            if reason and reason.terms:
                told.setdefault(stop.title, []).append(reason.adds_up)
    return {title: all(each) for title, each in told.items()}


@pytest.mark.parametrize("rule", sorted(set(FUSIONS) - {"condorcet"}))
def test_the_terms_of_a_fused_score_add_up(book, rule):
    pipeline = sage.fuse(book.lexical(k=15), book.dense(k=9), by=rule, weights=(0.7, 0.4))
    assert sums(traced(pipeline, QUESTION)) == {"bm25": True, rule: True}


def test_a_rule_that_is_no_sum_is_named_without_terms(book):
    trace = traced(sage.fuse(book.lexical(k=5), book.dense(k=5), by="condorcet"), QUESTION)
    reason = why(trace, key_of(trace.result.hits[0]))[-1]
    assert (reason.terms, reason.stage) == ((), "condorcet")
    assert "beats" in reason.said


@pytest.mark.parametrize("variant", ["lucene", "robertson", "okapi", "l", "plus"])
def test_the_terms_of_a_bm25_score_add_up(book, variant):
    assert sums(traced(book.lexical(k=15, variant=variant), QUESTION)) == {"bm25": True}


@pytest.mark.parametrize("name", ["hybrid", "cascade", "expanded", "refined", "weighted", "union"])
def test_the_terms_of_every_score_add_up(book, cell, name):
    told = sums(traced(PIPELINES[name](book), QUESTION, cell))
    assert told
    assert all(told.values()), told


def test_a_sum_that_does_not_add_up_is_noticed(book):
    trace = traced(book.lexical(k=3), QUESTION)
    reason = why(trace, key_of(trace.result.hits[0]))[0]
    assert reason.adds_up
    wrong = [term._replace(value=term.value + 0.001) for term in reason.terms]
    assert not type(reason)(reason.stage, reason.rank, reason.score, reason.said, reason.total, tuple(wrong)).adds_up


def test_a_hit_that_was_not_reranked_says_so(book):
    trace = traced(book.lexical(k=9) >> sage.rerank(9, top=3), QUESTION)
    said = why(trace, key_of(trace.result.hits[-1]))[-1].said
    assert said.startswith("not reranked")


def test_knobs_are_turned_where_they_stand(book):
    pipeline = PIPELINES["weighted"](book)
    places = {knob.name: knob.at for knob in knobs(pipeline)}
    for name, at in places.items():
        value = 0.5 if name.startswith("weight") else 33
        found = {knob.at: knob.value for knob in knobs(turned(pipeline, at, value))}
        before = {knob.at: knob.value for knob in knobs(pipeline)}
        assert found == {**before, at: value}
    assert knobs(PIPELINES["sources"](book))[0].name == "weight of words"
    named = {each.name for each in knobs(PIPELINES["sources"](book) % 5 >> sage.answer())}
    assert named >= {"k of multi_source", "k of %", "k of answer"}  # as they are typed


def test_a_knob_that_is_not_there_is_refused(book):
    with pytest.raises(BadValueError, match="has no 'weights'; take the place of one of its knobs"):
        turned(book.lexical(k=3), ("weights", 0), 1.0)
    with pytest.raises(BadValueError, match=r"lexical\(\) needs k"):
        turned(book.lexical(k=3), ("k",), 0)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_narrowed_pipeline_finds_only_what_the_filter_accepts(book, name):
    found = traced(narrowed(PIPELINES[name](book), where(source="guide")), QUESTION)
    hits = [hit for stop in found.stops for hit in stop.result]
    assert hits
    assert {hit.document.source for hit in hits} == {"guide"}


def test_filters_of_a_pipeline_stay(book):
    pipeline = narrowed(book.where(year__ge=2030).lexical(k=9), where(source="guide"))
    assert repr(sources(pipeline)[0].only) == "where(year__ge=2030) & where(source='guide')"
