"""The builder without a browser: what it shows, what a click does, what it gives."""

from __future__ import annotations

import json

import pytest
from IPython.core.interactiveshell import InteractiveShell

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.notebook.lines import answer
from sage_nb.notebook.magic import load_ipython_extension
from sage_nb.notebook.session import Session


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A notebook with a collection that has a name, and another one at home."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    for name in ("book", "papers"):
        sage.Collection(name, encoder=None).add([sage.Document("a", "a lock <b>")], progress=False)
    return {"book": sage.Collection("book"), "recent": sage.Collection("book").where(year=2020), "_": 3}


def test_collections_of_the_notebook_and_of_the_home_are_offered(names):
    builder = sage.PipelineBuilder(names=names)
    assert builder.sources == ["book", "recent", "papers"]
    assert builder.cell == "%%sage pipeline\nbook.lexical(k=100)"
    assert builder.pipeline == names["book"].lexical(100)
    names["other"] = sage.Collection("other", encoder=None)
    builder.on_edit("add", kind="rerank")
    assert builder.sources == ["book", "recent", "papers", "other"], "one that is made later, too"


def test_without_a_collection_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    builder = sage.PipelineBuilder(names={})
    assert (builder.chain, builder.cell) == ([], "")
    assert builder.html() == (
        "<div class='sage-builder mathjax_ignore'><pre></pre>"
        "<div>the pipeline has no steps yet; add a search</div></div>"
    )
    builder.on_edit("add", kind="hybrid")
    assert builder.wrong == "there is no collection to search; make one with sage.Collection('name').add(…)"
    with pytest.raises(BadValueError, match="there is no collection to search"):
        _ = builder.pipeline


def test_its_cell_makes_its_pipeline_in_a_notebook(names, monkeypatch):
    shell = InteractiveShell()
    load_ipython_extension(shell)
    shell.user_ns.update(names)
    builder = sage.PipelineBuilder(called="found", names=shell.user_ns)
    builder.on_edit("search_too", path=[0])
    builder.on_edit("add", kind="answer")
    shell.run_cell(builder.cell).raise_error()
    assert shell.user_ns["found"] == builder.pipeline
    monkeypatch.setattr("sage_nb.notebook.widgets.builder.get_ipython", lambda: shell)
    builder.insert()
    assert shell.payload_manager.read_payload() or shell.rl_next_input == builder.cell


def test_a_mistake_is_said_and_the_pipeline_stays_what_it_was(names):
    builder = sage.PipelineBuilder(names["book"].lexical(5) >> sage.rerank(3), names=names)
    before = builder.cell
    for change, sentence in [
        (("set", {"path": [1], "name": "k", "given": "0"}), "rerank() needs k, a whole number of 1 or more, got 0"),
        (("set", {"path": [0], "name": "k", "given": "x"}), "k must be a whole number, got 'x'"),
        (("remove", {"path": [7]}), "that step is not there any more"),
    ]:
        builder.on_edit(change[0], **change[1])
        assert builder.wrong == sentence
        assert (builder.cell, builder.pipeline) == (before, names["book"].lexical(5) >> sage.rerank(3))
    with pytest.raises(BadValueError, match="that step is not there any more"):
        builder.insert()
    builder.on_edit("set", path=[1], name="k", given="4")
    assert (builder.wrong, builder.cell) == ("", "%%sage pipeline\nbook.lexical(k=5) >> rerank(k=4)")


def test_the_cell_binds_a_python_name(names):
    builder = sage.PipelineBuilder(names=names)
    builder.on_call("best")
    assert builder.cell.startswith("%%sage best\n")
    builder.on_call("the best")
    assert builder.wrong == "a pipeline is bound to a Python name, got 'the best'"
    with pytest.raises(BadValueError, match="a pipeline is bound to a Python name, got '1st'"):
        sage.PipelineBuilder(called="1st", names=names)
    with pytest.raises(BadValueError, match="PipelineBuilder opens a pipeline, got a str"):
        sage.PipelineBuilder("book.lexical()", names=names)


def test_what_it_shows_without_javascript_is_escaped_text(names):
    def evil(result):
        return result

    evil.__name__ = "<img src=x onerror=alert(1)>"
    pipe = names["book"].where(title="</pre><script>alert(1)</script>").lexical(3) >> evil
    builder = sage.PipelineBuilder(pipe, names=names)
    assert "no name for <img src=x onerror=alert(1)>" in builder.text()
    assert builder.chain[1]["expression"] == "<img src=x onerror=alert(1)>"
    assert not any(tag in builder.html() for tag in ("<script", "<img"))
    json.dumps(builder.get_state(["chain", "sources", "choices", "graph"]))


def test_the_line_opens_it_on_a_pipeline_of_a_name_or_of_the_last_cell(names):
    session = Session()
    assert answer("build", session, names).cell == "%%sage pipeline\nbook.lexical(k=100)"
    session.stage = names["book"].lexical(3)
    assert answer("build", session, names).pipeline == session.stage
    names["mine"] = session.stage % 2
    assert answer("build mine", session, names).cell == "%%sage mine\nbook.lexical(k=3) % 2"
    for line in ("build book", "build nothing", "build mine mine"):
        with pytest.raises(BadValueError, match=f"and the name of a pipeline, got '{line[6:]}'"):
            answer(line, session, names)
