"""What the view of an experiment draws, without a browser: every number and every text of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.errors import UnknownNameError
from sage_nb.evaluation.experiment import experiment
from sage_nb.evaluation.sweep import sweep
from sage_nb.notebook.cell import pipeline_of
from sage_nb.notebook.experiment_facts import BARS, compared, front_of, rows_of
from sage_nb.notebook.widgets.experiment_view import ExperimentView
from sage_nb.retrieval.stage import Applied

QUESTIONS = [sage.Query(f"q{n:02}", f"who holds lock {n}?") for n in range(20)]
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>"


def finding(names):
    def found(result):
        hits = [
            sage.Hit(sage.Document(name, f"{name}: a lock holds threads"), at, 1 / at)
            for at, name in enumerate(names, start=1)
        ]
        return sage.Result(result.query, tuple(hits))

    return Applied(found)


@pytest.fixture(scope="module")
def seen():
    """Of 20 questions the first three are judged otherwise: "back" is worse on those, better on the others."""
    qrels = {q.id: {"a": 1, "d": 0} if n < 3 else {"c": 2} for n, q in enumerate(QUESTIONS)}
    pipelines = {"back": finding("cba"), "forth": finding("abc"), "same": finding("abc"), "far": finding("xyzabc")}
    return experiment(pipelines, QUESTIONS, qrels, measures=["RR", "P@1"], baseline="forth")


@pytest.fixture(scope="module")
def grid():
    def made(k, order, far):
        return finding(("abc" if order == "forth" else "cba")[:k])

    return sweep(made, QUESTIONS, {q.id: {"c": 1} for q in QUESTIONS}, k=[1, 2, 3], order=["forth", "back"], far=[True])


def test_a_row_says_what_the_experiment_holds(seen):
    view = ExperimentView(seen)
    for row in view.rows:
        for measure in seen.measures:
            score = row["scores"][measure]
            against = seen.comparisons.get(row["name"], {}).get(measure)
            held = (seen.means[row["name"]][measure], *seen.intervals[row["name"]][measure])
            assert (score["mean"], score["low"], score["high"]) == pytest.approx(held, abs=1e-6)
            assert score["mark"] == (against.mark if against else "")
    back = next(row for row in view.rows if row["name"] == "back")
    assert back["scores"]["RR"]["mark"] == "▲"
    assert back["scores"]["RR"]["said"].startswith("+0.4667 from forth, p = 0.0")
    assert [row["name"] for row in view.rows if row["baseline"]] == ["forth"]
    assert view.chosen == "back", "the best of the others is looked at first"


def test_what_is_sent_is_json_also_where_a_time_is_not_known(seen):
    cached = replace(seen, costs={name: {**each, "ms per question": float("nan")} for name, each in seen.costs.items()})
    view = ExperimentView(cached)
    assert {row["costs"]["ms per question"] for row in view.rows} == {None}
    assert front_of(cached, "RR") == []
    json.dumps(view.get_state(), allow_nan=False)
    assert "<circle" not in view.html(), "no plot without times"


def test_bars_fall_and_add_up_to_the_difference_of_the_means(seen):
    shown = compared(seen, "back", "RR")
    gains = [bar[2] for bar in shown["bars"]]
    assert gains == sorted(gains, reverse=True)
    assert sum(gains) / len(gains) == pytest.approx(seen.comparisons["back"]["RR"].difference, abs=1e-6)
    assert {bar[0] for bar in shown["bars"][-3:]} == {q.id for q in QUESTIONS[:3]}
    assert "17 won, 0 tied, 3 lost" in shown["note"]
    assert shown["bars"][0][1:] == ["who holds lock 3?", pytest.approx(2 / 3, abs=1e-6), "+0.667"]


def test_the_baseline_shows_its_own_values(seen):
    shown = compared(seen, "forth", "RR")
    assert shown["title"] == "RR of forth"
    assert {bar[0]: bar[2] for bar in shown["bars"]} == pytest.approx(seen.values["forth"]["RR"], abs=1e-6)


def test_of_very_many_questions_the_best_and_the_worst_are_drawn(seen):
    many = {f"q{n}": n / 5_000 for n in range(5_000)}
    large = replace(
        seen,
        values={**seen.values, "back": {"RR": many}, "forth": {"RR": dict.fromkeys(many, 0.0)}},
        questions={name: sage.Query(name, "why?") for name in many},
    )
    shown = compared(large, "back", "RR")
    assert len(shown["bars"]) == BARS
    assert (shown["bars"][0][2], shown["bars"][-1][2]) == (4_999 / 5_000, 0.0)
    assert "the 500 best and the 500 worst of 5,000 questions" in shown["note"]


def test_a_question_is_opened_with_both_rankings_and_its_judgments(seen):
    view = ExperimentView(seen)
    view.chosen, view.question = "far", "q00"
    before, after = view.opened["rankings"]
    assert (before["name"], before["value"], after["name"], after["value"]) == ("forth", "RR 1.000", "far", "RR 0.250")
    assert [hit["move"] for hit in after["hits"]] == ["new", "new", "new", "↓ from 1", "↓ from 2", "↓ from 3"]
    assert [hit["grade"] for hit in before["hits"]] == [1, None, None]
    assert {hit["move"] for hit in before["hits"]} == {""}
    words = [before["hits"][0]["text"][start:end] for start, end in before["hits"][0]["pieces"]]
    assert words == ["lock", "holds"]
    view.chosen = "forth"
    assert [each["name"] for each in view.opened["rankings"]] == ["forth"]
    view.question = ""
    assert view.opened == {}


def test_an_opened_question_shows_the_answers_too():
    def said(result):
        return sage.Result(result.query, answer=sage.Answer("So it is."))

    answers = {"q00": "so it is", "q01": "never"}
    made = experiment({"sure": Applied(said)}, QUESTIONS[:3], {"q02": {"a": 1}}, answers=answers, measures=["EM", "RR"])
    view = ExperimentView(made)
    view.question = "q00"
    assert [(each["value"], each["answer"]) for each in view.opened["rankings"]] == [("EM 1.000", "So it is.")]
    view.question = "q02"
    assert [each["value"] for each in view.opened["rankings"]] == ["no EM"]


def test_more_hits_come_when_they_are_asked_for(seen):
    long = experiment({"long": finding([f"d{n}" for n in range(40)])}, QUESTIONS, seen.qrels, measures=["RR"])
    view = ExperimentView(long)
    view.question = "q01"
    assert (len(view.opened["rankings"][0]["hits"]), view.opened["more"]) == (10, True)
    view.depth = 50
    assert (len(view.opened["rankings"][0]["hits"]), view.opened["more"]) == (40, False)


def test_a_sweep_has_its_parameters_and_each_row_its_place_among_them(grid):
    view = ExperimentView(grid)
    assert view.facts["parameters"] == [
        {"name": "k", "labels": ["1", "2", "3"], "numbers": [1.0, 2.0, 3.0]},
        {"name": "order", "labels": ["forth", "back"], "numbers": None},
        {"name": "far", "labels": ["True"], "numbers": None},
    ]
    assert {row["name"]: row["point"] for row in view.rows}["k=2, order=back, far=True"] == [1, 1, 0]
    drawn = view.html()
    assert "order=forth" in drawn
    assert drawn.count("<circle") > len(grid.names), "both plots are there"


def test_values_that_are_equal_and_not_the_same_keep_their_places():
    made = sweep(lambda flag: finding("abc" if flag is True else "bca"), QUESTIONS, {"q00": {"a": 1}}, flag=[1, True])
    assert [row["point"] for row in rows_of(made)] == [[0], [1]]
    assert [row["scores"]["RR"]["mean"] for row in rows_of(made)] == pytest.approx([1 / 3, 1], abs=1e-6)


def test_a_name_that_is_not_there_is_refused_in_a_sentence(seen):
    view = ExperimentView(seen)
    with pytest.raises(UnknownNameError, match="unknown measure of the experiment 'nDCG' .known: P@1, RR"):
        view.measure = "nDCG"
    with pytest.raises(UnknownNameError, match="unknown pipeline of the experiment 'bakc'; did you mean 'back'"):
        view.chosen = "bakc"
    with pytest.raises(UnknownNameError, match="unknown question of the experiment 'q99'"):
        view.question = "q99"
    assert (view.measure, view.chosen, view.question) == ("RR", "back", "")


def test_the_cell_of_the_chosen_pipeline_makes_that_pipeline(tmp_path):
    book = sage.Collection(tmp_path / "book", encoder=None)
    book.add([sage.Document("a", "a lock"), sage.Document("b", "a window")], progress=False)
    made = sweep(lambda k: book.lexical(k=k) % 1, ["lock?"], {"q1": {"a": 1}}, k=[1, 2], measures=["RR"])
    view = ExperimentView(made, names={"book": book})
    view.chosen = "k=2"
    assert view.cell == "%%sage k_2\nbook.lexical(k=2) % 1"
    assert pipeline_of(view.cell.split("\n", 1)[1], {"book": book}) == made.pipelines["k=2"]
    assert view.unsaid == ""


def test_a_pipeline_that_a_cell_cannot_say_is_shown_with_the_reason(seen):
    view = ExperimentView(seen, names={})
    assert view.cell == "%%sage back\nfound"
    assert "the notebook has no name for found" in view.unsaid


def test_names_and_texts_stay_text_where_no_javascript_runs(seen):
    renamed = experiment(
        {HOSTILE: finding([HOSTILE])}, [sage.Query("q", HOSTILE)], {"q": {HOSTILE: 1}}, measures=["RR"]
    )
    view = ExperimentView(renamed)
    view.question = "q"
    assert view.opened["text"] == HOSTILE
    assert "<script" not in view.html()
    assert "<img" not in view.html()
    assert HOSTILE[:36] in view.text()


def test_what_the_browser_is_told_without_control_characters_is_known_when_it_comes_back(seen):
    odd = experiment({"plain": finding("abc"), "a\x00b": finding("cba")}, QUESTIONS, seen.qrels, measures=["RR"])
    view = ExperimentView(odd)
    told = view.get_state()["rows"][1]["name"]
    assert told != "a\x00b"
    view.set_state({"chosen": told})
    assert (view.chosen, view.compared["title"]) == ("a\x00b", "RR of a\x00b")


@given(st.dictionaries(st.sampled_from(["back", "forth", "same", "far"]), st.floats(0.1, 1e3), min_size=4))
def test_the_front_is_marked_in_the_rows(seen, times):
    timed = replace(seen, costs={name: {"ms per question": times[name]} for name in seen.names})
    on = {row["name"] for row in rows_of(timed) if row["scores"]["RR"]["front"]}
    assert on == set(front_of(timed, "RR"))
    assert min(times, key=lambda name: (times[name], -timed.means[name]["RR"])) in on
