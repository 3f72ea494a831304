"""Experiments: measures and tests are the oracles', and what is odd is said."""

from __future__ import annotations

import math
import random
from itertools import product

import ir_measures
import numpy as np
import pytest
from scipy import stats

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.evaluation.significance import bootstrap, holm, randomisation_test, t_test
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Applied

NAMES = [f"d{n}" for n in range(30)]
QUESTIONS = {f"q{n}": f"question {n}" for n in range(25)}
CHANCE = random.Random(5)
QRELS = {name: {each: CHANCE.choice([0, 1, 2]) for each in CHANCE.sample(NAMES, 6)} for name in QUESTIONS}


def finder(skill, seed):
    """A retriever that puts what is relevant first, in that share of the questions."""

    def found(result):
        chance = random.Random(f"{result.query.id} {seed}")
        order = chance.sample(NAMES, 20)
        if chance.random() < skill:
            order.sort(key=lambda each: -QRELS.get(result.query.id, {}).get(each, 0))
        hits = [(sage.Hit(sage.Document(each, ""), 0, 0.0), -float(at)) for at, each in enumerate(order)]
        return ranked(result, "found", hits)

    return Applied(found)


PIPES = {"poor": finder(0.0, 1), "fair": finder(0.5, 2), "good": finder(1.0, 3) % 15}


def compared(**how):
    return sage.experiment(PIPES, QUESTIONS, QRELS, **how)


