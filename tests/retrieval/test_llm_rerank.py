"""Reranking by a generator's grades: which are read, what becomes of passages that have none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, UnknownNameError
from sage_nb.models.generator import GENERATORS, Generator, Writing
from sage_nb.retrieval.llm_rerank import grade_of
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import animals, check_laws, check_value, given, ids, run_cached

HITS = (("a", "ants work"), ("b", "bees hum"), ("c", "cats sleep"), ("d", "dogs bark"))


@dataclass(frozen=True)
class Judge(Generator):
    """Writes what is said here of a passage with that word, else 1; notes what it was asked in a file."""

    log: str
    says: tuple[tuple[str, str], ...] = ()
    name = "judge"

    @property
    def fingerprint(self):
        return repr(self.says)

    def opened(self):
        return Judging(self)

    def saying(self, **says):
        return Judge(self.log, tuple(says.items()))

    @property
    def asked(self):
        return [json.loads(line) for line in Path(self.log).read_text().splitlines()]


class Judging(Writing):
    def __init__(self, judge):
        self.judge = judge

    def stream(self, conversation, /):
        told = conversation[-1].content
        with Path(self.judge.log).open("a") as file:
            file.write(json.dumps(told) + "\n")
        said = next((grade for word, grade in self.judge.says if word in told), "1")
        if said == "failure":
            raise GeneratorError("the server is down")
        yield said


@pytest.fixture
def judge(tmp_path):
    return Judge(str(tmp_path / "asked"))


def tales(conversation):
    """Grades by the passage's own words."""
    return str(min(3, conversation[-1].content.count("ant")))


@pytest.mark.parametrize("how", [{"k": 5}, {"k": 12, "top": 3}])
def test_it_keeps_the_laws_of_a_stage(tmp_path, monkeypatch, how):
    monkeypatch.setitem(GENERATORS, "tales", tales)
    assert check_laws(tmp_path, sage.llm_rerank("tales", **how))[0].hits


def test_passages_are_ordered_by_their_grades_and_equal_ones_stay(judge):
    found = (given(*HITS) >> sage.llm_rerank(judge.saying(dogs="3", bees="0"), k=3)).search("who barks?")
    assert [(hit.document.id, hit.score) for hit in found] == [("d", 3.0), ("a", 1.0), ("c", 1.0)]
    assert [step.stage for step in found.hits[0].steps] == ["given", "llm_rerank"]
    assert len(judge.asked) == 4
    assert all("Question: who barks?" in told for told in judge.asked)
    assert not found.missing


def test_what_is_not_asked_about_stays_behind(judge):
    found = (given(*HITS) >> sage.llm_rerank(judge.saying(bees="2"), k=4, top=2)).search("x")
    assert [(hit.document.id, hit.score) for hit in found] == [("b", 2.0), ("a", 1.0), ("c", 0.0), ("d", -1.0)]
    assert len(judge.asked) == 2


def test_a_passage_whose_grade_cannot_be_read_counts_as_the_mean_and_that_is_said(judge):
    grader = judge.saying(ants="0", bees="as you like it", cats="3")
    found = (given(*HITS[:3]) >> sage.llm_rerank(grader)).search("x")
    assert [(hit.document.id, hit.score) for hit in found] == [("c", 3.0), ("b", 1.5), ("a", 0.0)]
    assert found.missing == ("llm_rerank: no grade for 1 of 3 passages, the first: it wrote 'as you like it'",)


def test_where_no_grade_can_be_read_the_order_stays(judge):
    poet = judge.saying(**dict.fromkeys(["ants", "bees", "cats", "dogs"], "I am a poet."))
    before = given(*HITS).search("x")
    found = (given(*HITS) >> sage.llm_rerank(poet, k=3, top=2)).search("x")
    assert found.hits == before.hits[:3]
    assert found.missing == ("llm_rerank: no grade for 2 of 2 passages, the first: it wrote 'I am a poet.'",)


def test_a_generator_that_fails_costs_its_grades_only(judge):
    found = (
        given(*HITS) >> sage.llm_rerank(judge.saying(ants="failure", cats="failure", dogs="failure", bees="3"))
    ).search("x")
    assert ids(found) == ["a", "b", "c", "d"], "all count as the mean, which is the one grade there is"
    assert found.missing == ("llm_rerank: no grade for 3 of 4 passages, the first: the server is down",)


