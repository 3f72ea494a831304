"""RM3 against a computation by hand, and vector PRF."""

from __future__ import annotations

from math import exp, log

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.values import Document, Expansion, Hit, Query, Result
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.rm3 import Rm3
from sage_nb.retrieval.stage import Applied
from sage_nb.retrieval.yaml import from_yaml, to_yaml
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment
from tests.retrieval.test_expansion import TEXTS, filled, scores

QUESTIONS = ["quagga", "ant zebra", "savanna", "nothing of this"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("collections") / "zoo")


def hits(*scored, collection="zoo"):
    return tuple(Hit(Document(f"h{at}", text), at, score, (), collection) for at, (text, score) in enumerate(scored, 1))


def bm25(term, name):
    """BM25 (lucene) of a term for one of the five texts, written down anew."""
    texts = {each: text.split() for each, text in TEXTS.items()}
    frequency = sum(term in words for words in texts.values())
    length = sum(map(len, texts.values())) / len(texts)
    words = texts[name]
    tf = words.count(term)
    idf = log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
    return idf * tf / (tf + 1.2 * (0.25 + 0.75 * len(words) / length))


def test_the_expansion_is_what_one_computes_by_hand(zoo):
    # "quagga" finds d5 (quagga zebra) and d1 (quagga zebra zebra stripes), with scores a and b:
    a, b = bm25("quagga", "d5"), bm25("quagga", "d1")
    first, second = exp(a) / (exp(a) + exp(b)), exp(b) / (exp(a) + exp(b))
    model = {"quagga": first / 2 + second / 4, "zebra": first / 2 + second / 2, "stripes": second / 4}
    kept = {"quagga": model["quagga"], "zebra": model["zebra"]}  # the two best of three
    total = sum(kept.values())
    weights = {"quagga": 0.6 + 0.4 * kept["quagga"] / total, "zebra": 0.4 * kept["zebra"] / total}
    pipe = zoo.lexical(2) >> sage.rm3(docs=2, terms=2, weight=0.6) >> zoo.lexical(9)
    by_hand = {name: sum(weight * bm25(term, name) for term, weight in weights.items()) for name in TEXTS}
    result = pipe.search("quagga")
    assert scores(result) == pytest.approx({name: score for name, score in by_hand.items() if score})
    assert [hit.document.id for hit in result.hits] == ["d5", "d1", "d2"]
    assert result.notes[0] == f"rm3: quagga {weights['quagga']:.2g}, zebra {weights['zebra']:.2g}"
    assert [step.stage for step in result.hits[0].steps] == ["bm25"]


def test_of_the_hits_and_the_terms_only_so_many_count_and_ties_go_by_the_alphabet():
    made = Rm3(docs=1, terms=2, weight=0.0, analyzer="plain").function()
    found = Result(Query("q", "xx"), hits(("dd cc bb aa", 1.0), ("zz zz", 5.0)))
    assert made.map(found).expansion == Expansion((("aa", 0.5), ("bb", 0.5)), (), "plain")


@pytest.mark.parametrize(
    ("weight", "terms"),
    [
        (1.0, (("ant", 0.5), ("hill", 0.5))),
        (0.0, (("bee", 1.0),)),
        (0.5, (("bee", 0.5), ("ant", 0.25), ("hill", 0.25))),
    ],
)
def test_the_weight_is_the_questions_share(weight, terms):
    made = Rm3(weight=weight, analyzer="plain").function()
    assert made.map(Result(Query("q", "ant hill"), hits(("bee", 2.0)))).expansion == Expansion(terms, (), "plain")


def test_scores_of_any_size_and_sign_weigh_the_hits_by_their_differences():
    made = Rm3(weight=0.0, analyzer="plain").function()
    for base in (0.0, -7.0, 5_000.0):
        result = made.map(Result(Query("q", "ant"), hits(("bee", base + log(3)), ("cow", base))))
        assert dict(result.expansion.terms) == pytest.approx({"bee": 0.75, "cow": 0.25})


def test_without_hits_the_question_itself_is_searched_and_a_note_says_so(zoo):
    pipe = zoo.lexical(2) >> sage.rm3() >> zoo.lexical(9)
    result = pipe.search("wombat")
    assert not result.hits
    assert "rm3(docs=10, terms=10, weight=0.6): no hits to expand the question by" in result.notes


def test_a_question_without_terms_is_expanded_by_the_hits_alone():
    made = Rm3(analyzer="english").function()
    assert made.map(Result(Query("q", "the"), hits(("bees", 1.0)))).expansion.terms == (("bee", 0.4),)


def test_a_failed_question_goes_past_it(zoo):
    def fail_on_ants(result):
        if "ant" in result.query.text:
            raise ValueError("no ants")
        return result

    pipe = zoo.lexical(3) >> fail_on_ants >> sage.rm3() >> zoo.lexical(3)
    first, second = pipe.run(["quagga", "ant"]).results
    assert first.hits
    assert "fail_on_ants failed: ValueError: no ants" in second.error


def test_a_batch_is_answered_as_its_questions_one_by_one(zoo):
    pipe = zoo.lexical(3) >> sage.rm3(terms=3) >> zoo.lexical(4)
    together = pipe.run(QUESTIONS).results
    for result, question in zip(together, QUESTIONS, strict=True):
        alone = pipe.search(question)
        assert (result.hits, result.notes) == (alone.hits, alone.notes)


def test_the_terms_are_those_of_the_collections_analyzer(tmp_path):
    stemmed = filled(tmp_path / "stemmed", analyzer="english")
    result = (stemmed.lexical(1) >> sage.rm3(docs=1, terms=9) >> stemmed.lexical(9)).search("quagga striped")
    assert "stripe" in result.notes[0]
    assert "stripes" not in result.notes[0]


