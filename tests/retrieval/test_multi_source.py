"""Several sources answer as one: the rest where some are down, in time where some are late, each passage once."""

from __future__ import annotations

import re
import shutil
import threading
import time

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.retrieval.merging import within
from sage_nb.runtime.environment import LocalEnvironment

STREAMS = {
    "s1": "Barriers align at each input of an operator before its state is written to a checkpoint.",
    "s2": "Windows slide over a stream and count its records by key.",
    "s3": "A watermark tells how far event time has come in a stream.",
}
PHYSICS = {
    "p1": "Rays scatter where light meets dust in air.",
    "p2": "A stream of water bends light as a lens does.",
    "p3": "Barriers align at each input of an operator, before its state is written to a checkpoint!",
}


def filled(folder, texts, encoder=None):
    collection = sage.Collection(folder, encoder=encoder)
    collection.add([sage.Document(name, text) for name, text in texts.items()], progress=False)
    return collection


@pytest.fixture
def streams(tmp_path):
    return filled(tmp_path / "streams", STREAMS)


@pytest.fixture
def physics(tmp_path):
    return filled(tmp_path / "physics", PHYSICS)


def web(text):
    return [(sage.Document("w1", f"The web on {text}"), 9.0), (sage.Document("w2", "Dust in water."), 3.0)]


def broken(text):
    raise ConnectionError("refused")


def ids(result):
    return [hit.document.id for hit in result.hits]


def test_hits_of_all_sources_stand_in_one_ranking_and_their_steps_name_the_source(streams, physics):
    found = sage.multi_source({"s": streams.lexical(2), "p": physics.lexical(2), "web": web}).search(
        "light in a stream"
    )
    assert {hit.collection for hit in found} == {"streams", "physics", "web"}
    for hit in found:
        name = {"streams": "s: bm25", "physics": "p: bm25", "web": "web"}[hit.collection]
        assert [step.stage for step in hit.steps] == [name, "multi_source"]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_near_duplicates_of_two_sources_are_one_hit_with_the_steps_of_both(streams, physics):
    pipe = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3)})
    first = pipe.search("barriers align at an operator").hits[0]
    assert (first.document.id, first.also) == ("s1", (("physics", "p3"),))
    assert [step.stage for step in first.steps] == ["s: bm25", "p: bm25", "multi_source"]
    apart = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3)}, near=None)
    assert {"s1", "p3"} <= set(ids(apart.search("barriers align at an operator")))


def test_near_duplicates_of_one_source_stay(tmp_path):
    twice = filled(tmp_path / "twice", {"a": STREAMS["s1"], "b": STREAMS["s1"]})
    assert ids(sage.multi_source({"t": twice.lexical(5)}).search("barriers align")) == ["a", "b"]


def test_a_document_that_two_sources_find_is_one_hit_of_no_other_place(streams):
    pipe = sage.multi_source({"one": streams.lexical(1), "other": streams.where(source="").lexical(1)}, near=None)
    (hit,) = pipe.search("windows slide").hits
    assert (hit.document.id, hit.also) == ("s2", ())
    assert [step.stage for step in hit.steps] == ["one: bm25", "other: bm25", "multi_source"]


def test_collections_of_one_kind_score_as_one_merged_collection(tmp_path, streams, physics):
    merged = filled(tmp_path / "merged", STREAMS | PHYSICS)
    pipe = sage.multi_source({"s": streams.lexical(9), "p": physics.lexical(9)}, near=None)
    for question in ("light in a stream", "barriers align in air", "records of water, by key"):
        assert ids(pipe.search(question)) == ids(merged.lexical(9).search(question)), question


@pytest.mark.parametrize("fusion", ["pooled", "rrf", "zscore", "minmax", "tmm"])
def test_a_question_alone_is_answered_as_in_a_batch(streams, physics, fusion):
    pipe = sage.multi_source({"s": streams.lexical(2), "p": physics.lexical(2), "web": web}, fusion=fusion)
    questions = ["light", "a stream", "state of an operator", "dust", "windows"]
    assert [r.hits for r in pipe.run(questions).results] == [pipe.search(each).hits for each in questions]


