"""Retrieval in rounds: what one round cannot find, and when the rounds end."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, UnknownNameError
from sage_nb.models.generator import GENERATORS
from sage_nb.records.values import Document, Hit, Query, Result
from sage_nb.retrieval.following import names
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.cellcache.store import CellCache
from tests.retrieval.laws import check_cached, check_value, ids, run_cached
from tests.runtime.jobs import Once, Paced

FILMS = ["Solarium", "Mirrorfall", "Stalkstone", "Nostalgine", "Rublevard", "Ivanhood", "Sacrifold", "Violinet"]
PEOPLE = ["Tarkov", "Bergmund", "Fellino", "Kurosa", "Ozumi", "Bressant", "Dreyfuss", "Murnow"]
TOWNS = ["Zavrag", "Upsalia", "Riminor", "Shinagar", "Fukagor", "Auvernia", "Kopenhal", "Bielefor"]
RIVERS = ["Nemdra", "Fyrisk", "Marekkia", "Tamagar", "Sumidor", "Loirette", "Gudenor", "Luttera"]
CHAINS = list(zip(FILMS, PEOPLE, TOWNS, RIVERS, strict=True))
QUESTIONS = {film: f"Which water flows past the home of the director of {film}?" for film in FILMS}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Of each film its director, of him his town, of that its river; the question has words of the first only."""
    book = sage.Collection(str(tmp_path_factory.mktemp("collections") / "films"), encoder=None)
    for film, person, town, river in CHAINS:
        passages = {
            film: f"The director of {film} was {person}.",
            person: f"{person} was born in {town}.",
            town: f"{town} lies on the {river}.",
        }
        book.add([Document(name, text) for name, text in passages.items()], progress=False)
    return book


def reached(results):
    """How many questions have found the director, how many his town."""
    found = [set(ids(result)) for result in results]
    people = sum(person in each for (_, person, _, _), each in zip(CHAINS, found, strict=True))
    towns = sum(town in each for (_, _, town, _), each in zip(CHAINS, found, strict=True))
    return people, towns


def test_each_round_finds_what_the_one_before_it_could_not(films):
    one, two, three = (sage.iterative(films.lexical(3), max_rounds=rounds).run(QUESTIONS) for rounds in (1, 2, 3))
    assert reached(one.results) == (0, 0), "the control: in one round nothing but the first passage can be found"
    assert reached(two.results) == (8, 0)
    assert reached(three.results) == (8, 8)
    assert reached(films.lexical(24).run(QUESTIONS).results) == (0, 0), "however many hits one takes"


def test_what_is_found_is_the_fusion_of_the_rounds_and_hits_say_which_of_them_found_them(films):
    found = sage.iterative(films.lexical(3), max_rounds=2).search(QUESTIONS["Solarium"])
    second = QUESTIONS["Solarium"] + " Tarkov"
    rounds = [films.lexical(3).search(text).hits for text in (QUESTIONS["Solarium"], second)]
    scores: dict[str, float] = {}
    for hits in rounds:
        for hit in hits:
            scores[hit.document.id] = scores.get(hit.document.id, 0) + 1 / (60 + hit.rank)
    assert {hit.document.id: hit.score for hit in found.hits} == pytest.approx(scores)
    for hit in found.hits:
        said = [(step.stage, step.rank) for step in hit.steps if step.stage.startswith("round")]
        assert said == [
            (f"round {number}", each.rank)
            for number, hits in enumerate(rounds, 1)
            for each in hits
            if each.document == hit.document
        ]
    assert found.notes == (f"round 2 asked: “{second[:60]} …”",)
    assert found.query.text == QUESTIONS["Solarium"]


def test_the_laws(films, tmp_path):
    pipe = sage.iterative(films.lexical(3))
    check_value(pipe % 4)
    many = pipe.run(QUESTIONS).results
    assert many == [pipe.run({name: question}).results[0] for name, question in QUESTIONS.items()]
    check_cached(tmp_path, pipe)
    check_cached(tmp_path, pipe % 4)


