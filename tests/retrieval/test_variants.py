"""What a generator makes of a question: searched beside it, or in its place; and what becomes of it if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, UnknownNameError
from sage_nb.models import generator as generators
from sage_nb.models.generator import GENERATORS
from sage_nb.records.values import Expansion, Query, Result
from sage_nb.retrieval.plan import planned
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import QUESTIONS, WORDS, animals, check_cached, check_value, ids, run_cached


def last_line(conversation):
    return conversation[-1].content.rstrip().rpartition("Question: ")[2]


def neighbours(conversation):
    """The next two animals, a line each."""
    question = last_line(conversation)
    at = next((n for n, word in enumerate(WORDS) if word in question), 0)
    return f"Here they are:\n1. {WORDS[(at + 1) % 8]}\n2. {WORDS[(at + 2) % 8]}\n3. {question}"


def reversed_neighbours(conversation):
    return "\n".join(reversed(neighbours(conversation).splitlines()))


def wrong(conversation):
    return "Commerce begins in the morning, when the market opens."


def broken(conversation):
    raise GeneratorError(f"no server for {last_line(conversation)!r}; start one")


def sometimes(conversation):
    """Fails on questions about ants."""
    return broken(conversation) if "ant" in last_line(conversation) else neighbours(conversation)


def crashing(conversation):
    raise OSError("no route")


def silent(conversation):
    return " \n"


def repeating(conversation):
    return last_line(conversation)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for function in (neighbours, wrong, crashing, broken, sometimes, silent, repeating):
        monkeypatch.setitem(GENERATORS, function.__name__, function)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return animals(tmp_path_factory.mktemp("collections"))


KINDS = [sage.multi_query, sage.decompose]


@pytest.mark.parametrize("make", KINDS)
def test_what_is_found_is_the_fusion_of_the_rankings_of_all_questions(book, make):
    retrieve = book.lexical(5)
    found = make(retrieve, "neighbours", n=2).search("ant")
    rankings = {text: retrieve.search(text).hits for text in ("ant", "bee", "cat")}
    scores: dict[str, float] = {}
    for hits in rankings.values():
        for hit in hits:
            scores[hit.document.id] = scores.get(hit.document.id, 0) + 1 / (60 + hit.rank)
    assert {hit.document.id: hit.score for hit in found.hits} == pytest.approx(scores)
    assert ids(found) == sorted(scores, key=lambda name: (-scores[name], name))
    assert found.query.text == "ant"
    assert found.notes == ("asked also: “bee”, “cat”",)
    for hit in found.hits:
        said = [(step.stage, step.rank) for step in hit.steps if step.stage.startswith("“")]
        assert said == [
            (f"“{text}”", each.rank)
            for text, hits in rankings.items()
            for each in hits
            if each.document == hit.document
        ]


@pytest.mark.parametrize("make", KINDS)
def test_the_laws(tmp_path, book, make):
    pipe = make(book.lexical(5), "neighbours", n=2) % 4
    check_value(pipe)
    many = pipe.run(QUESTIONS).results
    assert many == [pipe.run([question]).results[0] for question in QUESTIONS]
    assert [result.query for result in many] == QUESTIONS
    check_cached(tmp_path, pipe)
    check_cached(tmp_path, make(book.lexical(5), "neighbours"))


def test_the_questions_of_a_batch_are_asked_of_the_generator_at_once(book):
    class Counting(generators.Writing):
        sizes: ClassVar[list[int]] = []

        def stream(self, conversation):
            return iter([neighbours(conversation)])

        def attempts(self, conversations):
            self.sizes.append(len(conversations))
            return super().attempts(conversations)

    @dataclass(frozen=True)
    class Counted(generators.Generator):
        name = fingerprint = "counted"

        def opened(self):
            return Counting()

    sage.multi_query(book.lexical(5), Counted(), n=2).run(QUESTIONS).job.wait()
    assert sum(Counting.sizes) == len(QUESTIONS)
    assert len(Counting.sizes) < len(QUESTIONS)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("generator", "why"),
    [
        ("broken", "no server for 'ant'; start one"),
        ("crashing", "the generator 'crashing' failed: OSError: no route; look at its function"),
        ("silent", "the generator 'silent' gave no text"),
        ("repeating", "there was nothing in the generator's answer to search for"),
    ],
)
def test_a_generator_that_gives_nothing_leaves_the_question_itself(book, make, generator, why):
    found = make(book.lexical(5), generator).search("ant")
    plain = book.lexical(5).search("ant")
    assert ids(found) == ids(plain)
    assert len(found.missing) == 1
    assert why in found.missing[0]
    assert not found.error


def test_only_the_question_it_failed_on_is_without_and_that_one_is_not_kept(book, tmp_path):
    cache = CellCache(tmp_path / "cache")
    pipe = sage.multi_query(book.lexical(5), "sometimes", n=2)
    ants, bees = run_cached(pipe, cache, ["ant", "bee"]).results
    assert "no server for 'ant'" in ants.missing[0]
    assert ids(ants) == ids(book.lexical(5).search("ant"))
    assert not bees.missing
    again = run_cached(pipe, cache, ["ant", "bee"])
    assert again.results == [ants, bees]
    words = again.stages["rephrase('sometimes', n=2)"]
    assert (words["computed"], words["model_calls"]) == (1, 1), "what failed is asked again, what was written is known"
    cache.close()


def test_a_variant_that_fails_is_missing_and_if_all_do_the_question_has_failed(book):
    def no_bees(result):
        if "bee" in result.query.text:
            raise ValueError("stung")
        return result

    pipe = sage.multi_query(Applied(no_bees) >> book.lexical(5), "neighbours", n=2)
    ants, bees, last = pipe.run(["ant", "bee", "hen and bee"]).results
    assert ants.missing == ("“bee”: no_bees failed: ValueError: stung",)
    assert {hit.document.id for hit in ants.hits} == {
        hit.document.id for text in ("ant", "cat") for hit in book.lexical(5).search(text).hits
    }
    assert bees.hits, "its neighbours were asked"
    assert bees.missing == ("“bee”: no_bees failed: ValueError: stung",)
    assert last.missing == ("“hen and bee”: no_bees failed: ValueError: stung",)

    def never(result):
        raise ValueError("tired")

    failed = sage.multi_query(Applied(never) >> book.lexical(5), "neighbours", n=2).run(["ant"]).results[0]
    assert failed.error.count("never failed: ValueError: tired") == 3
    assert not failed.hits


def test_a_variant_that_is_lost_on_the_way_is_missing(book):
    def no_bees(result):
        if "bee" in result.query.text:
            raise ValueError("stung")
        return result

    pipe = sage.multi_query(Applied(no_bees) >> book.lexical(5), "neighbours", n=2)
    run = pipe.run(["ant", "cat"], on_error="dead_letter")
    ants, cats = run.results
    assert ants.missing == ("“bee”: no ranking",)
    assert not cats.missing
    assert [letter.record.query.text for letter in run.job.dead_letters] == ["bee"]


def test_a_question_that_failed_before_goes_past_it(book):
    def fail_on_ants(result):
        if "ant" in result.query.text:
            raise ValueError("no ants")
        return result

    pipe = Applied(fail_on_ants) >> sage.multi_query(book.lexical(5), "neighbours")
    run = pipe.run(["ant", "bee"])
    ants, bees = run.results
    assert ants.error == "fail_on_ants failed: ValueError: no ants"
    assert bees.hits
    assert run.stages["rephrase('neighbours', n=3)"]["model_calls"] == 1


def test_within_one_another_and_beside_others_each_question_gets_its_own_answer(book):
    inner = sage.multi_query(book.lexical(5), "neighbours", n=1)
    pipe = sage.decompose(inner, "neighbours", n=1) + inner
    questions = {"a#1": "ant", "a": "bee", "a#1#0": "cat"}  # ids that look like those of variants
    many = pipe.run(questions).results
    assert [result.query.text for result in many] == ["ant", "bee", "cat"]
    for result in many:
        assert ids(result) == ids(pipe.search(result.query.text))


def test_another_argument_computes_only_what_depends_on_it(book, tmp_path):
    cache = CellCache(tmp_path / "cache")
    questions = ["ant", "dog"]

    def computed(pipe):
        run = run_cached(pipe, cache, questions)
        assert run.results == pipe.run(questions).results
        return {name: stage["computed"] for name, stage in run.stages.items() if stage["computed"]}

    def make(n=2, generator="neighbours", k=5, **how):
        return sage.multi_query(book.lexical(k), generator, n=n, **how)

    def words(n=2, generator="neighbours"):
        return f"rephrase({generator!r}, n={n})"

    assert computed(book.lexical(5)) == {repr(book.lexical(5)): 2}
    assert computed(make()) == {words(): 2, repr(book.lexical(5)): 4, "rrf": 2}, "the question itself is known"
    assert computed(make()) == {}
    assert computed(make(n=1)) == {words(1): 2, "rrf": 2}, "its questions have all been searched before"
    assert computed(make(k=3)) == {repr(book.lexical(3)): 6, "rrf": 2}
    assert computed(make() % 3) == {"rrf": 2, "% 3": 2}
    mine = tmp_path / "mine.txt"
    mine.write_text("[user]\n$n more of\n\nQuestion: $question\n", "utf8")
    assert computed(make(prompt=str(mine))) == {f"{mine}('neighbours', n=2)": 2, "rrf": 2}
    mine.write_text("[user]\n$n others of\n\nQuestion: $question\n", "utf8")
    assert computed(make(prompt=str(mine))) == {f"{mine}('neighbours', n=2)": 2, "rrf": 2}, "another prompt"
    GENERATORS["neighbours"] = reversed_neighbours
    assert computed(make()) == {words(): 2, "rrf": 2}, "another function, whose questions are known"
    assert {row.stage: row.new for row in planned(make(n=3), [Query("q", "ant")], Cell("c", cache), None).stages} == {
        words(3): 1,
        repr(book.lexical(5)): 0,
        "rrf": 1,
    }
    cache.close()


def test_hyde_puts_passages_beside_the_question_and_a_dense_retriever_takes_the_mean(tmp_path):
    zoo = sage.Collection(str(tmp_path / "zoo"))
    texts = {"a": "Bees make honey.", "b": "The market opens at nine.", "c": "Ships float on water."}
    zoo.add([sage.Document(name, text) for name, text in texts.items()], progress=False)
    question = "when can I buy things?"

    def by_hand(result):
        return Result(result.query, expansion=Expansion(passages=(wrong(()),) * 2))

    pipe = sage.hyde("wrong", n=2) >> zoo.dense(3)
    found = pipe.search(question)
    expected = (Applied(by_hand) >> zoo.dense(3)).search(question)
    assert found.hits == expected.hits
    assert found.notes[0].startswith("hyde: “")
    assert found.hits[0].score > zoo.dense(3).search(question).hits[0].score
    check_value(sage.hyde("wrong", n=2) >> zoo.hybrid(3))
    two = (sage.hyde("wrong") >> zoo.hybrid(3)).run([question, "honey?"]).results
    for together, text in zip(two, (question, "honey?"), strict=True):
        alone = (sage.hyde("wrong") >> zoo.hybrid(3)).search(text)
        assert [hit.document.id for hit in together] == [hit.document.id for hit in alone]
        scores = [[hit.steps[0].score for hit in hits] for hits in (together, alone)]
        assert scores[0] == pytest.approx(scores[1], abs=0.01)  # in bfloat16 texts that come together differ that much
    check_cached(tmp_path, sage.hyde("wrong") >> zoo.dense(3))


def test_hyde_without_a_passage_searches_the_question_and_says_so(book):
    found = (sage.hyde("broken", n=2) >> book.lexical(5)).search("ant")
    assert ids(found) == ids(book.lexical(5).search("ant"))
    assert found.missing == ("hyde('broken', n=2): no server for 'ant'; start one",)


def test_terms_of_rm3_stay_beside_the_passages_of_hyde(book):
    made = (book.lexical(3) >> sage.rm3(terms=2) >> sage.hyde("neighbours") >> Applied(kept)).search("ant")
    assert made.hits[0].document.text.startswith("Here they are:")
    assert made.hits[0].document.title == "ant"


def kept(result):
    expansion = result.expansion
    document = sage.Document("e", expansion.passages[0], title=expansion.terms[0][0])
    return Result(result.query, (sage.Hit(document, 1, 1.0),))


@pytest.mark.parametrize(
    ("build", "kind", "sentence"),
    [
        (lambda book: sage.multi_query(book.lexical(5), "nobody"), UnknownNameError, "unknown generator 'nobody'"),
        (lambda book: sage.multi_query(book.lexical(5), 7), BadValueError, "a generator is a Generator or the name of"),
        (
            lambda book: sage.multi_query(book.lexical(5), "silent", n=0),
            BadValueError,
            r"multi_query\(\) needs n, a wh",
        ),
        (lambda book: sage.decompose(book.lexical(5), "silent", n=0), BadValueError, r"decompose\(\) needs n, a whole"),
        (lambda book: sage.hyde("silent", n=0), BadValueError, r"hyde\(\) needs n, a whole number of 1 or more, got 0"),
        (lambda book: sage.multi_query("book", "silent"), BadValueError, r"multi_query\(\) takes pipelines and funct"),
        (
            lambda book: sage.multi_query(sage.rerank(), "silent"),
            BadValueError,
            r"multi_query\(\) asks a pipeline that begins and ends with a retriever, got rerank\(k=10\)",
        ),
        (
            lambda book: sage.decompose(book.lexical(5) >> sage.rm3(), "silent"),
            BadValueError,
            r"decompose\(\) asks a pipeline that begins and ends with a retriever",
        ),
        (
            lambda book: sage.hyde("silent", prompt="rephrase"),
            BadValueError,
            "the prompt 'rephrase' has a place .n that",
        ),
        (
            lambda book: sage.hyde("silent", prompt="hide"),
            UnknownNameError,
            "unknown prompt .* 'hide'; did you mean 'hy",
        ),
        (
            lambda book: sage.hyde("silent") >> sage.rerank(),
            BadValueError,
            r"hyde\('silent', n=1\) gives none; put a r",
        ),
    ],
)
def test_what_cannot_work_is_refused(book, build, kind, sentence):
    with pytest.raises(kind, match=sentence):
        build(book)