def test_weights_move_a_source_and_nothing_is_asked_of_one_that_weighs_nothing(streams, physics):
    sources = {"s": streams.lexical(3), "p": physics.lexical(3), "broken": broken}
    equal = sage.multi_source(sources, weights={"broken": 0.0}).search("light in a stream")
    moved = sage.multi_source(sources, weights=(5.0, 1.0, 0.0)).search("light in a stream")
    assert equal.hits[0].collection == "physics"
    assert moved.hits[0].collection == "streams"
    assert equal.missing == moved.missing == ()


def test_a_source_that_fails_is_named_and_the_rest_served(streams):
    results = sage.multi_source({"s": streams.lexical(3), "web": broken}).run(["a stream", "windows"]).results
    for result in results:
        assert (result.error, result.missing) == ("", ("web",))
        assert "web is missing: web failed: ConnectionError: refused" in result.notes
        assert ids(result)


def test_a_source_that_fails_on_some_questions_is_asked_again(streams):
    def picky(text):
        if "odd" in text:
            raise ValueError(text)
        return [sage.Document("even", "even")]

    questions = [f"stream {'odd' if n % 5 else 'even'} {n}" for n in range(20)]
    results = sage.multi_source({"s": streams.lexical(3), "picky": picky}).run(questions).results
    assert [result.missing for result in results] == [("picky",) if n % 5 else () for n in range(20)]


@pytest.mark.parametrize("broken_how", ["empty", "gone", "damaged"])
def test_a_collection_that_cannot_be_opened_costs_only_itself(tmp_path, streams, physics, broken_how):
    pipe = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3)})
    whole = pipe.search("windows slide")
    if broken_how == "damaged":
        (tmp_path / "physics" / "MANIFEST").write_bytes(b"nonsense")
    else:
        physics.delete(*PHYSICS) if broken_how == "empty" else shutil.rmtree(tmp_path / "physics")
    if broken_how == "gone":
        pipe = sage.multi_source({"s": streams.lexical(3), "p": sage.Collection(tmp_path / "physics2").lexical(3)})
    left = pipe.run(["windows slide"]).results[0]
    assert (whole.missing, left.missing, left.error) == ((), ("p",), "")
    assert ids(left)[0] == "s2"


def test_a_late_source_holds_up_neither_the_others_nor_later_questions(streams):
    begun, free = threading.Event(), threading.Event()

    def hangs(text):
        begun.set()
        free.wait(60)
        return []

    pipe = sage.multi_source({"s": streams.lexical(3), "slow": hangs}, timeout=0.2)
    start = time.monotonic()
    try:
        results = pipe.run([f"windows {n}" for n in range(60)]).results
    finally:
        free.set()
    assert begun.is_set()
    assert time.monotonic() - start < 8, "60 times 0.2 seconds would be 12"
    assert {result.missing for result in results} == {("slow",)}
    assert all(ids(result)[0] == "s2" for result in results)
    assert any("took longer than 0.2 s" in note for note in results[0].notes)


def test_a_late_question_is_missed_alone(streams):
    release = threading.Event()

    def sometimes(text):
        if "wait" in text:
            release.wait(60)
        return [sage.Document("on time", text)]

    pipe = sage.multi_source({"s": streams.lexical(3), "web": sometimes}, timeout=0.5)
    try:
        results = pipe.run(["windows", "windows wait", "windows again"]).results
    finally:
        release.set()
    assert [result.missing for result in results] == [(), ("web",), ()]


def test_sources_are_searched_at_the_same_time():
    together = threading.Barrier(3, timeout=30)

    def meets(text):
        together.wait()
        return [sage.Document("met", text)]

    found = sage.multi_source({"a": meets, "b": meets, "c": meets}).search("windows")
    assert (found.missing, len(found.hits)) == ((), 1)