def test_hits_of_collections_of_unlike_analyzers_are_refused_by_name(zoo, tmp_path):
    stemmed = filled(tmp_path / "stemmed", analyzer="english")
    both = (zoo.lexical(3) + stemmed.lexical(3)) >> sage.rm3() >> zoo.lexical(3)
    with pytest.raises(BadValueError, match="'stemmed' .analyzer 'english'. and 'zoo' .analyzer 'plain'., whose terms"):
        both.search("quagga")
    with pytest.raises(BadValueError, match="by terms of the analyzer 'english' and the index terms of 'zoo' are made"):
        (stemmed.lexical(3) >> sage.rm3() >> zoo.lexical(3)).search("quagga")
    named = (zoo.lexical(3) + stemmed.lexical(3)) >> sage.rm3(analyzer="plain") >> zoo.lexical(3)
    assert named.search("quagga").hits
    apart = (zoo.lexical(3) >> sage.rm3() >> zoo.lexical(3)) + (stemmed.lexical(3) >> sage.rm3() >> stemmed.lexical(3))
    assert apart.search("quagga").hits
    after = stemmed.lexical(3) >> sage.rm3() >> stemmed.lexical(3) >> zoo.lexical(3) >> sage.rm3() >> zoo.lexical(3)
    assert after.search("quagga").hits, "what was dropped on the way does not count"


def test_hits_that_come_from_nowhere_need_the_name_of_an_analyzer(zoo):
    def strange(result):
        return Result(result.query, hits(("quagga zebra", 1.0), collection="elsewhere"))

    with pytest.raises(BadValueError, match="got hits of 'elsewhere', which is no collection on their way here"):
        (Applied(strange) >> sage.rm3() >> zoo.lexical(3)).search("x")
    assert (Applied(strange) >> sage.rm3(analyzer="plain") >> zoo.lexical(3)).search("x").hits


@pytest.mark.parametrize(
    ("build", "kind", "sentence"),
    [
        (lambda: sage.rm3(docs=0), BadValueError, r"rm3\(\) needs docs, a whole number of 1 or more, got 0"),
        (lambda: sage.rm3(terms=True), BadValueError, r"rm3\(\) needs terms, a whole number of 1 or more, got True"),
        (lambda: sage.rm3(weight=1.5), BadValueError, r"rm3\(\) needs weight, a number from 0 to 1, got 1.5"),
        (lambda: sage.rm3(weight="x"), BadValueError, r"rm3\(\) needs weight, a number from 0 to 1, got 'x'"),
        (lambda: sage.rm3(analyzer="klingon"), UnknownNameError, "unknown analyzer 'klingon'"),
        (lambda: sage.prf(docs=0), BadValueError, r"prf\(\) needs docs, a whole number of 1 or more, got 0"),
        (lambda: sage.rm3() >> sage.rerank(), BadValueError, r"rerank\(k=10\) needs a ranking and rm3\(.* gives none"),
    ],
)
def test_what_cannot_work_is_refused(build, kind, sentence):
    with pytest.raises(kind, match=sentence):
        build()


def test_it_prints_and_is_written_back(zoo, vectors):
    names = {"Collection": sage.Collection, "rm3": sage.rm3, "prf": sage.prf}
    for pipe in (
        zoo.lexical(20) >> sage.rm3(docs=5, terms=7, weight=0.25) >> zoo.lexical(3),
        zoo.lexical(20) >> sage.rm3(analyzer="plain") >> zoo.lexical(3),
        vectors.dense(20) >> sage.prf(2) >> vectors.hybrid(3),
    ):
        assert eval(repr(pipe), names) == pipe  # noqa: S307
        assert from_yaml(to_yaml(pipe)) == pipe


def test_another_argument_computes_only_what_depends_on_it(zoo, tmp_path):
    cache = CellCache(tmp_path / "cache")
    env = LocalEnvironment("cell", resources={Cell: Cell("cell", cache)})

    def computed(pipe):
        run = pipe.run(QUESTIONS, env=env)
        assert run.results == pipe.run(QUESTIONS).results
        return {name: stage["computed"] for name, stage in run.stages.items() if stage["computed"]}

    first, last = zoo.lexical(3), zoo.lexical(9)
    assert computed(first >> sage.rm3() >> last) == {repr(first): 4, repr(sage.rm3()): 4, repr(last): 4}
    assert computed(first >> sage.rm3() >> last) == {}
    assert computed(first >> sage.rm3(weight=0.5) >> last) == {repr(sage.rm3(weight=0.5)): 4, repr(last): 4}
    assert computed(first >> sage.rm3() >> zoo.lexical(5)) == {repr(zoo.lexical(5)): 4}
    cache.close()


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("collections") / "vectors", encoder="bundled")


def test_prf_moves_the_questions_vector_to_the_mean_with_the_first_hits(vectors):
    first = vectors.dense(2).search("quagga")
    passages = tuple(hit.document.text for hit in first.hits)

    def by_hand(result):
        return Result(result.query, expansion=Expansion(passages=passages))

    pipe = vectors.dense(2) >> sage.prf(docs=2) >> vectors.dense(5)
    result = pipe.search("quagga")
    assert scores(result) == pytest.approx(scores((Applied(by_hand) >> vectors.dense(5)).search("quagga")), abs=1e-6)
    assert scores(result) != pytest.approx(scores(vectors.dense(5).search("quagga")), abs=1e-3)
