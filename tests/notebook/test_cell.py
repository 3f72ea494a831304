"""The cell: what continues, what is bound, and how a mistake is shown."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.notebook.cell import CellError, cell, evaluate, vocabulary
from sage_nb.notebook.display import RunView
from sage_nb.notebook.magic import load_ipython_extension
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import Session
from sage_nb.retrieval.recall import Cell


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """Runs and the cache lie there."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    collection = sage.Collection(tmp_path_factory.mktemp("home") / "collections" / "book", encoder=None)
    collection.add([sage.Document("lock", "a thread holds a lock <b>"), sage.Document("x", "a window")], progress=False)
    return collection


@pytest.fixture
def names(book):
    return {"book": book, "questions": ["who holds the lock?", "window"]}


def value(source, names):
    return evaluate(source, names, vocabulary())


@pytest.mark.parametrize(
    "source",
    [
        "book.lexical(5)\n>> rerank(k=3)",
        "book.lexical(5)\n  >> rerank(k=3)  # the best three",
        "book.lexical(5)  # words\n# then\n\n>> rerank(k=3)",
        "(book\n .lexical(5))\n>> rerank(k=3)",
        "k = 3\npipe = (\n  book.lexical(5)\n)\npipe\n>> rerank(k=k)",
        "pipe = book.lexical(5)\n>> rerank(k=3)\npipe",
        "book.lexical(5)\n>> rerank(\n    k=3,\n)  # the best three",
        "if True:\n    pipe = book.lexical(5)\n    >> rerank(k=3)\npipe",
        "text = '''\n>> not code\n'''\nbook.lexical(5)\n>> rerank(k=3)",
    ],
)
def test_a_line_that_starts_with_shifts_goes_on(source, names, book):
    assert value(source, names) == book.lexical(5) >> sage.rerank(k=3)


def test_the_vocabulary_leaves_nothing_behind(names):
    value("rerank(k=2)", names)
    assert "rerank" not in names
    names["rerank"] = lambda k: sage.rerank(k + 1)
    assert value("rerank(k=2)", names) == sage.rerank(3)


def test_a_cell_binds_a_pipeline_or_its_run(names, book):
    assert cell("book.lexical(5)", names, name="pipe") == book.lexical(5)
    cell("pipe % 1", names, name="answers", on="questions")
    assert [hit.document.id for result in names["answers"] for hit in result] == ["lock", "x"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "book.lexical(5)\n>> rernk(k=3)",
            ["unknown name 'rernk'; did you mean 'rerank'?", "  line 2: >> rernk(k=3)", "             ^"],
        ),
        (
            "book.lexical(k=0)",
            ["lexical() needs k, a whole number of 1 or more, got 0", "  line 1: book.lexical(k=0)", "          ^"],
        ),
        (
            "book.lexical(\n",
            ["the cell is not Python: '(' was never closed", "  line 1: book.lexical(", "                      ^"],
        ),
        (
            "x = 1\nbook.lexical(kay=3)",
            [
                "View.lexical() got an unexpected keyword argument 'kay'",
                "  line 2: book.lexical(kay=3)",
                "          ^",
            ],
        ),
        (
            "book.hybird(k=3)",
            [
                "'Collection' object has no attribute 'hybird'; did you mean 'hybrid'?",
                "  line 1: book.hybird(k=3)",
                "          ^",
            ],
        ),
        (
            "import sage_nb\nsage_nb.Colection('x')",
            [
                "module 'sage_nb' has no attribute 'Colection'; did you mean 'Collection'?",
                "  line 2: sage_nb.Colection('x')",
                "          ^",
            ],
        ),
        (
            "book.lexical(5)\n>> rerank(k=3",
            ["the cell is not Python: '(' was never closed", "  line 2: >> rerank(k=3", "                   ^"],
        ),
        (
            ">> rerank(k=3)",
            [
                "the cell begins with >>, and there is nothing above to go on with",
                "  line 1: >> rerank(k=3)",
                "          ^",
            ],
        ),
        (
            "pipe = book.lexical(5) + rernk(k=3)\n>> rerank(k=3)\npipe",
            [
                "unknown name 'rernk'; did you mean 'rerank'?",
                "  line 1: pipe = book.lexical(5) + rernk(k=3)",
                " " * 35 + "^",
            ],
        ),
        (
            "'größer'; rernk(k=3)",
            ["unknown name 'rernk'; did you mean 'rerank'?", "  line 1: 'größer'; rernk(k=3)", " " * 20 + "^"],
        ),
        ("lexicon(3)", ["the name 'lexicon' is not defined", "  line 1: lexicon(3)", "          ^"]),
        ("", ["the %%sage cell gives no pipeline; end it with an expression such as handbook.hybrid(k=10)"]),
        ("x = 1", ["the %%sage cell gives no pipeline; end it with an expression such as handbook.hybrid(k=10)"]),
    ],
)
def test_a_mistake_is_a_sentence_with_a_caret(source, shown, names):
    with pytest.raises(CellError, match=r"\w") as failed:
        value(source, names)
    rendered = failed.value._render_traceback_()
    assert rendered[0].startswith(shown[0])
    assert rendered[1:] == shown[1:]
    assert "\n" not in str(failed.value)
    assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value)  # noqa: S301


def test_a_function_that_a_cell_defines_is_known_by_what_it_does(names):
    text = 'def keep(result):\n    """Keep it."""\n    return result.top({k})\nbook.lexical(5)\n>> keep'
    texts = (text.format(k=3), text.format(k=3).replace("Keep it", "As it is"), text.format(k=2))
    digests = [value(each, names).second.identity().digest for each in texts]
    assert digests[0] == digests[1] != digests[2]