def test_where_nothing_may_be_missing_the_question_fails(streams):
    pipe = sage.multi_source({"s": streams.lexical(3), "web": broken}, on_error="fail")
    (result,) = pipe.run(["windows"]).results
    assert "a source is down: web: web failed: ConnectionError: refused; with on_error='degrade'" in result.error
    assert result.hits == ()
    with pytest.raises(SageError, match="a source is down: web: web failed: ConnectionError: refused"):
        pipe.search("windows")


def test_where_all_are_down_the_question_fails(streams):
    pipe = sage.multi_source({"one": broken, "other": broken})
    results = pipe.run(["windows", "light"]).results
    assert all("all 2 sources are down: one: one failed: Conn" in result.error for result in results)
    with pytest.raises(SageError, match="the only source is down: one: one failed: ConnectionError: refused"):
        sage.multi_source({"one": broken}).search("windows")


def test_a_question_that_failed_before_is_not_asked(streams):
    def fails(result):
        raise ValueError("before")

    asked = []
    pipe = streams.lexical(3) >> fails
    inner = sage.multi_source({"s": streams.lexical(3), "web": lambda text: asked.append(text) or []})
    (result,) = (pipe >> inner).run(["windows"]).results
    assert result.error.endswith("ValueError: before")
    assert (result.missing, asked) == ((), [])


def test_a_route_chooses_sources_or_weighs_them(streams, physics):
    sources = {"s": streams.lexical(3), "p": physics.lexical(3), "broken": broken}
    one = sage.multi_source(sources, route=lambda text: "s" if "window" in text else ["p", "broken"])
    window, light = one.run(["windows of light", "light"]).results
    assert ({hit.collection for hit in window}, window.missing) == ({"streams"}, ())
    assert ({hit.collection for hit in light}, light.missing) == ({"physics"}, ("broken",))
    weighed = sage.multi_source(sources, route=lambda text: {"s": 9.0, "p": 1.0})
    assert weighed.search("light in a stream").hits[0].collection == "streams"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nowhere", "unknown source that the route names 'nowhere'"),
        ([], "the route names no source that counts; name one of s"),
        (None, "the route gave None; it gives, for a question's text, names"),
        ({"s": -1}, "the route weighs 's' with -1; a weight is a number of 0 or more"),
    ],
)
def test_a_route_that_leads_nowhere_fails_the_question(streams, said, why):
    (result,) = sage.multi_source({"s": streams.lexical(3)}, route=lambda text: said).run(["windows"]).results
    assert why in result.error
    assert why in str(result)
    with pytest.raises(SageError, match=re.escape(why)):
        sage.multi_source({"s": streams.lexical(3)}, route=lambda text: said).search("windows")


def test_quotas_bound_what_a_source_gives(streams, physics):
    sources = {"s": streams.lexical(3), "p": physics.lexical(3), "web": web}
    asked = "light in a stream of records and dust"
    at_most = sage.multi_source(sources, per_source=1, near=None).search(asked)
    assert sorted(hit.collection for hit in at_most) == ["physics", "streams", "web"]
    few = sage.multi_source(sources, per_source={"s": (2, 3), "web": 1}, k=3, near=None).search(asked)
    assert [hit.collection for hit in few].count("streams") == 2
    assert len(few) == 3


def test_a_quota_takes_the_place_of_the_last_that_can_be_spared():
    owners = {0: 0, 1: 0, 2: 0, 3: 1, 4: 2}
    assert within([0, 1, 2, 3, 4], owners, [(1, 9), (1, 9), (1, 9)], 3) == [0, 3, 4]
    assert within([0, 1, 2, 3, 4], owners, [(3, 9), (1, 9), (0, 9)], 3) == [0, 1, 2]
    assert within([0, 1, 2, 3, 4], owners, [(0, 1), (0, 9), (0, 9)], 3) == [0, 3, 4]


