"""A pipeline is a form, a form a pipeline, and the cell says it: nothing is lost on the way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.notebook.building.draft import Draft
from sage_nb.notebook.building.form import Held, chain_of, stage_of
from sage_nb.notebook.building.graph import graph_of
from sage_nb.notebook.building.spoken import expression, unsaid
from sage_nb.notebook.cell import pipeline_of
from sage_nb.retrieval.stage import Then
from tests.notebook.building import WORDS, pipelines


@pytest.fixture
def books(tmp_path, monkeypatch):
    """Three collections: one with a name in the notebook, one in its home, one at a path."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    return [sage.Collection("book"), sage.Collection("papers", encoder=None), sage.Collection(tmp_path / "else where")]


@pytest.fixture
def names(books):
    return {"book": books[0], "recent": books[0].where(year__ge=2000, source__in=["a", 'b"']), **WORDS}


def test_every_pipeline_is_its_form(books):
    @given(pipelines(books))
    def law(pipeline):
        held = Held()
        chain = chain_of(pipeline, held)
        assert stage_of(json.loads(json.dumps(chain)), held) == pipeline

    law()


def test_builder_to_cell_to_builder_is_the_identity(books, names):
    @settings(max_examples=300)
    @given(pipelines(books))
    def law(pipeline):
        draft = Draft([], pipeline)
        text = expression(draft.stage(), names)
        assert unsaid(text, pipeline, names) == ""
        again = Draft([], pipeline_of(text, dict(names)))
        assert again.stage() == pipeline
        assert again.chain == draft.chain

    law()


@pytest.fixture
def draft(books):
    """A new one: a search of the first collection."""
    return Draft([each.source for each in books])


def said(draft, names):
    return expression(draft.stage(), names)


def test_a_new_pipeline_searches_the_first_collection_as_that_can_be(books, draft, names):
    assert said(draft, names) == "book.lexical(k=100)"
    books[0].add([sage.Document("a", "text")], progress=False)
    assert said(Draft([books[0].source]), names) == "book.hybrid(k=100)"


def test_a_step_is_added_where_such_a_step_belongs(draft, names):
    for kind in ("answer", "rerank", "dedup", "cut", "hyde"):
        draft.add(kind)
    steps = ["hyde('parrot', n=1)", "book.lexical(k=100)", "rerank(k=10)", "dedup(threshold=0.8)"]
    assert (
        said(draft, names) == f"({chr(10).join([steps[0], *(f'>> {each}' for each in steps[1:])])}) % 10\n>> answer()"
    )
    assert unsaid(said(draft, names), draft.stage(), names) == ""


def test_feedback_searches_a_second_time(draft, names):
    draft.add("rerank")
    draft.add("rm3")
    lexical, rm3 = "book.lexical(k=100)", "rm3(docs=10, terms=10, weight=0.6)"
    assert said(draft, names) == f"{lexical}\n>> {rm3}\n>> {lexical}\n>> rerank(k=10)"


def test_what_asks_a_pipeline_is_put_around_the_search_and_taken_off_it(draft, names):
    draft.add("rerank")
    draft.add("multi_query")
    assert said(draft, names) == "multi_query(book.lexical(k=100), 'parrot', n=3) >> rerank(k=10)"
    draft.choose([0], "decompose")
    assert said(draft, names) == "decompose(book.lexical(k=100), 'parrot', n=3) >> rerank(k=10)"
    draft.remove([0])
    assert said(draft, names) == "book.lexical(k=100) >> rerank(k=10)"


def test_a_search_beside_a_search_is_fused_with_it(draft, names):
    draft.search_too([0])
    draft.search_too([0])
    draft.set([0], "weight", "0.5", branch=1)
    draft.add("rerank", [0, 2])
    elsewhere = draft.held.sources[2]
    fused = f"book.lexical(k=100) + 0.5 * Collection('papers').lexical(k=100) + ({elsewhere!r}.lexical(k=100) >> rerank"
    assert said(draft, names) == f"{fused}(k=10))"
    draft.set([0], "rule", "zscore")
    draft.remove([0], branch=2)
    two = "book.lexical(k=100), Collection('papers').lexical(k=100)"
    assert said(draft, names) == f"fuse({two}, by='zscore', weights=(1.0, 0.5))"
    draft.choose([0], "multi_source")
    sources = "{'source 1': book.lexical(k=100), 'source 2': Collection('papers').lexical(k=100)}"
    assert said(draft, names) == f"multi_source({sources}, weights={{'source 2': 0.5}})"
    draft.choose([0], "fused")
    draft.remove([0], branch=1)
    assert said(draft, names) == "book.lexical(k=100)"