def test_the_same_passage_is_asked_about_once_and_what_is_kept_of_it_counts(judge):
    def shortened(result):
        hits = tuple(sage.Hit(h.document, h.rank, h.score, h.steps, h.collection, ((0, 4),)) for h in result)
        return sage.Result(result.query, hits)

    assert len((given(("a", "same"), ("b", "same")) >> sage.llm_rerank(judge)).search("x")) == 2
    assert len(judge.asked) == 1
    (given(*HITS[:1]) >> shortened >> sage.llm_rerank(judge)).search("x")
    assert "Passage:\nants\n" in judge.asked[-1]


def test_grades_are_kept_and_garbage_is_not(tmp_path, judge):
    retrieved, cache = animals(tmp_path).lexical(20), CellCache(tmp_path / "cache")
    grader = Judge(judge.log, (("Tale 7", "hm"),))
    try:
        first = run_cached(retrieved >> sage.llm_rerank(grader, k=20, top=4), cache).results
        assert any(result.missing for result in first)
        before = list(judge.asked)
        second = run_cached(retrieved >> sage.llm_rerank(grader, k=20, top=4), cache).results
        again = judge.asked[len(before) :]
        assert second == first
        assert again
        assert all("Tale 7" in told for told in again)
        run_cached(retrieved >> sage.llm_rerank(grader, k=20, top=6), cache)
        deeper = [told for told in judge.asked[len(before) + len(again) :] if "Tale 7" not in told]
        assert deeper
        assert not {*deeper} & {*before}
    finally:
        cache.close()


def test_another_judge_of_the_same_name_grades_anew(tmp_path, monkeypatch):
    retrieved, cache = animals(tmp_path).lexical(20), CellCache(tmp_path / "cache")
    try:
        for grade in "31":
            monkeypatch.setitem(GENERATORS, "judge", lambda conversation, said=grade: said)
            found = run_cached(retrieved >> sage.llm_rerank("judge"), cache).results
            assert {hit.score for hit in found[0].hits} == {float(grade)}
    finally:
        cache.close()


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("3", 3), (" **2** ", 2), ("Grade: 1", 1), ("The relevance is 0.", 0), ('{"grade": 2}', 2), ("2/3", 2),
        ("yes.", 3), ("No, it does not.", 0), ("On the scale 0-3 it is 2", 2), ("<think>0, 1?</think>\n3", 3),
        ("grade 0\u20133: 1", 1), ("3\n3", 3), ("Score: 2. It has 1 flaw.", 2),
    ],
)  # fmt: skip
def test_grades_are_read(text, grade):
    assert grade_of(text) == grade


@pytest.mark.parametrize(
    "text", ["", "4", "-1", "10", "2.5", "1 or 2", "<think>3", "three", "2026", "nothing", "The answer is yes"]
)
def test_what_is_no_grade_is_not_read_as_one(text):
    assert isnan(grade_of(text))


def test_a_prompt_of_ones_own_is_part_of_what_it_is(tmp_path, judge, monkeypatch):
    file = tmp_path / "mine.txt"
    file.write_text("[user]\nDoes $passage answer $question? Yes or no.")
    stage = sage.llm_rerank(judge.saying(bees="yes", ants="no"), prompt=str(file))
    assert ids((given(*HITS[:2]) >> stage).search("x")) == ["b", "a"]
    assert judge.asked[0] == "Does ants work answer x? Yes or no."
    before = stage.identity()
    file.write_text("[user]\nIs $question answered by $passage? Yes or no.")
    assert stage.identity() != before
    monkeypatch.setitem(GENERATORS, "tales", tales)
    check_value(sage.llm_rerank("tales", 3, top=9, prompt=str(file)))


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda _: sage.llm_rerank("tails"), UnknownNameError, "unknown generator 'tails'"),
        (
            lambda _: sage.llm_rerank(7),
            BadValueError,
            "a generator is a Generator or the name of a registered one, got 7",
        ),
        (
            lambda judge: sage.llm_rerank(judge, k=0),
            BadValueError,
            r"llm_rerank\(\) needs k, a whole number of 1 or more",
        ),
        (
            lambda judge: sage.llm_rerank(judge, top=0),
            BadValueError,
            r"top= of llm_rerank\(\), hits, must be a whole num",
        ),
        (lambda judge: sage.llm_rerank(judge, prompt="answer"), BadValueError, "the prompt 'answer' "),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(judge, build, error, sentence):
    with pytest.raises(error, match=sentence):
        build(judge)
