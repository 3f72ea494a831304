"""The `%%sage_experiment` cell: which pipelines it compares, by what, and what it says where it cannot."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import sage_nb as sage
from sage_nb.notebook.cell import CellError
from sage_nb.notebook.completion import offers
from sage_nb.notebook.experiment_cell import variants_of
from sage_nb.notebook.magic import load_ipython_extension
from sage_nb.notebook.session import Session
from sage_nb.records.beir import Beir

TEXTS = {"lock": "a thread holds a lock <b>", "window": "a window slides", "actor": "an actor holds a thread"}
QUESTIONS = {"q1": "who holds the lock?", "q2": "window", "q3": "thread"}
QRELS = {"q1": {"lock": 1}, "q2": {"window": 1}, "q3": {"actor": 1}}


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    collection = sage.Collection("book", encoder=None)
    collection.add([sage.Document(name, text) for name, text in TEXTS.items()], progress=False)
    return collection


@pytest.fixture
def shell(book):
    made = InteractiveShell()
    load_ipython_extension(made)
    made.user_ns.update(book=book, questions=QUESTIONS, qrels=QRELS)
    return made


def run(shell, line, body):
    """What a cell shows."""
    with capture_output() as captured:
        result = shell.run_cell(f"%%sage_experiment {line}\n{body}")
    return captured.stdout, result.error_before_exec or result.error_in_exec


def test_lines_that_name_pipelines_are_compared_in_their_order(shell, book):
    shown, wrong = run(
        shell,
        "seen --on 'questions' --qrels qrels --measures \"RR, P@1\" --baseline two",
        "k = 3\n_all = book.lexical(k)\ntwo = _all % 2\nreranked = (two\n  + book.lexical(1))\n>> rerank(k=1)\n",
    )
    assert wrong is None
    seen = shell.user_ns["seen"]
    assert seen.pipelines == {
        "two": book.lexical(3) % 2,
        "reranked": (book.lexical(3) % 2) + book.lexical(1) >> sage.rerank(k=1),
    }
    assert (seen.measures, seen.baseline, list(seen.comparisons)) == (("RR", "P@1"), "two", ["reranked"])
    assert "2 pipelines, 7 stages asked, 5 run · 3 questions" in shown
    assert "▲ ▼: better or worse than two" in shown
    assert shell.user_ns["two"] == book.lexical(3) % 2  # lines are Python: what they bind is bound


def test_a_dict_at_the_end_gives_them_any_names(shell):
    shown, wrong = run(
        shell, "seen --on questions --qrels qrels", "base = book.lexical(3)\n{f'first {k}': base % k for k in (1, 2)}"
    )
    assert wrong is None
    assert shell.user_ns["seen"].names == ("first 1", "first 2")
    assert "first 2" in shown


def test_a_test_collection_brings_its_judgments(shell, tmp_path):
    documents = [sage.Document(name, text) for name, text in TEXTS.items()]
    held = Beir(documents, tuple(sage.Query(*each) for each in QUESTIONS.items()), QRELS)
    sage.write_beir(held, tmp_path / "held")
    shell.user_ns["held"] = held
    values = []
    for on in (
        "held",
        f"{tmp_path}/held",
        "questions --qrels held",
        f"questions --qrels {tmp_path}/held/qrels/test.tsv",
    ):
        _, wrong = run(shell, f"seen --on {on}", "bm25 = book.lexical(3)")
        assert wrong is None
        values.append(shell.user_ns["seen"].values)
    assert values == [values[0]] * 4


def test_answers_are_measured_against_references(shell):
    shell.user_ns["right"] = {"q2": "a window slides"}
    shown, wrong = run(
        shell,
        "seen --on questions --answers right --measures EM,TokenF1",
        "told = book.lexical(1) >> answer(cite=False)",
    )
    assert wrong is None
    assert shell.user_ns["seen"].means == {"told": {"EM": 1.0, "TokenF1": 1.0}}
    assert "TokenF1" in shown


def test_results_are_those_of_the_cells_cache(shell):
    body = "bm25 = book.lexical(3)\nreranked = bm25 >> rerank(k=2)"
    run(shell, "seen --on questions --qrels qrels", body)
    first = shell.user_ns["seen"]
    run(shell, "seen --on questions --qrels qrels", body)
    again = shell.user_ns["seen"]
    assert again.values == first.values
    assert first.costs["reranked"]["pairs scored"] > 0 == again.costs["reranked"]["pairs scored"]
    run(shell, "seen --on questions --qrels qrels --fresh", body)
    assert shell.user_ns["seen"].costs["reranked"]["model calls"] == first.costs["reranked"]["model calls"]


@pytest.mark.parametrize(
    ("line", "body", "sentence"),
    [
        ("--qrels qrels", "a = book.lexical(1)", "%%sage_experiment needs questions: name them with --on"),
        ("--on questions --qrels qrels", "k = 3", "gives no pipelines; write one a line, as in bm25 = book.lexical"),
        ("--on questions --qrels qrels", "", "the cell body is empty"),
        (
            "--on questions --qrels qrels",
            "book.lexical(1)",
            "ends with a Lexical; end it with a dict, or give each line",
        ),
        (
            "--on questions --qrels qrels",
            "{'a': 7}",
            "the pipeline 'a' takes pipelines and functions of a Result, got 7",
        ),
        ("--on questions --qrels qrels", "a = book.lexica(1)", "did you mean 'lexical'?"),
        ("--on questions --qrels qrels", "a = book.lexical(", "the cell is not Python: '(' was never closed"),
        ("--on questions --qrels qrls", "a = book.lexical(1)", "--qrels qrls: there is no such name or file"),
        ("--on questions --answers right", "a = book.lexical(1)", "--answers right: there is no such name or file"),
        ("--on questions", "a = book.lexical(1)", "none of the 3 questions has a judgment in the qrels, which nDCG@10"),
        ("--on questions --qrels qrels --baseline b", "a = book.lexical(1)", "unknown baseline 'b' (known: a)"),
        ("--on questions --qrels qrels --measures nDGC@10", "a = book.lexical(1)", "unknown measure 'nDGC@10'"),
        ("--on questions --qrels qrels --test z", "a = book.lexical(1)", "unknown test 'z'"),
        ("--on questions --qrels qrels --correction z", "a = book.lexical(1)", "unknown correction 'z'"),
        ("--on questions --qrels qrels --env mars", "a = book.lexical(1)", "unknown --env 'mars'"),
        ("a-b --on questions --qrels qrels", "a = book.lexical(1)", "cannot bind its result to 'a-b'"),
    ],
)
def test_a_mistake_is_one_sentence(shell, line, body, sentence):
    shown, wrong = run(shell, line, body)
    assert sentence in str(wrong)
    assert "Traceback" not in shown


def test_a_pipeline_that_cannot_run_fails_the_cell_and_binds_nothing(shell):
    shown, wrong = run(shell, "seen --on questions --qrels qrels", "a = Collection('empty').lexical(2)")
    assert "empty" in str(wrong)
    assert "seen" not in shell.user_ns
    assert "Traceback" not in shown


def test_the_options_are_offered(book):
    line = "%%sage_experiment seen --"
    assert "--baseline" in offers(line, 0, len(line), {}, Session())
    line = "%%sage_experiment seen --qrels "
    assert offers(line, 0, len(line), {"qrels": QRELS, "_x": QRELS}, Session()) == ["qrels"]
    assert "--baseline" not in offers("%%sage a --", 0, 11, {}, Session())


def test_a_mistake_in_a_line_is_shown_with_its_place(book):
    with pytest.raises(CellError, match="unknown name 'rernk'; did you mean 'rerank'") as wrong:
        variants_of("a = book.lexical(3)\nb = a\n>> rernk(2)", {"book": book})
    assert (wrong.value.line, wrong.value.text) == (3, ">> rernk(2)")
