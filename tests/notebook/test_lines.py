"""The `%sage` line, what Tab offers, and the defaults of a cell."""

from __future__ import annotations

import re

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.notebook.cell import cell
from sage_nb.notebook.completion import offers
from sage_nb.notebook.lines import COMMANDS, answer
from sage_nb.notebook.magic import load_ipython_extension
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import Session


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))


@pytest.fixture
def names():
    book = sage.Collection("book", encoder=None)
    book.add([sage.Document("lock", "a thread holds a lock"), sage.Document("win", "a window")], progress=False)
    return {"book": book, "questions": ["who holds the lock?", "window"], "qrels": {"q1": {"lock": 1}}}


@pytest.fixture
def session(names):
    """One in which two cells have run."""
    session = Session()
    cell("book.lexical(5)", names, session=session, name="first", on="questions")
    cell("book.lexical(1)", names, session=session, name="second", on="questions")
    return session


def test_a_question_is_asked_of_the_last_pipeline(session, names):
    session.stage = names["book"].lexical(5)
    for line in ('"a window"', "what's a window?", "runs of a window"):
        if line.split()[0] not in COMMANDS:
            assert answer(line, session, names).hits[0].document.id == "win"


def test_runs_and_their_differences(session, names):
    said = str(answer("runs", session, names))
    assert re.findall(r"-(first|second)-", said) == ["second", "first"]
    assert "1 runs" in str(answer("runs first", session, names))
    compared = answer("diff first second qrels", session, names)
    assert compared.steps == ("without Collection('book').lexical(k=5)", "with Collection('book').lexical(k=1)")
    assert [name for name, _, _ in compared.measures] == ["nDCG@10", "R@100", "RR"]
    assert (compared.wins, compared.losses) == (0, 0)
    assert "2 rankings" in str(answer("diff first second", session, names)).replace("of 2", "2")


def test_the_cache_is_shown_and_cleared(session, names):
    assert "first" in str(answer("cache", session, names))
    assert answer("clear first", session, names).entries == 2
    assert "first" not in str(answer("cache", session, names))
    with pytest.raises(UnknownNameError, match="unknown cell 'secnd'; did you mean 'second'"):
        answer("clear secnd", session, names)
    assert answer("clear", session, names).entries == 2
    assert sage.clear_cache().entries == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", 'write %sage "a question", or %sage with one of'),
        ("diff first", "write %sage diff A B"),
        ("diff first second nothing", "'nothing' names no qrels"),
        ("cache all", "%sage cache takes nothing more, got 'all'"),
        ("clear a b c", "write %sage clear, %sage clear CELL"),
    ],
)
def test_what_says_nothing_is_refused(session, names, line, said):
    with pytest.raises(BadValueError, match=re.escape(said)):
        answer(line, session, names)


def test_before_any_cell_there_is_nothing_to_ask_or_plan(names):
    with pytest.raises(BadValueError, match="there is no pipeline to ask yet"):
        answer('"x"', Session(), names)
    with pytest.raises(BadValueError, match="there is nothing to plan yet"):
        answer("plan", Session(), names)
    with pytest.raises(UnknownNameError, match="unknown run 'frist'"):
        answer("diff frist second", Session(), names)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "1x"}, "cannot bind its result to '1x'"),
        ({"env": "rya"}, "unknown --env 'rya'; did you mean 'ray'"),
        ({"parallelism": 0}, '--parallelism needs 1 or more, or "auto", got 0'),
        ({"gpus": 0.5}, "--gpus 0.5 needs --env ray"),
        ({"checkpoint_every": -1.0}, "--checkpoint-every needs 0 seconds or more"),
        ({"plan": True}, "--plan needs questions: name them with --on"),
        ({"background": True}, "--background needs questions: name them with --on"),
    ],
)
def test_options_that_cannot_be_are_refused(given, said):
    with pytest.raises((BadValueError, UnknownNameError), match=re.escape(said)):
        CellOptions(**given)


def complete(text, session, names):
    """What is offered where the bar stands."""
    before, _, after = text.partition("|")
    lines = before.split("\n")
    return offers(before + after, len(lines) - 1, len(lines[-1]), names, session)


def test_tab_offers_what_may_stand_there(session, names):
    assert "--parallelism" in complete("%%sage answers --p|", session, names)
    assert "questions" in complete("%%sage answers --on |", session, names)
    assert complete("%%sage answers --env |", session, names) == ["local", "ray"]
    assert "rerank" in complete("%%sage\nbook.lexical(5)\n>> re|", session, names)
    assert complete("%%sage\nCollection('|", session, names) == ["book"]
    assert complete("%%sage\nbook.|", session, names) == []
    assert {"runs", "diff", "trace"} <= set(complete("%sage |", session, names))
    assert {"first", "second"} <= set(complete("%sage diff |", session, names))
    assert complete("%sage clear |", session, names) == ["first", "second"]
    assert complete("re|", session, names) == []


@pytest.fixture(scope="module")
def shell():
    config = Config()
    config.HistoryAccessor.enabled = False
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    load_ipython_extension(shell)
    load_ipython_extension(shell)  # as a reload does
    yield shell
    InteractiveShell.clear_instance()


def test_defaults_are_configured(shell, names):
    shell.push(dict(names))
    with capture_output() as seen:
        shell.run_cell("%config Sage.top = 1\n%config Sage")
        shell.run_cell("%%sage answers --on questions\nbook.lexical(5)")
    assert seen.outputs[-1].data["text/plain"].count("1. ") == 2
    assert "2. " not in seen.outputs[-1].data["text/plain"]
    shell.run_cell("%config Sage.top = 5")


def test_ipython_completes_with_it(shell, names):
    shell.push(dict(names))
    text = "%%sage\nbook.lexical(5) >> rer"
    with provisionalcompleter():
        assert "rerank" in {each.text for each in shell.Completer.completions(text, len(text))}


def test_the_help_names_every_option(shell):
    with capture_output() as seen:
        shell.run_cell("%%sage?\n")
    help_text = shell.find_line_magic("sage").__doc__ or ""
    said = seen.stdout + help_text
    for option in (
        "--on",
        "--env",
        "--parallelism",
        "--gpus",
        "--fresh",
        "--background",
        "--checkpoint-every",
        "--plan",
    ):
        assert option in said


def test_a_mistyped_option_is_a_sentence(shell, names):
    shell.push(dict(names))
    with capture_output() as seen:
        shell.run_cell("%%sage answers --onn questions\nbook.lexical(5)")
    assert "--onn" in seen.stdout + seen.stderr
    assert "Traceback" not in seen.stdout + seen.stderr


def test_the_status_of_a_run_is_its_dashboard(session, names):
    assert "first: finished" in answer("status first", session, names).text()
    with pytest.raises(BadValueError, match="write %sage status, or %sage status NAME of a job or a run, got 'thrid'"):
        answer("status thrid", session, names)
    with pytest.raises(BadValueError, match="takes a job or a run, got"):
        answer("status qrels", session, names)
