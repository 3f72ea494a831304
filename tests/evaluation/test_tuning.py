"""Tuning a fusion: what is figured in memory is what the pipeline gives, and no gain is told that does not hold."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.evaluation.measures import evaluate
from sage_nb.evaluation.significance import randomisation_test
from sage_nb.evaluation.tuning import Choice, Parts, Search, with_fusion
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Chain, Operation, Stage
from sage_nb.stream.function import MapFunction

NAMES = [f"{n}{9 - n}" for n in range(10)]
QUESTIONS = {f"q{n}": f"question {n}" for n in range(40)}
QRELS = {name: {random.Random(name).choice(NAMES): 1} for name in QUESTIONS}


@dataclass(frozen=True)
class Ranker(Operation):
    """Puts the relevant document first for that share of the questions; where else is chance."""

    seed: int
    skill: float

    def function(self):
        return Ranking(self)


class Ranking(MapFunction):
    def __init__(self, stage):
        self.stage = stage

    def map(self, value):
        name = "q" + value.query.text.split()[-1]
        chance = random.Random(f"{name} {self.stage.seed}")
        order = chance.sample(NAMES, 8)
        if chance.random() < self.stage.skill:
            order = [*QRELS[name], *(each for each in order if each not in QRELS[name])]
        scored = [
            (sage.Hit(sage.Document(each, ""), 0, 0.0), 9.0 - at * chance.random()) for at, each in enumerate(order)
        ]
        return ranked(value, "ranker", scored)


GOOD, FAIR, BAD = Ranker(1, 0.9), Ranker(2, 0.5), Ranker(3, 0.0)


def tuned(pipe, measure="RR", **how):
    return sage.tune_fusion(pipe, QUESTIONS, QRELS, measure, **how)


@pytest.mark.parametrize("rule", FUSIONS)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.2, 0.5, 0.3), (0.0, 1.0, 0.0)])
def test_a_fusion_in_memory_is_the_pipelines_own(rule, weights):
    queries = [sage.Query(*each) for each in QUESTIONS.items()]
    pipe = sage.fuse(GOOD, FAIR % 3, BAD) % 6 % 5
    figures = Search(Parts.of(pipe, queries), QRELS, "nDCG@10", [rule]).figures(Choice(rule, weights))
    results = with_fusion(pipe, Choice(rule, weights)).run(queries).results
    values = evaluate(results, QRELS, ["nDCG@10"]).by_question["nDCG@10"]
    assert figures.tolist() == [values[query.id] for query in queries]


def test_a_good_ranker_is_found_and_the_gain_is_the_held_out_one():
    pipe = GOOD + BAD
    found = tuned(pipe)
    assert found.tuned
    assert found.found.weights[0] > 0.5
    assert found.pipeline == with_fusion(pipe, found.found)
    results = pipe.run(QUESTIONS).results
    assert found.before == pytest.approx(evaluate(results, QRELS, ["RR"]).mean["RR"])
    assert found.gain == pytest.approx(
        sum(fold.questions * (fold.held_out - fold.untuned) for fold in found.folds) / 40
    )
    assert found.gain > 0.1
    assert found.p < 0.01
    assert evaluate(found.pipeline.run(QUESTIONS).results, QRELS, ["RR"]).mean["RR"] > found.before


@pytest.mark.parametrize("others", [(BAD, Ranker(7, 0)), (BAD, Ranker(7, 0), Ranker(8, 0), Ranker(9, 0))])
def test_of_many_parts_too(others):
    found = tuned(sage.fuse(*others, GOOD, by="borda"))
    assert found.tuned
    assert found.found.weights[-1] > 0.5
    assert sum(found.found.weights) == pytest.approx(1, abs=1e-3)


def test_what_tuning_finds_in_chance_is_not_believed():
    """Rankers that all know as little: on the questions themselves something is always best."""
    flukes = 0
    for seed in range(20):
        pipe = sage.fuse(Ranker(100 + seed, 0.3), Ranker(200 + seed, 0.3), Ranker(300 + seed, 0.3))
        found = tuned(pipe)
        trained = evaluate(with_fusion(pipe, found.found).run(QUESTIONS).results, QRELS, ["RR"]).mean["RR"]
        assert trained >= found.before
        assert trained >= found.held_out - 1e-9
        flukes += found.tuned
        if not found.tuned:
            assert found.pipeline is pipe
            assert found.verdict.startswith("kept untuned, for ")
    assert flukes <= 2


def test_where_the_given_weights_are_best_they_stay():
    pipe = 0.7 * GOOD + 0.3 * Ranker(1, 0.9)  # twice the same
    found = tuned(pipe)
    assert (found.pipeline, found.found, found.gain, found.p) == (pipe, Choice("rrf", (0.7, 0.3)), 0.0, 1.0)
    assert found.verdict.startswith("kept untuned, for tuning gains nothing: RR ")


def test_each_fold_is_answered_with_what_the_others_make_best():
    queries = [sage.Query(*each) for each in QUESTIONS.items()]
    pipe = sage.fuse(GOOD, FAIR)
    search = Search(Parts.of(pipe, queries), QRELS, "RR", [])
    found = tuned(pipe, folds=4)
    assert [fold.questions for fold in found.folds] == [10] * 4
    import numpy as np

    parts = np.array_split(np.random.default_rng(0).permutation(40), 4)
    for fold, part in zip(found.folds, parts, strict=True):
        rest = np.array([at for at in range(40) if at not in part])
        assert fold.choice == search.best(rest)
        assert fold.train == pytest.approx(search.figures(fold.choice)[rest].mean())
        assert fold.held_out == pytest.approx(search.figures(fold.choice)[part].mean())
        assert fold.untuned == pytest.approx(search.figures(Choice("rrf", (1.0, 1.0)))[part].mean())


def test_the_rule_is_tuned_where_that_is_asked_for():
    found = tuned(sage.fuse(GOOD, BAD, by="min"), rules=["rrf", "zscore"])
    assert found.found.rule in {"rrf", "zscore"}
    assert found.tuned


def test_hybrids_and_chains_keep_what_stands_around_their_fusion(tmp_path):
    hybrid = sage.Collection(tmp_path / "book").hybrid(k=30)
    choice = Choice("zscore", (0.25, 0.75))
    assert repr(with_fusion(hybrid % 7, choice)).endswith("hybrid(k=30, fusion='zscore', weights=(0.25, 0.75)) % 7")
    before = GOOD >> sage.fuse(GOOD, BAD)
    assert with_fusion(before, choice) == GOOD >> sage.fuse(GOOD, BAD, by="zscore", weights=(0.25, 0.75))
    assert Stage.from_yaml(with_fusion(hybrid, choice).to_yaml()) == with_fusion(hybrid, choice)


def test_judgments_of_documents_that_are_never_found_are_noticed():
    found = sage.tune_fusion(GOOD + BAD, QUESTIONS, {name: {"elsewhere": 1} for name in QUESTIONS}, folds=2)
    assert found.verdict.startswith("kept untuned, for no relevant document is found: nDCG@10 0.0000")
    assert found.verdict.endswith("check that the ids in the qrels are hits'")


def test_it_shows_every_fold_and_escapes_what_it_shows():
    found = tuned(GOOD + BAD, folds=3)
    lines = str(found).splitlines()
    assert lines[0] == found.verdict
    assert lines[1].split() == ["fold", "questions", "rule", "weights", "train", "held", "out", "untuned", "gain"]
    assert len(lines) == 5
    assert found._repr_html_().count("<tr>") == 4


@dataclass(frozen=True)
class Mixed(Chain):
    """A stage that fuses by itself."""

    @property
    def steps(self):
        return (GOOD + BAD).steps


def failing(result):
    raise ValueError("no such index")


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: tuned(GOOD), BadValueError, r"ends in a fusion, and Ranker\(.*\) ends in Ranker\(.*\); give it what"),
        (lambda: tuned(GOOD + BAD >> sage.rerank(3)), BadValueError, r"ends in rerank\(k=3\); give it what stands bef"),
        (
            lambda: tuned(Mixed() % 3),
            BadValueError,
            r"Mixed\(\) fuses without weights of its own; tune a fuse\(...\) of",
        ),
        (lambda: tuned(GOOD + BAD, folds=1), BadValueError, "folds=1 must be 2 or more, and at most the 40 judged"),
        (lambda: tuned(GOOD + BAD, folds=41), BadValueError, "folds=41 must be 2 or more, and at most the 40 judged"),
        (lambda: sage.tune_fusion(GOOD + BAD, ["x"], {}), BadValueError, "folds=5 must be .* the 0 judged questions"),
        (lambda: tuned(GOOD + BAD, "nDGC@10"), BadValueError, "unknown measure 'nDGC@10'"),
        (lambda: tuned(GOOD + BAD, rules=["rff"]), UnknownNameError, "unknown fusion rule 'rff'; did you mean 'rrf'"),
        (
            lambda: tuned(sage.fuse(GOOD, failing)),
            SageError,
            "40 questions failed, the first: failing failed: ValueError",
        ),
    ],
)
def test_what_cannot_be_tuned_is_said(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()


# the test itself


def exactly(differences):
    """Every exchange there is."""
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product([1, -1], repeat=9)]
    return sum(each >= abs(sum(differences)) - 1e-9 for each in sums) / len(sums)


@pytest.mark.parametrize("seed", range(4))
def test_the_randomisation_test_is_that_of_all_exchanges(seed):
    drawn = random.Random(seed)
    before = [drawn.random() for _ in range(9)]
    after = [value + drawn.gauss(0.05 * seed, 0.2) for value in before]
    wanted = exactly([b - a for a, b in zip(before, after, strict=True)])
    assert randomisation_test(before, after) == pytest.approx(wanted, abs=0.02)
    assert randomisation_test(after, before) == randomisation_test(before, after)


def test_it_wants_pairs():
    with pytest.raises(BadValueError, match="a paired test needs as many values of each, got 1 and 2"):
        randomisation_test([1], [1, 2])