def test_a_source_that_finds_nothing_says_so(streams):
    found = sage.multi_source({"s": streams.lexical(3), "web": lambda text: []}).search("windows")
    assert (found.missing, "web: nothing found" in found.notes) == ((), True)


@pytest.mark.parametrize(
    "given",
    [
        [sage.Document("a", "x"), sage.Document("b", "y")],
        [(sage.Document("b", "y"), 0.5), (sage.Document("a", "x"), 2)],
        (sage.Hit(sage.Document(each, ""), 1, score) for each, score in [("a", 2.0), ("b", 1.0)]),
        sage.Result(sage.Query("other", "?"), tuple(sage.Hit(sage.Document(n, n), 1, 1.0) for n in "ab")),
        [sage.Document("a", "x"), sage.Document("a", "x"), sage.Document("b", "y")],
    ],
)
def test_a_function_gives_documents_pairs_hits_or_a_result(given):
    found = sage.multi_source({"web": lambda text: given}, near=None).run(sage.Query("mine", "x") and ["x"]).results[0]
    assert [(hit.document.id, hit.collection) for hit in found] == [("a", "web"), ("b", "web")]
    assert found.query.text == "x"


@pytest.mark.parametrize("given", [None, "text", 3, ["a"], [("a", 1.0)], [(sage.Document("a", ""), float("nan"))]])
def test_a_function_that_gives_something_else_is_down(given):
    (result,) = sage.multi_source({"web": lambda text: given}).run(["x"]).results
    assert "BadValueError: the source 'web' gave" in result.error


@pytest.mark.parametrize(
    ("sources", "options", "why"),
    [
        ({}, {}, r"takes sources by name, \{'papers': papers.hybrid\(20\), …\}, got \{\}"),
        ([web], {}, "takes sources by name"),
        ({"": web}, {}, "a source is called by a name, got ''"),
        ({"web": 3}, {}, "the source 'web' is 3; give a pipeline such as"),
        ({"web": sage.rerank(3)}, {}, "the source 'web' must begin and end with a retriever, got rerank"),
        ({"web": web}, {"k": 0}, r"multi_source\(\) needs k, a whole number of 1 or more, got 0"),
        ({"web": web}, {"weights": (1, 2)}, "1 rankings are fused and 2 weights given"),
        ({"web": web}, {"weights": {"web": -1}}, "weights must be 0 or more and finite"),
        ({"web": web}, {"per_source": 0}, r"per_source of 'web' is a number of hits, 1 or more, .* got \(0, 0\)"),
        ({"web": web}, {"per_source": {"web": (4, 3)}}, r"per_source of 'web' is a number of hits"),
        ({"web": web}, {"per_source": {"web": (4, 5)}, "k": 3}, "asks for at least 4 hits, and k=3; raise k"),
        ({"web": web}, {"timeout": 0}, "timeout= of multi_source.* must be a finite number above 0, got 0"),
        ({"web": web}, {"near": 2}, "near-duplicates need a threshold"),
        ({"web": web}, {"route": 3}, "route= takes a function"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(sources, options, why):
    with pytest.raises(BadValueError, match=why):
        sage.multi_source(sources, **options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"wieghts": {}}, "option of multi_source.* 'wieghts'; did you mean 'weights'"),
        ({"weights": {"wbe": 1}}, "source in weights= 'wbe'; did you mean 'web'"),
        ({"per_source": {"wbe": 1}}, "source in per_source= 'wbe'"),
        ({"fusion": "pool"}, "unknown fusion rule 'pool'; did you mean 'pooled'"),
        ({"on_error": "ignore"}, "on_error= of multi_source.* 'ignore'"),
    ],
)
def test_names_that_are_not_known_are_refused(options, why):
    with pytest.raises(UnknownNameError, match=why):
        sage.multi_source({"web": web}, **options)