def test_another_kind_has_what_both_have(draft, names):
    draft.set([0], "k", "7")
    draft.set([0], "source", 1)
    draft.choose([0], "hierarchical")
    assert said(draft, names) == "Collection('papers').hierarchical(k=7)"
    draft.choose_value([0], "fine", "dense")
    draft.set([0, "fine"], "k", "30")
    draft.set([0], "source", 0)
    assert said(draft, names) == "book.hierarchical(k=7, fine=book.dense(k=30))"
    draft.choose_value([0], "fine", None)
    assert said(draft, names) == "book.hierarchical(k=7)"


def test_steps_change_places(draft, names):
    for kind in ("rerank", "dedup"):
        draft.add(kind)
    draft.move([2], -1)
    assert said(draft, names) == "book.lexical(k=100) >> dedup(threshold=0.8) >> rerank(k=10)"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda draft: draft.set([0], "k", "many"), "k must be a whole number, got 'many'"),
        (lambda draft: draft.set([0], "k1", "nan"), "k1 must be a number, got 'nan'"),
        (lambda draft: draft.set([0], "variant", "best"), "variant is one of lucene, robertson, .* got 'best'"),
        (lambda draft: draft.set([0], "source", 9), "that step is not there any more"),
        (lambda draft: draft.set([4], "k", "1"), "that step is not there any more"),
        (lambda draft: draft.set([0], "depth", "1"), "there is no argument 'depth' here"),
        (lambda draft: draft.set([0, "generator"], "model", "m"), "that step is not there any more"),
        (lambda draft: Draft().add("lexical"), "there is no collection to search; make one with sage.Collection"),
        (lambda draft: Draft().stage(), "the pipeline has no steps yet; add a search"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(draft, change, sentence):
    before = json.dumps(draft.chain)
    with pytest.raises(BadValueError, match=sentence):
        change(draft)
    assert json.dumps(draft.chain) == before


def test_a_form_may_be_no_pipeline_for_a_while(draft):
    draft.add("rerank")
    draft.move([1], -1)
    draft.remove([1])
    draft.add("hyde")
    with pytest.raises(BadValueError, match=r"rerank\(k=10\) needs a ranking and hyde.* gives none"):
        draft.stage()


def test_a_cell_uses_the_names_of_the_notebook(books, names):
    book, papers, _ = books
    shorter = lambda result: result  # noqa: E731  as one does in a notebook
    pipe = book.where(year__ge=2000, source__in=["a", 'b"']).dense(3) + papers.where(year=1).lexical(3)
    assert expression(pipe, names) == "recent.dense(k=3) + Collection('papers').where(where(year=1)).lexical(k=3)"
    assert expression(pipe >> shorter, {**names, "papers": papers, "short": shorter}) == (
        "(recent.dense(k=3) + papers.where(where(year=1)).lexical(k=3)) >> short"
    )


def test_what_a_cell_cannot_say_is_said(books, names):
    nameless = books[0].lexical(3) >> (lambda result: result)
    assert unsaid(expression(nameless, names), nameless, names) == (
        "a cell cannot say this pipeline: the notebook has no name for <lambda>; give it one"
    )
    shadowed = {**names, "rerank": 3}
    pipe = books[0].lexical(3) >> sage.rerank(2)
    assert "'int' object is not callable" in unsaid(expression(pipe, shadowed), pipe, shadowed)
    leaning = Then(books[0].lexical(3), Then(sage.rerank(3), sage.dedup()))
    assert unsaid(expression(leaning, names), leaning, names).endswith("as it is written it is another")


def test_the_graph_is_what_would_run(books):
    pipe = sage.multi_source({"a": books[0].lexical(3), "b": books[1].hybrid(2)}, weights={"b": 2}) >> sage.rerank(1)
    boxes, arrows = graph_of(sage.iterative(pipe))
    titles = {box.id: box.title for box in boxes}
    steps = ["book.lexical", "papers.lexical", "papers.dense", "rrf", "% 2", "multi_source", "rerank", "iterative"]
    assert list(titles.values()) == ["question", *steps]
    drawn = [(titles[each.tail], titles[each.head], each.label) for each in arrows]
    assert ("book.lexical", "multi_source", "a") in drawn
    assert ("% 2", "multi_source", "weight 2 b") in drawn
    assert drawn[-1] == ("iterative", "book.lexical", "")
    assert [each.back for each in arrows] == [False] * (len(arrows) - 1) + [True]
