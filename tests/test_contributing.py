"""The worked examples of CONTRIBUTING: short, within the house rules, and they work."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sage_nb
from sage_nb.notebook.widgets import drawn
from sage_nb.records.values import Document, Hit, Query, Result
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.yaml import STAGES
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.sink import CollectSink

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
HOMES = {
    "A retriever": "sage_nb/retrieval",
    "A fusion rule": "sage_nb/retrieval",
    "A widget": "sage_nb/notebook/widgets",
}


def blocks(title, language="python"):
    """The code below a heading."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def made(monkeypatch):
    """Gives the names that the code below a heading defines, as a module of its own."""

    def make(title):
        module = ModuleType("example")
        monkeypatch.setitem(sys.modules, "example", module)
        exec(blocks(title)[0], module.__dict__)  # noqa: S102  our own text
        return vars(module)

    return make


@pytest.fixture(autouse=True)
def _registries_as_they_were(monkeypatch):
    monkeypatch.setattr("sage_nb.retrieval.fusion.FUSIONS", FUSIONS | {})
    monkeypatch.setattr("sage_nb.retrieval.yaml.STAGES", STAGES | {})


@pytest.mark.parametrize("title", HOMES)
def test_an_example_is_under_40_lines_of_code(title):
    code = [line for language in ("python", "js") for block in blocks(title, language) for line in block.splitlines()]
    assert 5 < len([line for line in code if line]) < 40


@pytest.mark.parametrize("command", ["check", "format --check"])
@pytest.mark.parametrize("title", HOMES)
def test_an_example_keeps_the_house_rules(title, command):
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--stdin-filename", f"{HOMES[title]}/example.py", "-"]
    done = subprocess.run(ruff, input=blocks(title)[0], text=True, capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_retriever_finds_fuses_and_is_written_as_yaml(made, tmp_path):
    names = made("A retriever")
    book = sage_nb.Collection(tmp_path / "book", encoder=None)
    titles = {"a": "Sliding windows", "b": "Barriers", "c": "Windows"}
    book.add([Document(n, t, t, source="x" if n < "c" else "y") for n, t in titles.items()], progress=False)
    pipe = names["ByTitle"](book.source, k=2)
    assert [(hit.document.id, hit.score) for hit in pipe.search("sliding windows")] == [("a", 1.0), ("c", 0.5)]
    kept = names["ByTitle"](book.where(source="y").source)
    assert [hit.document.id for hit in kept.search("sliding windows")] == ["c"]
    assert [hit.document.id for hit in (pipe + book.lexical(k=1)).search("barriers")] == ["b"]
    assert sage_nb.Pipeline.from_yaml(pipe.to_yaml()) == pipe


def test_the_fusion_rule_gives_what_was_worked_out_by_hand(made):
    names = made("A fusion rule")
    found = doctest.DocTestFinder().find(names["comb_mnz"], "comb_mnz", globs=names)
    assert [doctest.DocTestRunner().run(each).failed for each in found] == [0]
    assert sage_nb.fuse(sage_nb.rm3() >> len, len, by="mnz").rule == "mnz"


def test_the_widget_shows_hears_and_is_text_elsewhere(made, tmp_path, monkeypatch):
    for part in ("js", "css"):
        shutil.copytree(drawn.HERE / part, tmp_path / part)
    (tmp_path / "js" / "sources.js").write_text(blocks("A widget", "js")[0])
    (tmp_path / "css" / "sources.css").write_text("")
    monkeypatch.setattr(drawn, "HERE", tmp_path)
    hits = tuple(Hit(Document(n, "", source=f"<{n[0]}>"), 1, 1.0) for n in ("a1", "a2", "b1"))
    view = made("A widget")["Sources"](Result(Query("q", "x"), hits))
    view._told(view, {"do": "pick", "source": "<b>"}, [])
    assert (view.picked, view.text()) == ("<b>", "<a> 2, <b> 1")
    assert "&lt;a&gt;" in view.html()
    assert "render" in view._esm


def test_the_streaming_operator_gives_the_first_of_each_key():
    names = {"sage": sage_nb}
    exec(blocks("A streaming operator")[0], names)  # noqa: S102  our own text
    env, found = LocalEnvironment("first"), []
    env.from_collection(["a1", "b1", "a2"]).key_by(lambda word: word[0]).process(names["Dedup"]()).sink(
        CollectSink(found)
    )
    assert (env.submit().wait(), found) == ("finished", ["a1", "b1"])