def test_it_prints_back_and_lies_in_yaml(streams, physics):
    pipe = sage.multi_source(
        {"s": streams.lexical(3), "p": physics.where(source="").lexical(3) % 2},
        weights={"p": 0.5},
        per_source={"s": (1, 2)},
        fusion="zscore",
        timeout=None,
        on_error="fail",
        near=0.5,
        k=7,
    ) >> sage.rerank(3)
    names = {"Collection": sage.Collection, "multi_source": sage.multi_source, "rerank": sage.rerank}
    assert eval(repr(pipe), {**names, "where": sage.where, "_": None}) == pipe  # noqa: S307  our own repr
    assert sage.Pipeline.from_yaml(pipe.to_yaml()) == pipe
    plain = sage.multi_source({"s": streams.lexical(3)})
    assert repr(plain) == f"multi_source({{'s': {streams.lexical(3)!r}}})"
    with pytest.raises(BadValueError, match="cannot be written as YAML; build it of registered stages"):
        sage.multi_source({"web": web}).to_yaml()


def test_changing_a_source_recomputes_only_that_one(tmp_path, streams, physics):
    cache = sage.CellCache(tmp_path / "cache")
    questions = ["windows", "light", "a stream"]

    def counts(pipe):
        env = LocalEnvironment("cached", resources={sage.Cell: sage.Cell("cell", cache)})
        run = pipe.run(questions, env=env)
        assert [r.hits for r in run.results] == [r.hits for r in pipe.run(questions).results]
        return {name.rpartition("/")[2]: each["computed"] for name, each in run.stages.items() if each["computed"]}

    try:
        s, p = "streams').lexical(k=3)", "physics').lexical(k=3)"
        first = counts(sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3), "web": web}))
        assert first == {s: 3, p: 3, "web": 3, "multi_source": 3}
        assert counts(sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3), "web": web})) == {}
        less = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(2), "web": web})
        assert counts(less) == {"physics').lexical(k=2)": 3, "multi_source": 3}
        weighed = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3), "web": web}, weights={"s": 2.0})
        assert counts(weighed) == {"multi_source": 3}
        physics.add([sage.Document("p4", "Light bends.")], progress=False)
        again = sage.multi_source({"s": streams.lexical(3), "p": physics.lexical(3), "web": web})
        assert counts(again) == {p: 3, "multi_source": 3}
    finally:
        cache.close()


def test_a_result_that_lacks_a_source_is_not_kept(tmp_path, streams):
    cache = sage.CellCache(tmp_path / "cache")
    down = [True]

    class Client:
        def __call__(self, text):
            if down:
                raise ConnectionError("refused")
            return [sage.Document("w", "Windows on the web")]

    try:
        pipe = sage.multi_source({"s": streams.lexical(3), "web": Client()})
        env = LocalEnvironment("cached", resources={sage.Cell: sage.Cell("cell", cache)})
        assert pipe.run(["windows"], env=env).results[0].missing == ("web",)
        down.clear()
        assert pipe.run(["windows"], env=env).results[0].missing == ()
    finally:
        cache.close()


def test_in_a_cell_it_needs_no_import(streams):
    found = sage.cell("multi_source({'s': streams.lexical(3)}, k=1)", {"streams": streams}).search("windows")
    assert ids(found) == ["s2"]


def test_half_a_pair_of_surrogates_from_an_endpoint_is_no_reason_to_lose_it(tmp_path):
    def web(text):
        return [sage.Document("d", "half \ud83d", title="\udcff")]

    cache = sage.CellCache(tmp_path / "cache")
    env = sage.LocalEnvironment("cell", resources={sage.Cell: sage.Cell("cell", cache)})
    results = [run.results[0] for run in (sage.multi_source({"web": web}).run("what?", env=env) for _ in range(2))]
    assert [[hit.document.text for hit in each] for each in results] == [["half ?"], ["half ?"]]
    cache.close()