def test_measures_are_those_of_ir_measures_on_the_runs_it_writes(tmp_path):
    names = ["nDCG@10", "R@100", "RR", "AP", "P(rel=2)@5", "Success@1"]
    seen = compared(measures=names)
    folder = seen.to_trec(tmp_path / "runs")
    sage.write_qrels(QRELS, tmp_path / "qrels.txt")
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")))
    wanted = [ir_measures.parse_measure(name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == ["fair.run", "good.run", "poor.run"]
    for name in seen.names:
        run = list(ir_measures.read_trec_run(str(folder / f"{name}.run")))
        means = ir_measures.calc_aggregate(wanted, qrels, run)
        assert seen.means[name] == pytest.approx({str(measure): value for measure, value in means.items()})
        for each in ir_measures.iter_calc(wanted, qrels, run):
            assert seen.values[name][str(each.measure)][each.query_id] == pytest.approx(each.value)


@pytest.mark.parametrize(("test", "oracle"), [("t", t_test), ("randomisation", randomisation_test)])
def test_p_is_of_the_values_of_the_questions(test, oracle):
    seen = compared(baseline="poor", test=test, correction=None)
    for name, by in seen.comparisons.items():
        for measure, against in by.items():
            before, after = (list(seen.values[each][measure].values()) for each in ("poor", name))
            assert against.p == against.corrected == oracle(before, after)
            assert against.difference == pytest.approx(np.mean(after) - np.mean(before))
            signs = np.sign(np.subtract(after, before)).tolist()
            assert (against.wins, against.ties, against.losses) == tuple(signs.count(each) for each in (1, 0, -1))
    assert seen.comparisons["good"]["nDCG@10"].mark == "▲"
    assert sage.experiment(PIPES, QUESTIONS, QRELS, baseline="good").comparisons["poor"]["AP"].mark == "▼"


def test_several_comparisons_are_corrected_measure_by_measure():
    seen = compared(baseline="poor")
    for measure in seen.measures:
        plain = {name: by[measure].p for name, by in seen.comparisons.items()}
        assert {name: by[measure].corrected for name, by in seen.comparisons.items()} == holm(plain)
    assert compared().comparisons == {}


# the statistics, against scipy and by hand


@pytest.mark.parametrize(("count", "seed"), [*product([6, 13], range(5)), (60, 0), (60, 2)])
def test_the_tests_are_scipys(count, seed):
    drawn = np.random.default_rng(seed)
    before = drawn.random(count)
    after = before + drawn.normal(0.04 * seed, 0.2, count)
    assert t_test(before, after) == pytest.approx(stats.ttest_rel(after, before).pvalue, rel=1e-12)
    theirs = stats.permutation_test(
        (after, before),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=200_000,
        batch=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    exact = count <= 13  # scipy, too, tries all exchanges where there are no more than it would draw
    assert randomisation_test(before, after) == pytest.approx(theirs, abs=1e-12 if exact else 0.02)


def test_a_t_test_without_a_difference_or_with_one_question_tells_nothing():
    assert t_test([0.5, 0.5], [0.5, 0.5]) == t_test([0.1], [0.9]) == 1.0
    assert t_test([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]) < 1e-6


def test_holm_by_hand():
    # sorted: 0.005·4, 0.011·3, 0.02·2, 0.04·1, each no less than the one before
    found = holm({"a": 0.02, "b": 0.005, "c": 0.04, "d": 0.011})
    assert found == pytest.approx({"a": 0.04, "b": 0.02, "c": 0.04, "d": 0.033})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_bootstrap_is_scipys():
    values = np.random.default_rng(3).beta(2, 3, 80)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert bootstrap(values[:, None])[0] == pytest.approx([theirs.low, theirs.high], abs=0.003)


def test_intervals_hold_the_mean_and_are_the_same_each_time():
    seen, again = compared(), compared()
    assert seen.intervals == again.intervals
    for name in seen.names:
        for measure, (low, high) in seen.intervals[name].items():
            assert low <= seen.means[name][measure] <= high
            assert math.isfinite(low)


# what is odd


def test_only_judged_questions_are_asked():
    few = {name: QRELS[name] for name in ("q3", "q7")} | {"elsewhere": {"d1": 1}}
    seen = sage.experiment(PIPES, QUESTIONS, few)
    assert list(seen.questions) == ["q3", "q7"]
    assert [len(run) for run in seen.runs.values()] == [2, 2, 2]
    assert "23 questions without judgment were left out" in str(seen)


def test_questions_of_no_relevant_document_count_0_as_they_do_with_ir_measures_and_are_named():
    qrels = {"q1": {"d1": 0}, "q2": QRELS["q2"]}
    seen = sage.experiment({"good": PIPES["good"]}, QUESTIONS, qrels, measures=["nDCG@10"])
    assert seen.values["good"]["nDCG@10"]["q1"] == 0
    assert any(each.startswith("1 questions, 'q1' the first, have no relevant document") for each in seen.remarks)


def failing(result):
    if result.query.id in ("q2", "q9"):
        raise ValueError("no such index")
    return result


def test_a_pipeline_that_fails_on_some_questions_counts_0_there_and_that_is_said():
    seen = sage.experiment(PIPES | {"shaky": PIPES["fair"] >> failing}, QUESTIONS, QRELS, baseline="fair")
    assert seen.values["shaky"]["AP"]["q2"] == seen.values["shaky"]["AP"]["q9"] == 0
    assert seen.values["shaky"]["AP"]["q3"] == seen.values["fair"]["AP"]["q3"]
    assert "shaky: 2 questions failed and count 0, the first: failing failed: ValueError: no such index" in seen.remarks
    assert all(name in str(seen) for name in ("shaky: 2 questions failed", "▲ ▼: better or worse than fair"))


def test_one_pipeline_is_measured_and_compared_with_nothing():
    seen = sage.experiment({"good": PIPES["good"]}, QUESTIONS, QRELS, baseline="good")
    assert seen.comparisons == {}
    assert "▲" not in str(seen)


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: sage.experiment({}, QUESTIONS, QRELS), BadValueError, r"takes pipelines by name, as in .*, got {}"),
        (lambda: sage.experiment([finder(1, 1)], QUESTIONS, QRELS), BadValueError, "takes pipelines by name"),
        (lambda: sage.experiment({1: finder(1, 1)}, QUESTIONS, QRELS), BadValueError, "name is a text, got 1"),
        (
            lambda: sage.experiment({"a": 7}, QUESTIONS, QRELS),
            BadValueError,
            "the pipeline 'a' takes pipelines .* got 7",
        ),
        (
            lambda: sage.experiment(PIPES, ["who?"], {"1": {"a": 1}}),
            BadValueError,
            "none of the 1 questions has a judgment in .* nDCG@10 wants; .* question is .q1., the first there .1.",
        ),
        (lambda: sage.experiment(PIPES, QUESTIONS, {}), BadValueError, "the first there 'none'"),
        (lambda: compared(measures=["nDGC@10"]), BadValueError, "unknown measure 'nDGC@10'"),
        (lambda: compared(measures=["map"]), BadValueError, "unknown measure 'map'; its name here is AP"),
        (
            lambda: sage.experiment(PIPES, QUESTIONS, [("q0", "a", 1)]),
            BadValueError,
            "qrels are grades by document by question, .* got list; read_qrels.path. reads a file",
        ),
        (lambda: compared(measures="RR"), BadValueError, "measures= of experiment.. is a list of different names"),
        (lambda: compared(measures=["RR", "RR"]), BadValueError, "a list of different names, got .'RR', 'RR'."),
        (lambda: compared(baseline="god"), UnknownNameError, "unknown baseline 'god'; did you mean 'good'?"),
        (lambda: compared(test="z"), UnknownNameError, r"unknown test 'z' \(known: randomisation, t\)"),
        (lambda: compared(correction="bonferroni"), UnknownNameError, "unknown correction 'bonferroni'"),
        (
            lambda: compared(mesures=["RR"]),
            UnknownNameError,
            "unknown option of experiment.. 'mesures'; did you mean 'm",
        ),
        (
            lambda: sage.experiment({"a": sage.Collection("/nowhere").lexical()}, QUESTIONS, QRELS),
            SageError,
            "nowhere",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()


# what it shows


def test_the_table_says_what_was_compared_in_text_and_in_html():
    seen = compared(baseline="poor", measures=["RR", "AP"])
    lines = str(seen).splitlines()
    assert lines[0] == "3 pipelines, 4 stages asked, 4 run · 25 questions"
    assert lines[1].split() == ["pipeline", "RR", "AP", "ms", "per", "question"]
    assert lines[4].split()[:5] == ["good", "1.0000", "▲", f"{seen.means['good']['AP']:.4f}", "▲"]
    assert lines[5].startswith("▲ ▼: better or worse than poor by more than chance (p < 0.05, paired randomisation")
    page = seen._repr_html_()
    assert page.count("<tr>") == 4
    assert f"<b>{seen.means['good']['AP']:.4f}</b> ▲" in page
    assert lines[5].replace("<", "&lt;") in page


def test_names_and_expressions_are_shown_as_text():
    name = "<img src=x onerror=alert(1)> & 100 % of_it"
    seen = sage.experiment({name: PIPES["fair"], "plain": PIPES["poor"]}, QUESTIONS, QRELS, baseline=name)
    assert "<img" not in seen._repr_html_()
    assert "&lt;img src=x onerror=alert(1)&gt;" in seen._repr_html_()
    assert r"<img src=x onerror=alert(1)> \& 100 \% of\_it & " in seen.to_latex()


def test_latex_is_a_table_for_a_paper():
    lines = compared(baseline="poor", measures=["RR", "AP"]).to_latex().splitlines()
    begun = lines.index(r"\begin{tabular}{lrr}")
    assert all(line.startswith("% ") for line in lines[:begun])
    assert lines[begun + 1 : begun + 4] == [r"\toprule", r"pipeline & RR & AP \\", r"\midrule"]
    assert lines[-3].startswith(r"good & \textbf{1.0000}$^{\uparrow}$ & \textbf{")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_frames_are_of_pipelines_and_of_questions():
    seen = compared(baseline="poor", measures=["RR"])
    table = seen.to_pandas()
    assert list(table.columns) == [
        *("pipeline", "RR", "RR low", "RR high", "RR p"),
        *("ms per question", "model calls", "pairs scored"),
    ]
    assert table["RR"].tolist() == [seen.means[name]["RR"] for name in seen.names]
    by = seen.to_pandas(by_question=True)
    assert len(by) == 75
    assert by.groupby("pipeline")["RR"].mean().to_dict() == pytest.approx(table.set_index("pipeline")["RR"].to_dict())


def test_runs_of_names_that_only_differ_in_what_a_path_cannot_hold_are_not_written_over(tmp_path):
    seen = sage.experiment({"a b": PIPES["fair"], "a/b": PIPES["poor"]}, QUESTIONS, QRELS)
    with pytest.raises(BadValueError, match="two pipelines would be written to one file"):
        seen.to_trec(tmp_path)
    only = sage.experiment({"../a b": PIPES["fair"]}, QUESTIONS, QRELS)
    assert [path.name for path in only.to_trec(tmp_path / "runs").iterdir()] == ["..-a-b.run"]
