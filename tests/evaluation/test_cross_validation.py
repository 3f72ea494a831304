"""Choosing the best: what it gains is told by questions that it was not chosen by."""

from __future__ import annotations

import random

import numpy as np
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.evaluation.significance import randomisation_test, t_test
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Applied

NAMES = [f"d{n}" for n in range(10)]
QUESTIONS = {f"q{n}": f"question {n}" for n in range(40)}
QRELS = {name: {random.Random(name).choice(NAMES): 1} for name in QUESTIONS}


def finder(skill, seed):
    """A retriever that puts the relevant document first in that share of the questions; where else is chance."""

    def found(result):
        chance = random.Random(f"{result.query.id} {seed}")
        order = chance.sample(NAMES, 8)
        if chance.random() < skill:
            order = list(dict.fromkeys([*QRELS[result.query.id], *order]))
        return ranked(
            result, "found", [(sage.Hit(sage.Document(n, ""), 0, 0.0), -float(at)) for at, n in enumerate(order)]
        )

    return Applied(found)


def seen(skills, seed=0, **how):
    pipes = {f"{at}: {skill}": finder(skill, f"{seed} {at}") for at, skill in enumerate(skills)}
    return sage.experiment(pipes, QUESTIONS, QRELS, measures=["RR", "Success@1"], **how)


def test_a_better_pipeline_is_chosen_and_the_gain_is_that_on_held_out_questions():
    of = seen([0.1, 0.9, 0.3])
    found = sage.cross_validate(of)
    assert (found.chosen, found.baseline, found.measure) == ("1: 0.9", "0: 0.1", "RR")
    assert found.holds
    assert found.pipeline is of.pipelines["1: 0.9"]
    assert found.before == pytest.approx(of.means["0: 0.1"]["RR"])
    assert found.gain == pytest.approx(sum(len(f.questions) * (f.held_out - f.baseline) for f in found.folds) / 40)
    assert found.verdict.startswith("use 1: 0.9: RR 0.")


def test_each_question_is_judged_by_what_the_others_chose():
    of = seen([0.4, 0.5, 0.45, 0.5], baseline="2: 0.45", test="t")
    found = sage.cross_validate(of, "Success@1", folds=8)
    held = {}
    for fold in found.folds:
        rest = [question for question in QUESTIONS if question not in fold.questions]
        means = {name: np.mean([of.values[name]["Success@1"][each] for each in rest]) for name in of.names}
        assert means[fold.chosen] == max(means.values())
        assert fold.train == pytest.approx(means[fold.chosen])
        held |= {each: of.values[fold.chosen]["Success@1"][each] for each in fold.questions}
    assert sorted(held) == sorted(QUESTIONS)
    assert found.held_out == pytest.approx(np.mean(list(held.values())))
    before = of.values["2: 0.45"]["Success@1"]
    assert found.p == t_test(list(before.values()), [held[each] for each in before])


def test_the_best_of_many_that_know_as_little_is_not_believed():
    """On the questions themselves something is always best: what that seems to gain is told beside what it does."""
    flukes, seeming, honest = 0, [], []
    for seed in range(15):
        of = seen([0.3] * 8, seed)
        found = sage.cross_validate(of)
        flukes += found.holds
        seeming.append(of.means[found.chosen]["RR"] - found.before)
        honest.append(found.gain)
        assert of.means[found.chosen]["RR"] >= found.before - 1e-9
    assert flukes <= 2
    assert np.mean(honest) < np.mean(seeming) / 2


def test_of_equals_the_baseline_stays():
    same = finder(0.5, 1)
    of = sage.experiment({"a": same, "b": same % 8}, QUESTIONS, QRELS, measures=["RR"], baseline="b")
    found = sage.cross_validate(of)
    assert (found.chosen, found.gain, found.p, found.pipeline) == ("b", 0.0, 1.0, of.pipelines["b"])
    assert found.verdict.startswith("stay with b, which is the best: RR 0.")


def test_a_sweep_is_chosen_from_as_well_and_every_fold_is_shown():
    of = sage.sweep(lambda skill: finder(skill, 3), QUESTIONS, QRELS, skill=[0.1, 0.8], measures=["RR"])
    found = sage.cross_validate(of, folds=4)
    assert of.points[found.chosen] == {"skill": 0.8}
    lines = str(found).splitlines()
    assert lines[0] == found.verdict
    assert lines[1].split() == ["fold", "questions", "chosen", "train", "held", "out", "baseline", "gain"]
    assert [line.split()[:3] for line in lines[2:]] == [[str(n), "10", "skill=0.8"] for n in range(1, 5)]
    assert found._repr_html_().count("<tr>") == 5


@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ({"measure": "AP"}, UnknownNameError, "unknown measure of the experiment 'AP'"),
        ({"baseline": "0: 0.2"}, UnknownNameError, "unknown baseline '0: 0.2'; did you mean '0: 0.1'"),
        ({"folds": 1}, BadValueError, "folds=1 must be 2 or more, and at most the 40 questions"),
        ({"folds": 41}, BadValueError, "folds=41 must be 2 or more, and at most the 40 questions"),
        ({"folds": True}, BadValueError, "folds=True must be 2 or more"),
    ],
)
def test_what_cannot_be_chosen_is_said(how, error, sentence):
    of = seen([0.1, 0.9])
    with pytest.raises(error, match=sentence):
        sage.cross_validate(of, **how)


def test_the_p_of_a_randomisation_test_is_of_the_held_out_values():
    of = seen([0.2, 0.6])
    found = sage.cross_validate(of, folds=2)
    held = {each: of.values[f.chosen]["RR"][each] for f in found.folds for each in f.questions}
    before = of.values["0: 0.2"]["RR"]
    assert found.p == randomisation_test(list(before.values()), [held[each] for each in before])
