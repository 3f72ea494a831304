"""Measures of answers: by hand, and by what is known of the passages that an answer cites."""

from __future__ import annotations

import json

import msgspec
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, UnknownNameError
from sage_nb.evaluation.answers import exact, token_f1, words_of
from sage_nb.notebook.session import Session
from sage_nb.retrieval.assessing import attributions, grades
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Applied

PASSAGES = [
    "Marie Curie discovered polonium and radium in Paris.",
    "The Eiffel Tower was finished in 1889.",
    "Honey bees dance to tell where flowers are.",
]
HITS = tuple(sage.Hit(sage.Document(f"d{n}", text), n, 1 / n) for n, text in enumerate(PASSAGES, start=1))
QUESTIONS = {"q1": "What did Marie Curie discover?", "q2": "When was the tower finished?", "q3": "Why do bees dance?"}


def found(result):
    return msgspec.structs.replace(result, hits=HITS)


def telling(**texts):
    """A pipeline that finds the passages, and answers each question with that text."""

    def told(result):
        text = texts.get(result.query.id)
        return result if text is None else msgspec.structs.replace(result, answer=sage.Answer(text))

    return Applied(found) >> told


def seen(pipeline, measures, **how):
    return sage.experiment({"told": pipeline}, QUESTIONS, measures=measures, **how).values["told"]


# against references, by the rules of SQuAD's script


@pytest.mark.parametrize(
    ("answer", "references", "em", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("Paris [1].", ["Paris"], 1, 1),
        ("in 1889", ["1889"], 0, 2 / 3),  # 1 of 2 words is right, 1 of 1 is there: 2·(1/2)·1 / (1/2 + 1)
        ("radium radium polonium", ["polonium and radium"], 0, 2 * 2 / (3 + 3)),  # a word counts as often as in both
        ("bees", ["wasps", "the bees, maybe", "a bee"], 0, 2 * 1 / (1 + 2)),
        ("a the an", ["The"], 1, 1),  # nothing is left of either
        ("a the an", ["Paris"], 0, 0),
        ("巴黎", ["巴黎"], 1, 1),
    ],
)
def test_exact_match_and_token_f1_are_those_of_squad(answer, references, em, f1):
    assert exact(answer, references) == em
    assert token_f1(answer, references) == pytest.approx(f1)
    values = seen(telling(q1=answer), ["EM", "TokenF1"], answers={"q1": references})
    assert values == {"EM": {"q1": em}, "TokenF1": {"q1": pytest.approx(f1)}}


def test_words_are_without_case_punctuation_and_articles():
    assert words_of("An 'U.S.-born' theory, a THE [12][?] bee") == ["usborn", "theory", "bee"]


def test_only_questions_with_a_reference_count_and_a_missing_answer_is_wrong():
    values = seen(telling(q1="radium"), ["EM"], answers={"q1": "radium", "q3": ["to tell"]})
    assert values == {"EM": {"q1": 1, "q3": 0}}


def test_rankings_and_answers_are_measured_together_each_on_its_questions():
    of = sage.experiment(
        {"told": telling(q1="radium")}, QUESTIONS, {"q2": {"d2": 1}}, measures=["EM", "RR"], answers={"q1": "Radium"}
    )
    assert of.values["told"] == {"EM": {"q1": 1}, "RR": {"q2": 0.5}}
    assert of.means["told"] == {"EM": 1, "RR": 0.5}
    assert of.to_pandas(by_question=True)[["EM", "RR"]].isna().to_numpy().tolist() == [[False, True], [True, False]]
    assert list(of.questions) == ["q1", "q2"]
    default = sage.experiment({"told": telling(q1="radium")}, QUESTIONS, answers={"q1": "Radium"})
    assert default.measures == ("EM", "TokenF1")


# against the passages

RIGHT, WRONG = "Marie Curie discovered polonium and radium [1].", "Volcanoes erupt under the Pacific ocean [2]."


@pytest.mark.parametrize(
    ("text", "claims", "attributed", "faithful", "citations", "supporting"),
    [
        (RIGHT, 1, 1, 1, 1, 1),
        (RIGHT.replace("[1]", "[1][3]"), 1, 1, 1, 2, 1),  # the third says nothing of it
        (RIGHT.replace("[1]", "[2]"), 1, 0, 1, 1, 0),  # the wrong passage: made up it is not
        (RIGHT.replace(" [1]", ""), 1, 0, 1, 0, 0),
        (WRONG, 1, 0, 0, 1, 0),
        (f"{RIGHT} {WRONG}", 2, 1, 1, 2, 1),
        (RIGHT.replace("[1]", "[1][?]"), 1, 1, 1, 2, 1),  # a citation of no passage is one that says nothing
        (RIGHT.replace("[1]", "[1][9]"), 1, 1, 1, 2, 1),
        ("The tower was finished in 1890 [2].", 1, 0, 0, 1, 0),  # a figure that no passage has
        ("The passages do not answer this.", 0, 0, 0, 0, 0),
        ("Nothing was found for this question.", 0, 0, 0, 0, 0),
    ],
)
def test_citations_and_claims_are_counted(text, claims, attributed, faithful, citations, supporting):
    pipe = telling(q1=text)
    (of,) = attributions(pipe, pipe.run({"q1": QUESTIONS["q1"]}).results)
    assert (of.claims, of.attributed, of.faithful) == (claims, attributed, faithful)
    assert (of.citations, of.supporting) == (citations, supporting)
    values = seen(pipe, ["CitationRecall", "CitationPrecision", "Faithfulness"])
    assert values["CitationRecall"]["q1"] == (attributed / claims if claims else 0)
    assert values["CitationPrecision"]["q1"] == (supporting / citations if citations else 0)
    assert values["Faithfulness"] == {"q1": faithful / claims if claims else 1, "q2": 0, "q3": 0}  # no answer at all