def test_it_prints_its_functions_by_name(films):
    def found_enough(result):
        return len(result.hits) > 4

    def again(result):
        return None

    pipe = sage.iterative(films.lexical(3), until=found_enough, max_rounds=5, ask=again)
    assert repr(pipe) == f"iterative({films.lexical(3)!r}, until=found_enough, max_rounds=5, ask=again)"
    known = {"iterative": sage.iterative, "Collection": sage.Collection, "found_enough": found_enough, "again": again}
    assert eval(repr(pipe), known) == pipe  # noqa: S307
    with pytest.raises(BadValueError, match="<function .* cannot be written as YAML; build it of regis"):
        pipe.to_yaml()


def test_it_ends_when_until_holds_of_all_that_is_found(films):
    seen = []

    def until(result):
        seen.append((ids(result)[0], len(result.hits)))
        return "Tarkov" in ids(result)

    found = sage.iterative(films.lexical(3), until=until, max_rounds=9).search(QUESTIONS["Solarium"])
    assert "Tarkov" in ids(found)
    assert "Zavrag" not in ids(found)
    assert len(seen) == 2
    assert not any("stopped" in note for note in found.notes)


def again(result):
    return f" {result.query.text.upper()}"


def nothing(result):
    return None


def same_finding(result):
    return f"{result.query.text} please"


@pytest.mark.parametrize(
    ("ask", "question", "note"),
    [
        (again, "director of Solarium", "round 1 of 9: “DIRECTOR OF SOLARIUM” had been asked before"),
        (nothing, "director of Solarium", "round 1 of 9: there was nothing more to ask"),
        (same_finding, "director of Solarium", "round 2 of 9: it found nothing new"),
        (None, "wombat", "round 1 of 9: it found nothing new"),
    ],
)
def test_one_that_makes_no_progress_ends_with_a_note(films, ask, question, note):
    found = sage.iterative(films.lexical(8), ask=ask, max_rounds=9).search(question)
    assert found.notes[-1] == f"iterative() stopped after {note}"
    assert not found.missing
    assert ids(found) == ids(films.lexical(8).search(question))


def test_a_circle_of_several_questions_ends(films):
    circle = {"Solarium": "Mirrorfall", "Mirrorfall": "Stalkstone", "Stalkstone": "Solarium"}

    def around(result):
        film = next(hit.document.id for hit in result.hits if hit.document.id in circle)
        return circle[film]

    found = sage.iterative(films.lexical(1), ask=around, max_rounds=99).search("Solarium")
    assert ids(found) == ["Mirrorfall", "Solarium", "Stalkstone"]
    assert found.notes[-1] == "iterative() stopped after round 3 of 99: “Solarium” had been asked before"


def planner(conversation):
    """Asks for the name that ends the last passage, until that is a town."""
    passages, _, question = conversation[-1].content.partition("\n\nQuestion: ")
    names = [line.rstrip(".").split()[-1] for line in passages.splitlines() if line]
    towns = [name for name in names if name in TOWNS]
    people = [name for name in names if name in PEOPLE]
    assert question.startswith("Which water")
    return "Enough." if towns else f"Where was {people[0]} born?\nBecause that is missing."


def offline(conversation):
    raise GeneratorError("no server; start one")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(GENERATORS, "planner", planner)
    monkeypatch.setitem(GENERATORS, "offline", offline)


def test_a_generator_that_has_seen_the_passages_may_ask(films, tmp_path):
    pipe = sage.iterative(films.lexical(1), ask="planner", max_rounds=5)
    found = pipe.search(QUESTIONS["Solarium"])
    assert ids(found) == ["Solarium", "Tarkov"]
    assert found.notes == (
        "round 2 asked: “Where was Tarkov born?”",
        "iterative() stopped after round 2 of 5: there was nothing more to ask",
    )
    check_value(pipe)
    check_cached(tmp_path, pipe)


