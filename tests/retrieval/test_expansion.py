"""What a question is expanded by: retrievers take it in the question's place, and drop it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.records.values import Document, Expansion, Query
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment

TEXTS = {
    "d1": "quagga zebra zebra stripes",
    "d2": "zebra stripes plain",
    "d3": "ant hill",
    "d4": "stripes ant ant plain savanna",
    "d5": "quagga zebra",
}


def filled(folder, **how):
    collection = sage.Collection(str(folder), **{"encoder": None, "analyzer": "plain", **how})
    collection.add([Document(name, text) for name, text in TEXTS.items()], progress=False)
    return collection


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("collections") / "zoo")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("collections") / "vectors", encoder="bundled")


def expanding(*terms, passages=(), analyzer=""):
    """A function that expands every question so."""

    def expand(result):
        return msgspec.structs.replace(result, expansion=Expansion(terms, passages, analyzer))

    return expand


def scores(result):
    return {hit.document.id: hit.score for hit in result.hits}


ENGINES = [
    {},
    {"variant": "plus"},
    {"variant": "okapi"},
    {"engine": "rank_bm25"},
    {"engine": "rank_bm25", "variant": "l"},
]


@pytest.mark.parametrize("how", ENGINES)
def test_a_term_of_weight_two_counts_as_one_that_is_asked_for_twice_and_scores_are_linear(zoo, how):
    retrieve = zoo.lexical(9, **how)
    twice = scores(retrieve.search("zebra ant zebra nowhere"))
    weighed = (Applied(expanding(("zebra", 2.0), ("ant", 1.0), ("nowhere", 1.0))) >> retrieve).search("plain")
    assert scores(weighed) == pytest.approx(twice)
    less = (Applied(expanding(("zebra", 0.5), ("ant", 0.25), ("nowhere", 0.25))) >> retrieve).search("plain")
    assert scores(less) == pytest.approx({name: score / 4 for name, score in twice.items()})
    assert set(twice) == set(TEXTS)


def test_the_retriever_drops_the_expansion_and_keeps_the_question(zoo):
    (result,) = (Applied(expanding(("ant", 1.0))) >> zoo.lexical(9)).run({"q": "zebra"}).results
    assert result.query == Query("q", "zebra")
    assert result.expansion is None
    assert list(scores(result)) == ["d4", "d3"]
    again = (Applied(expanding(("ant", 1.0))) >> zoo.lexical(9) >> zoo.lexical(9)).search("zebra")
    assert scores(again) == scores(zoo.lexical(9).search("zebra"))


def test_without_terms_a_lexical_retriever_takes_the_question(zoo):
    assert scores((Applied(expanding(passages=("ant",))) >> zoo.lexical(9)).search("zebra")) == scores(
        zoo.lexical(9).search("zebra")
    )


def test_a_term_that_comes_twice_has_the_sum_of_its_weights(zoo):
    whole = (Applied(expanding(("ant", 0.75))) >> zoo.lexical(9)).search("zebra")
    parts = (Applied(expanding(("ant", 0.5), ("ant", 0.25))) >> zoo.lexical(9)).search("zebra")
    assert scores(parts) == scores(whole)


def test_dense_takes_the_mean_of_the_question_and_the_passages_at_unit_length(vectors):
    texts = ["zebra", "ant hill", "savanna plain"]
    encoded = MODELS.encoder("bundled").encode(texts)
    mean = encoded.mean(axis=0) / np.linalg.norm(encoded.mean(axis=0))
    rows = MODELS.encoder("bundled").encode([TEXTS[name] for name in TEXTS])
    found = (Applied(expanding(passages=tuple(texts[1:]))) >> vectors.dense(9)).search(texts[0])
    assert scores(found) == pytest.approx(dict(zip(TEXTS, (rows @ mean).tolist(), strict=True)), abs=1e-5)
    assert scores((Applied(expanding(("ant", 1.0))) >> vectors.dense(9)).search("zebra")) == pytest.approx(
        scores(vectors.dense(9).search("zebra"))
    )


def test_a_batch_is_answered_as_its_questions_one_by_one(vectors):
    def expand(result):
        if result.query.text == "ant":
            return result
        return msgspec.structs.replace(
            result, expansion=Expansion((("ant", 0.5), ("zebra", 0.5)), ("ant hill", "plain"))
        )

    pipe = Applied(expand) >> vectors.hybrid(4)
    questions = ["zebra", "ant", "savanna"]
    together = pipe.run(questions).results
    alone = [pipe.search(question) for question in questions]
    for one, other in zip(together, alone, strict=True):
        assert scores(one) == pytest.approx(scores(other))
        assert one.expansion is None


def test_a_cell_answers_as_without_a_cache_whatever_the_question_is_expanded_by(vectors, tmp_path):
    cache = CellCache(tmp_path / "cache")
    env = LocalEnvironment("cell", resources={Cell: Cell("cell", cache)})
    rare, common = Expansion((("quagga", 1.0),), ("quagga",)), Expansion((("ant", 1.0),), ("ant hill",))

    def first(result):
        return msgspec.structs.replace(result, expansion=rare)

    def second(result):
        return msgspec.structs.replace(result, expansion=common)

    for function in (first, second, first):
        pipe = Applied(function) >> vectors.hybrid(3)
        cached = pipe.run(["zebra", "plain"], env=env)
        assert cached.results == pipe.run(["zebra", "plain"]).results
    assert {name: s["computed"] for name, s in cached.stages.items() if s["computed"]} == {}, (
        "the third time all is known"
    )
    cache.close()


@pytest.mark.parametrize(
    ("expansion", "sentence"),
    [
        (
            Expansion((("zebra", 1.0),), (), "english"),
            "terms of the analyzer 'english' and the index terms of 'zoo' are",
        ),
        (Expansion((("zebra", float("nan")),)), "expanded by 'zebra' with the weight nan; give a finite one"),
        (Expansion((("zebra", float("inf")),)), "expanded by 'zebra' with the weight inf; give a finite one"),
    ],
)
def test_terms_that_mean_nothing_to_the_collection_are_refused(zoo, expansion, sentence):
    def expand(result):
        return msgspec.structs.replace(result, expansion=expansion)

    with pytest.raises(BadValueError, match=sentence):
        (Applied(expand) >> zoo.lexical(9)).search("ant")