def test_ordinary_errors_of_ordinary_code_stay_what_they_are(names):
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        value("1 / 0\nbook.lexical(5)", names)


def test_what_is_no_pipeline_is_said(names):
    with pytest.raises(CellError, match="must end with a pipeline, this one ends with a int; write for example"):
        cell("3", names)
    with pytest.raises(CellError, match="unknown name of questions 'question'; did you mean 'questions'"):
        cell("book.lexical(5)", names, on="question")
    with pytest.raises(CellError, match="questions must be texts, Query objects, a DataFrame or a path, got a Coll"):
        cell("book.lexical(5)", names, on="book")
    with pytest.raises(BadValueError, match="--top needs 1 or more, got 0"):
        CellOptions(top=0)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "x = 1\nCollection('bok').lexical(3) % 3",
            [
                "the collection 'bok' is empty; did you mean 'book'?",
                "  line 2: Collection('bok').lexical(3) % 3",
                " " * 22 + "^",
            ],
        ),
        (
            "x = 1\nbook.lexical(3)\n>> rerank(\n    model='no/model')",
            ["the model 'no/model' is neither a folder nor in", "  line 4:     model='no/model')", " " * 21 + "^"],
        ),
        (
            "x = 1\n(book\n.dense(3))",
            ["the collection 'book' was built without an encoder", "  line 2: (book", "           ^"],
        ),
    ],
)
def test_a_mistake_found_while_running_has_a_caret_too(source, shown, names, book, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(Path(book.info().path).parents[1]))
    with pytest.raises(CellError, match=r"\w") as failed:
        cell(source, names, on="questions")
    rendered = failed.value._render_traceback_()
    assert shown[0] in rendered[0]  # behind the operator that met it
    assert rendered[1:] == shown[1:]


def test_a_run_is_shown_with_its_text_escaped(book):
    begun = Session().begin(book.lexical(5), [sage.Query("q", "lock <script>")], CellOptions(), "")
    assert begun.kept.wait(60)
    view = RunView(begun, 1)
    assert "<script>" not in view._repr_html_()
    assert "<mark>lock</mark> &lt;b&gt;" in view._repr_html_()
    assert "1. lock" in repr(view)


def test_a_run_shows_answers_and_what_was_done_without(book):
    def web(text):
        raise ConnectionError("refused")

    pipe = sage.multi_source({"book": book.lexical(5), "web": web}) >> sage.answer()
    begun = Session().begin(pipe, [sage.Query("q", "who holds a lock?")], CellOptions(), "")
    assert begun.kept.wait(60)
    text, html = repr(RunView(begun, 1)), RunView(begun, 1)._repr_html_()
    assert "a thread holds a lock <b> [1]" in text
    assert "sage-answer" in html
    for shown in (text, html):
        assert "missing: web" in shown
        assert "1 of 1 questions were served without a part, the first: " in shown


@pytest.fixture(scope="module")
def shell():
    config = Config()
    config.HistoryAccessor.enabled = False
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    load_ipython_extension(shell)
    yield shell
    InteractiveShell.clear_instance()


def test_the_magic_in_a_shell(shell, names, book):
    shell.push(dict(names))
    assert shell.run_cell("%%sage best\nbook.lexical(5)\n>> rerank(k=3)").result is None
    assert shell.user_ns["best"] == book.lexical(5) >> sage.rerank(3)
    with capture_output() as seen:
        shell.run_cell("%%sage answers --on questions --top 1\nbook.lexical(5)")
    assert "answers: 2 of 2 questions" in seen.outputs[-1].data["text/plain"]
    assert len(shell.user_ns["answers"]) == 2
    assert shell.run_cell('%sage "a window"').result.hits[0].document.id == "x"


def test_an_error_in_a_shell_is_short_and_the_trace_is_kept(shell, names):
    shell.push(dict(names))
    with capture_output() as seen:
        shell.run_cell("%%sage\nbook.lexical(k=0)")
    assert seen.stdout.splitlines()[0] == "lexical() needs k, a whole number of 1 or more, got 0"
    assert len((seen.stdout + seen.stderr).splitlines()) == 3
    with capture_output() as seen:
        shell.run_cell("%sage trace")
    assert "Traceback" in seen.stdout


def test_status_without_a_cluster_is_a_sentence(shell, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed.getsockname()[1]}")
        with capture_output() as seen:
            shell.run_cell("%sage status")
    (line,) = (seen.stdout + seen.stderr).splitlines()
    assert line.startswith("ClusterError: there is no Ray cluster at ")
    assert line.endswith("start one with `ray start --head`, or leave address out")


def test_a_bare_line_names_what_can_be_asked(shell):
    with capture_output() as seen:
        shell.run_cell("%sage")
    assert 'write %sage "a question", or %sage with one of status, runs, plan' in seen.stdout + seen.stderr


def test_the_caches_limit_holds_for_whatever_opens_it(shell, monkeypatch):
    monkeypatch.setenv("SAGE_CACHE_GIB", "2")
    shell.run_line_magic("config", "Sage.cache_gib = 0.5")
    assert Cell.at_home("elsewhere").cache.limit == 2**29
    assert shell.magics_manager.magics["cell"]["sage"].__self__.session.cache.limit == 2**29
    for wrong in ("much", "inf", "0"):
        monkeypatch.setenv("SAGE_CACHE_GIB", wrong)
        with pytest.raises(BadValueError, match=f"SAGE_CACHE_GIB must be a number of GiB above 0, got '{wrong}'"):
            Cell.at_home("elsewhere")