def test_what_it_wrote_is_known_when_something_behind_it_changes(films, tmp_path):
    cache = CellCache(tmp_path / "cache")

    def ran(pipe):
        run = run_cached(pipe, cache, QUESTIONS)
        assert run.results == pipe.run(QUESTIONS).results
        return {name: (stage["computed"], stage["model_calls"]) for name, stage in run.stages.items()}

    def make(**how):
        return sage.iterative(films.lexical(1), ask="planner", **how)

    retrieve = repr(films.lexical(1))
    assert ran(make()) == {retrieve: (16, 0), "iterative": (16, 16)}
    assert ran(make() % 2) == {retrieve: (0, 0), "iterative": (16, 0), "% 2": (8, 0)}
    assert ran(make(max_rounds=5)) == {retrieve: (0, 0), "iterative": (16, 0)}
    mine = tmp_path / "mine.txt"
    mine.write_text("[user]\n$passages\n\nQuestion: $question\n", "utf8")
    assert ran(make(prompt=str(mine))) == {retrieve: (0, 0), "iterative": (16, 16)}
    GENERATORS["planner"] = lambda conversation: "enough"
    assert ran(make()) == {retrieve: (0, 0), "iterative": (8, 8)}, "another function"
    cache.close()


def test_until_and_ask_count_both_for_what_is_kept(films, tmp_path):
    cache = CellCache(tmp_path / "cache")

    def first(result):
        return True

    def never(result):
        return False

    for until in (first, never):
        for ask in (nothing, names):
            pipe = sage.iterative(films.lexical(3), until=until, ask=ask)
            assert run_cached(pipe, cache, QUESTIONS).results == pipe.run(QUESTIONS).results
    cache.close()


def test_a_generator_that_fails_ends_it_with_what_there_is(films):
    found = sage.iterative(films.lexical(3), ask="offline").search(QUESTIONS["Solarium"])
    assert ids(found) == ids(films.lexical(3).search(QUESTIONS["Solarium"]))
    assert found.missing == ("round 2: no server; start one",)
    assert not found.error


def test_a_round_that_fails_ends_it_and_if_it_is_the_first_the_question_has_failed(films):
    def fails_on(word):
        def check(result):
            if word in result.query.text:
                raise ValueError("tired")
            return result

        return Applied(check)

    later, first = (sage.iterative(fails_on(word) >> films.lexical(3)) for word in ("Tarkov", "Solarium"))
    found, other = later.run({name: QUESTIONS[name] for name in ("Solarium", "Mirrorfall")}).results
    assert found.missing == ("round 2: check failed: ValueError: tired",)
    assert ids(found)[0] == "Solarium"
    assert "Upsalia" in ids(other)
    failed = first.run([QUESTIONS["Solarium"]]).results[0]
    assert failed.error == "round 1: check failed: ValueError: tired"
    assert not failed.hits


def test_functions_that_fail_fail_their_question_alone(films):
    def fail_on_solarium(result):
        if "Solarium" in result.query.text:
            raise ValueError("tired")
        return names(result)

    pipe = sage.iterative(films.lexical(3), ask=fail_on_solarium)
    bad, good = pipe.run({name: QUESTIONS[name] for name in ("Solarium", "Mirrorfall")}).results
    assert bad.error == "iterative failed: ValueError: tired"
    assert "Upsalia" in ids(good)
    (wrong,) = sage.iterative(films.lexical(3), ask=len).run(["Solarium"]).results
    assert "len gave a int; ask= of iterative() gives the next question, or None where there is none" in wrong.error


def test_a_question_that_failed_before_goes_past_it(films):
    def fail(result):
        raise ValueError("no")

    (result,) = (Applied(fail) >> sage.iterative(films.lexical(3))).run(["x"]).results
    assert result.error == "fail failed: ValueError: no"