def test_two_passages_that_only_together_support_a_claim_both_count():
    halves = [
        "The old bridge over the river Vltava is made of sandstone.",
        "Its thirty statues of saints were set up in the baroque age.",
    ]
    hits = tuple(sage.Hit(sage.Document(f"h{n}", text), n, 1.0) for n, text in enumerate(halves, start=1))
    claim = "The sandstone bridge over the Vltava river has thirty baroque statues of saints"

    def told(result):
        return msgspec.structs.replace(result, hits=hits, answer=sage.Answer(f"{claim} [1][2]."))

    (of,) = attributions(Applied(told), Applied(told).run(["where?"]).results)
    assert (of.attributed, of.citations, of.supporting) == (1, 2, 2)


def test_an_extract_is_faithful_and_cites_what_it_says():
    measures = ["Faithfulness", "CitationRecall", "CitationPrecision"]
    of = sage.experiment({"quoted": Applied(found) >> sage.answer(k=3)}, QUESTIONS, measures=measures)
    assert of.means["quoted"] == dict.fromkeys(measures, 1)


def test_only_what_was_read_for_an_answer_can_support_it():
    @sage.generator("knows more")
    def more(conversation):
        return "Honey bees dance to tell where flowers are."

    read, unread = (Applied(found) >> sage.answer("knows more", k=k) for k in (3, 2))
    of = sage.experiment({"read": read, "unread": unread}, QUESTIONS, measures=["Faithfulness"])
    assert of.means == {"read": {"Faithfulness": 1}, "unread": {"Faithfulness": 0}}


# by a judge


@pytest.fixture
def judge(tmp_path):
    log = tmp_path / "asked"

    @sage.generator("strict")
    def strict(conversation):
        with log.open("a") as file:
            file.write(f"{json.dumps(conversation[-1].content)}\n")
        text = conversation[-1].content.rpartition("Answer:")[2]
        if "mumble" in text:
            return "hard to say"
        if "down" in text:
            raise GeneratorError("the judge is down")
        return "Grade: 3" if "radium" in text else "1"

    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_a_judge_grades_answers_against_references(judge):
    right = {"q1": ["polonium", "radium"], "q2": "1889", "q3": "for honey"}
    values = seen(telling(q1="It is radium.", q2="in 1999"), ["Judge"], answers=right, judge="strict")
    assert values == {"Judge": {"q1": 1.0, "q2": pytest.approx(1 / 3), "q3": 0.0}}
    assert len(judge()) == 2  # what is not there is not asked about
    assert any("References:\npolonium\nradium\n" in each and QUESTIONS["q1"] in each for each in judge())


def test_what_a_judge_gives_no_grade_counts_0_and_that_is_said(judge):
    right = dict.fromkeys(QUESTIONS, "x")
    of = sage.experiment(
        {"told": telling(q1="mumble", q2="down", q3="radium")},
        QUESTIONS,
        measures=["Judge"],
        answers=right,
        judge="strict",
    )
    assert of.values["told"]["Judge"] == {"q1": 0, "q2": 0, "q3": 1}
    (remark,) = of.remarks
    assert remark.startswith("told: 2 answers have no grade and count 0, the first: the judge wrote 'hard to say'")


def test_grades_are_kept_with_a_cell_and_failures_are_not(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    env = sage.LocalEnvironment(resources={Cell: Cell("judged", Session().cache)})
    asked = [("who?", "x", "radium"), ("who?", "x", "down"), ("who?", "x", "radium")]
    first = grades(asked, "strict", env)
    assert (first[0], first[2], str(first[1])) == (1.0, 1.0, "the judge is down")
    assert len(judge()) == 2
    assert grades(asked, "strict", env)[0] == 1.0
    assert len(judge()) == 3
    assert grades([("who?", "y", "radium")], "strict", env) == [1.0]
    assert len(judge()) == 4


@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ({"measures": ["EM"]}, BadValueError, "has a reference in answers=, which EM wants; .* the first there 'none'"),
        ({"measures": ["EM"], "answers": {"q9": "x"}}, BadValueError, "which EM wants; check that their ids agree"),
        ({"measures": ["EM"], "answers": ["x"]}, BadValueError, r"answers= of experiment\(\) are texts by the quest"),
        (
            {"measures": ["EM"], "answers": {"q1": []}},
            BadValueError,
            r"answer of question 'q1' is a text .*\[\]",
        ),
        ({"measures": ["EM"], "answers": {"q1": 7}}, BadValueError, "is a text or a list of texts, got 7"),
        ({"measures": ["Judge"], "answers": {"q1": "x"}}, BadValueError, '"Judge" and judge=, .* go together'),
        ({"measures": ["EM"], "answers": {"q1": "x"}, "judge": "strict"}, BadValueError, "go together; give both"),
        (
            {"measures": ["Jugde"]},
            BadValueError,
            "unknown measure 'Jugde'; .*; or one of answers: EM, TokenF1",
        ),
        (
            {"measures": ["Judge"], "answers": {"q1": "x"}, "judge": "nobody"},
            UnknownNameError,
            "unknown generator 'nobody'",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(how, error, sentence):
    with pytest.raises(error, match=sentence):
        seen(telling(q1="x"), **how)


def test_a_pipeline_that_gives_no_answers_is_named():
    of = sage.experiment({"bare": Applied(found)}, QUESTIONS, measures=["Faithfulness"])
    assert of.means["bare"]["Faithfulness"] == 0
    assert of.remarks == ("bare: no answers: it does not end in answer()",)
