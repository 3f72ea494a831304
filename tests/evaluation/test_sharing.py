"""Pipelines that run as one graph: each gives what it gives alone, and what is equal in them is computed once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import add, rshift

import pytest

import sage_nb as sage
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import Session
from sage_nb.retrieval.mixture import MODELS_MIXED
from sage_nb.retrieval.path import Shared
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Operation
from sage_nb.retrieval.together import together
from sage_nb.stream.function import MapFunction

QUESTIONS = {f"q{n}": f"who is {n}?" for n in range(6)}
QRELS = {name: {"a": 1} for name in QUESTIONS}
CALLS: Counter[str] = Counter()


@dataclass(frozen=True)
class Counted(Operation):
    """A stage that counts the questions it is asked."""

    name: str

    def function(self):
        return Counting(self.name, self.needs)


@dataclass(frozen=True)
class Find(Counted):
    """Ranks five documents, differently for each question."""


@dataclass(frozen=True)
class Move(Counted):
    """Ranks them anew."""

    @property
    def needs(self):
        return "ranking"


class Counting(MapFunction):
    def __init__(self, name, needs):
        self.name, self.needs = name, needs

    def map(self, value):
        CALLS[self.name] += 1
        chance = random.Random(f"{self.name} {value.query.text}")
        hits = value.hits or [sage.Hit(sage.Document(each, ""), 0, 0.0) for each in "abcde"]
        return ranked(value, self.name, [(hit, hit.score + chance.random()) for hit in hits])


@pytest.fixture(autouse=True)
def _anew():
    CALLS.clear()


A, B, C, X, Y = Find("A"), Find("B"), Find("C"), Move("X"), Move("Y")


@sage.generator("rewords")
def rewords(conversation):
    CALLS["rewords"] += 1
    return "who was that?\nwho else?"


def compared(pipelines, **how):
    return sage.experiment(pipelines, QUESTIONS, QRELS, measures=["RR"], **how)


def test_a_common_beginning_is_computed_once():
    seen = compared({"one": A >> X, "two": A >> X >> Y, "three": (A >> X) % 3, "four": A >> Y})
    assert CALLS == {"A": 6, "X": 6, "Y": 12}  # Y behind X is another than Y behind A
    assert (seen.stages_asked, seen.stages_run) == (2 + 3 + 3 + 2, 5)


def test_what_is_equal_inside_fusions_is_too_wherever_it_stands():
    seen = compared(
        {
            "sum": A + B,
            "weighed": 0.2 * A + 0.8 * B,
            "deep": ((A >> X) + C) >> Y,
            "nested": (B | (A >> X)) & (C + (A >> X)),
            "twice": (A >> X) + (A >> Y),
            "alone": A >> X,
        }
    )
    assert CALLS == {"A": 6, "B": 6, "C": 6, "X": 6, "Y": 12}
    assert seen.stages_asked == 3 + 3 + 5 + 9 + 5 + 2
    assert seen.stages_run == 3 + 3 + 7  # A B C · X, Y behind A, Y behind deep · 7 fusions


def test_an_equal_fusion_is_computed_once_with_what_stands_behind_it():
    compared({"one": A + B >> X, "two": (A + B >> X) + C, "three": (A + B >> X) % 2})
    assert CALLS == {"A": 6, "B": 6, "C": 6, "X": 6}


def test_questions_of_a_generator_and_what_they_find_are_shared():
    compared({"one": sage.multi_query(A, "rewords", n=2), "two": sage.multi_query(A >> X, "rewords", n=2), "three": A})
    assert CALLS == {"rewords": 6, "A": 18 + 6, "X": 18}  # each question and two others; once more by itself


def test_sources_are_shared_among_other_sources_and_weights():
    seen = compared(
        {
            "two": sage.multi_source({"a": A, "b": B}),
            "weighed": sage.multi_source({"a": A, "b": B}, weights={"a": 0.1}, fusion="rrf"),
            "three": sage.multi_source({"b": B, "c": C, "first": A}),
            "none": sage.multi_source({"a": A, "b": B}, weights={"b": 0}),
        }
    )
    assert CALLS == {"A": 6, "B": 6, "C": 6}
    assert seen.stages_run == 3 + 4 + 1  # of weight 0 nothing is asked: a source of its own that has nothing to do


def test_sources_behind_a_route_are_shared_where_the_route_is_the_same():
    def route(text):
        return ["a"] if "3" in text else ["a", "b"]

    compared(
        {
            "plain": sage.multi_source({"a": A, "b": B}, route=route),
            "weighed": sage.multi_source({"a": A, "b": B}, weights=(0.3, 0.7), route=route),
        }
    )
    assert CALLS == {"A": 6, "B": 5}


def test_a_function_written_twice_is_one():
    def made(shift):
        def moved(result):
            CALLS["moved"] += shift
            return result

        return moved

    compared({"one": A >> made(1), "two": A >> made(1) >> X})
    assert CALLS["moved"] == 6
    compared({"one": A >> made(1), "two": A >> made(100)})
    assert CALLS["moved"] == 6 + 606


def test_sharing_is_what_saves_the_calls(monkeypatch):
    """The negative control: without it each pipeline computes all of its own."""
    monkeypatch.setattr(Shared, "once", lambda self, stream, path, what, lay: lay())
    seen = compared({"one": A >> X, "two": A >> X >> Y})
    assert CALLS == {"A": 12, "X": 12, "Y": 6}
    assert seen.stages_run == seen.stages_asked == 5


def expression(chance, depth=3):
    """Any pipeline of the stages above."""
    if depth == 0 or chance.random() < 0.2:
        return chance.choice([A, B, C])
    inner = [expression(chance, depth - 1) for _ in range(chance.choice([2, 3]))]
    kind = chance.choice(["add", "then", "cut", "weigh", "fuse", "sources"])
    if kind == "add":
        return reduce(add, inner)
    if kind == "then":
        return reduce(rshift, [inner[0], *chance.sample([X, Y], chance.choice([1, 2]))])
    if kind == "cut":
        return inner[0] % chance.choice([2, 4])
    if kind == "weigh":
        return 0.3 * inner[0] + 0.7 * inner[1]
    if kind == "fuse":
        return sage.fuse(*inner, by=chance.choice(["borda", "zscore", "max"]))
    return sage.multi_source(dict(zip("xyz", inner, strict=False)), k=chance.choice([3, 5]))


@pytest.mark.parametrize("seed", range(12))
def test_each_pipeline_gives_what_it_gives_alone(seed):
    chance = random.Random(seed)
    pipelines = {f"pipe {n}": expression(chance) for n in range(8)}
    queries = [sage.Query(*each) for each in QUESTIONS.items()]
    begun = together(pipelines, queries)
    begun.job.wait()
    asked = dict(CALLS)
    CALLS.clear()
    for name, pipe in pipelines.items():
        assert begun.runs[name].results == pipe.run(queries).results
    assert sum(asked.values()) < sum(CALLS.values())


def test_a_sweep_of_twelve_costs_what_its_different_stages_cost():
    seen = sage.sweep(
        lambda alpha, k: (alpha * A + (1 - alpha) * (B >> X)) % k >> Y,
        QUESTIONS,
        QRELS,
        alpha=[0.2, 0.4, 0.6, 0.8],
        k=[1, 2, 3],
        measures=["RR"],
    )
    assert len(seen.names) == 12
    different = {"A", "B", "X"} | {(alpha, k, "Y") for alpha in range(4) for k in range(3)}
    assert sum(CALLS.values()) <= 1.15 * len(different) * len(QUESTIONS)
    assert (seen.stages_asked, seen.stages_run) == (12 * 6, 3 + 4 + 12 + 12)
    assert str(seen).startswith("12 pipelines, 72 stages asked, 31 run · 6 questions")


# in turn


def test_stages_compute_one_at_a_time_so_that_each_ones_time_is_its_own():
    barrier, met = threading.Barrier(2), []

    def here(result):
        try:
            barrier.wait(1.0)
            met.append(True)
        except threading.BrokenBarrierError:
            barrier.reset()
            met.append(False)
        return result

    pipe = sage.multi_source({"a": A >> here, "b": B >> here})
    pipe.run(["who?"]).job.wait()
    assert met == [True, True]  # the negative control: alone, sources are asked at the same time
    met.clear()
    sage.experiment({"both": pipe}, {"q0": "who?"}, QRELS, measures=["RR"])
    assert met == [False, False]


# with a cell's cache


def cached(session, pipelines, name="cell"):
    env = sage.LocalEnvironment("cell", resources={Cell: Cell(name, session.cache)})
    return compared(pipelines, env=env)


def computed(seen):
    """Questions computed, by operator; what is shared counts once."""
    counts = {uid: each["computed"] for run in seen.runs.values() for uid, each in run.stages.items()}
    return {uid: count for uid, count in counts.items() if count}


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = sage.Collection("book", encoder=None)
    made.add([sage.Document(each, f"who is {each} {at}") for at, each in enumerate("abcdef")], progress=False)
    return made


def test_a_second_time_no_stage_is_asked_for_anything(book):
    session, pipelines = Session(), {"one": book.lexical(4) % 3, "two": book.lexical(4) >> sage.rerank(2)}
    first, again = cached(session, pipelines), cached(session, pipelines)
    assert computed(first) == {"Collection('book').lexical(k=4)": 6, "% 3": 6, "rerank(k=2)": 6}
    assert (first.stages_run, again.stages_run) == (3, 0)
    assert again.values == first.values
    assert [again.runs[name].results == first.runs[name].results for name in pipelines] == [True, True]
    assert again.costs["two"]["model calls"] == 0 < first.costs["two"]["model calls"]
    assert first.costs["two"]["pairs scored"] == first.costs["two"]["model calls"] == 6 * 4 * len(MODELS_MIXED)
    assert again.to_pandas()["ms per question"].isna().all()
    assert "2 of 2 pipelines had results from the cache: model calls" in str(again)
    assert "cache" not in str(first)
    book.add([sage.Document("g", "who is g 6")], progress=False)
    anew = cached(session, pipelines)
    assert computed(anew) == computed(first), "the collection is another one"


def test_pipelines_that_are_known_stand_beside_one_that_is_not(book):
    one, two = book.lexical(4) % 3, book.lexical(4) >> sage.rerank(2)
    first = compared({"one": one}, cell="cell")
    both = compared({"one": one, "two": two}, cell="cell")
    assert (dict(both.runs["one"].stages), computed(both)) == ({}, {"rerank(k=2)": 6})
    assert "had results from the cache" not in str(first)
    assert "1 of 2 pipelines and 1 of 2 stages had results from the cache: model calls and" in str(both)
    assert "2 of 2 pipelines had results from the cache" in str(compared({"one": one, "two": two}, cell="cell"))
    more = sage.experiment({"one": one}, {**QUESTIONS, "q6": "who is a?"}, {**QRELS, "q6": {"a": 1}}, cell="cell")
    assert computed(more) == {"Collection('book').lexical(k=4)": 1, "% 3": 7}


def test_a_new_variant_costs_what_is_new_in_it_and_a_cell_has_use_for_all_of_it(book):
    session = Session()
    cached(session, {"one": book.lexical(4)})
    more = cached(session, {"one": book.lexical(4), "two": book.lexical(4) >> sage.rerank(2), "three": book.lexical(5)})
    assert computed(more) == {"rerank(k=2)": 6, "Collection('book').lexical(k=5)": 6}
    queries = [sage.Query(*each) for each in QUESTIONS.items()]
    run = session.begin(book.lexical(4) >> sage.rerank(2), queries, CellOptions(on="questions"), "").run
    assert run.results == more.runs["two"].results
    assert sum(each["computed"] for each in run.stages.values()) == 0


def test_an_experiment_with_a_cell_computes_what_is_new(book):
    questions, qrels = {**QUESTIONS, "q6": "who is a?"}, {**QRELS, "q6": {"a": 1}}
    one, two = book.lexical(4) >> sage.rerank(2), book.lexical(3)
    searched, reranked, other = "Collection('book').lexical(k=4)", "rerank(k=2)", "Collection('book').lexical(k=3)"
    first = sage.experiment({"one": one}, QUESTIONS, QRELS, cell="fusion")
    more = sage.experiment({"one": one, "two": two}, questions, qrels, cell="more")
    assert computed(first) == {searched: 6, reranked: 6}
    assert computed(more) == {searched: 1, reranked: 1, other: 7}
    assert {stage.cell for stage in Session().cache.facts().stages} == {"fusion", "more"}
    assert computed(sage.sweep(book.lexical, QUESTIONS, QRELS, k=[3, 4], cell="swept")) == {}
    alone = sage.experiment({"one": one}, QUESTIONS, QRELS)
    assert computed(alone) == computed(first)  # who names no cell, has none
    assert alone.values == first.values


@pytest.mark.parametrize("name", ["", 3])
def test_a_cell_is_called_by_a_text(name):
    with pytest.raises(sage.BadValueError, match=r"cell= of experiment\(\) is a name to keep results under"):
        compared({"one": A}, cell=name)