def test_a_crash_in_the_middle_of_the_rounds_loses_and_doubles_no_question(films, tmp_path, monkeypatch):
    monkeypatch.setitem(GENERATORS, "twice", lambda conversation: conversation[-1].content.split()[-1].rstrip("?"))
    pipe = sage.iterative(sage.multi_query(films.lexical(3), "twice", n=1))
    asked = [Query(f"q{n}", QUESTIONS[FILMS[n % 8]]) for n in range(120)]
    env = sage.LocalEnvironment(
        "rounds",
        parallelism=2,
        checkpoint=sage.Checkpointing(str(tmp_path), every=0.01),
        restart=sage.FixedDelay(9, 0.0),
    )
    rows: list[Result] = []
    source = env.from_source(Paced([Result(query) for query in asked]))
    source.apply(pipe).map(Once(lambda result: result.query.id == "q100"), on_error="fail").sink(sage.CollectSink(rows))
    job = env.submit()
    job.wait()
    assert job.restarts == 1
    assert sorted(rows, key=lambda each: int(each.query.id[1:])) == pipe.run(asked).results


def test_it_works_beside_and_around_what_deals_out_questions(films, monkeypatch):
    monkeypatch.setitem(GENERATORS, "twice", lambda conversation: conversation[-1].content.split()[-1].rstrip("?"))
    around = sage.iterative(sage.multi_query(films.lexical(3), "twice", n=1), max_rounds=3)
    within = sage.multi_query(sage.iterative(films.lexical(3)), "twice", n=1)
    beside = sage.iterative(films.lexical(3)) + films.lexical(2)
    for pipe in (around, within, beside):
        results = pipe.run(QUESTIONS).results
        assert reached(results) == (8, 8)
        assert results[0] == pipe.run({FILMS[0]: QUESTIONS[FILMS[0]]}).results[0]


def test_the_default_rule_takes_names_and_where_there_are_none_all_words():
    def after(question, text, title=""):
        found = Result(Query("q", question))
        return names(ranked(found, "x", [(Hit(Document("d", text, title=title), 0, 0.0), 1.0)]))

    assert after("Who knew Ada?", "The friend of Ada was Mary Somerville.") == "Who knew Ada? Mary Somerville"
    assert after("Who knew Ada?", "Ada knew him.") == "Who knew Ada? him"
    assert after("Who knew Ada?", "It is said that she knew Babbage", "Babbage") == "Who knew Ada? Babbage"
    assert after("who?", "all in small letters") == "who? all small letters"
    assert after("ada", "Ada.") is None
    assert after("x", " ".join(f"Name{n}" for n in range(99))).count("Name") == 12


@pytest.mark.parametrize(
    ("build", "kind", "sentence"),
    [
        (
            lambda f: sage.iterative(f.lexical(3), max_rounds=0),
            BadValueError,
            r"iterative\(\) needs max_rounds, a whol",
        ),
        (
            lambda f: sage.iterative(sage.iterative(f.lexical(3)) % 2),
            BadValueError,
            r"iterative\(\) stands within another one, in iterative\(.*\) % 2; give the outer one the rounds of both",
        ),
        (
            lambda f: sage.iterative(sage.multi_query(f.lexical(2) + sage.iterative(f.lexical(3)), "planner")),
            BadValueError,
            r"iterative\(\) stands within another one",
        ),
        (lambda f: sage.iterative(sage.rerank()), BadValueError, r"iterative\(\) asks a pipeline that begins and ends"),
        (lambda f: sage.iterative(f.lexical(3) >> sage.rm3()), BadValueError, r"asks a pipeline that begins and ends"),
        (
            lambda f: sage.iterative(f.lexical(3), until=3),
            BadValueError,
            r"iterative\(until=…\) takes a function, got 3",
        ),
        (lambda f: sage.iterative(f.lexical(3), until=lambda a, b: 1), BadValueError, "with one argument; .* others"),
        (lambda f: sage.iterative(f.lexical(3), ask=7), BadValueError, r"iterative\(ask=…\) takes a function, got 7"),
        (lambda f: sage.iterative(f.lexical(3), ask="nobody"), UnknownNameError, "unknown generator 'nobody'"),
        (lambda f: sage.iterative(f.lexical(3), prompt="hyde"), BadValueError, "the prompt 'hyde' lacks .passages"),
    ],
)
def test_what_cannot_work_is_refused(films, build, kind, sentence):
    with pytest.raises(kind, match=sentence):
        build(films)
