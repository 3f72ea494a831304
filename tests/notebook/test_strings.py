"""Whatever a document, a question or a name says, every display without JavaScript shows it as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

import sage_nb as sage
from sage_nb.evaluation.diff import diff
from sage_nb.notebook.display import RunView
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import Session
from sage_nb.notebook.tables import cache_table, runs_table
from sage_nb.records import drawing, markup
from sage_nb.records.surrogates import encodable
from sage_nb.retrieval.plan import planned
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.cellcache.store import Entry
from tests.hostile import STRINGS

TAGS = {
    *("b", "br", "div", "details", "h3", "li", "mark", "ol", "p", "pre", "progress", "section", "span", "style"),
    *("code", "i", "small", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"),
    *("circle", "defs", "g", "line", "marker", "path", "polygon", "polyline", "rect", "svg", "text", "title"),
    *("button", "caption", "figcaption", "figure"),
}
LONGEST = 18  # characters of a text that every display shows of it, at least


class Shown(HTMLParser):
    """What a browser would make of a page: its tags, its attributes, and the text that one sees or is told."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.said, self.styles, self.formulas = [], [], [], [], []
        self._in_style, self._plain = False, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._in_style = tag == "style"
        if tag not in ("br", "img"):
            is_plain = tag in ("style", "pre", "code") or "mathjax_ignore" in (dict(attrs).get("class") or "")
            self._plain.append(is_plain or bool(self._plain and self._plain[-1]))

    def handle_endtag(self, tag):
        self._in_style = False
        if self._plain:
            self._plain.pop()

    def handle_data(self, data):
        (self.styles if self._in_style else self.said).append(data)
        if "$" in data and not (self._plain and self._plain[-1]):
            self.formulas.append(data)

    def handle_comment(self, data):
        self.tags.append("comment")

    @property
    def text(self):
        """What is read, and what attributes tell."""
        return flat("".join(self.said) + " " + " ".join(value or "" for _, value in self.attributes))


def flat(text):
    """Without white space, which some displays put elsewhere."""
    return "".join(text.split())


UNSEEN = re.compile("[\\x00-\\x08\\x0e-\\x1f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def faults(html, string):
    """What is markup and not ours, what no kernel can send, and whether the string is there to be read."""
    shown = Shown(html)
    found = [f"a tag {tag}" for tag in shown.tags if tag not in TAGS]
    found += [
        f"an attribute {name}={value}"
        for name, value in shown.attributes
        if name.startswith("on") or name in ("href", "src", "srcdoc") or (name == "style" and "fixed" in (value or ""))
    ]
    found += [f"a style {style}" for style in shown.styles if "display: none" in style]
    found += [f"a formula {formula:.80}" for formula in shown.formulas]
    found += [f"a character {each!r}" for each in UNSEEN.findall(html)]
    if not any(flat(markup.harmless(each))[:LONGEST] in shown.text for each in written(string)):
        found.append(f"it is not there: {shown.text[:1_000]}")
    return found


def written(string):
    """The string as displays write it: itself, on one line, in an expression, as the name of a folder."""
    named = folder_name(string)
    return string, " ".join(string.split()), repr(string)[1:-1], named, repr(named)[1:-1]


def folder_name(string):
    return string[:60].replace("/", "").replace("\0", "")


def found(string):
    """A pipeline that finds that string, as text, title, source and value, whatever is asked."""
    documents = [
        sage.Document(f"d{n}", string, title=string[:200] * (n > 1), source=string[:200], meta={"of": string[:200]})
        for n in range(1, 4)
    ]

    def web(text):
        return documents

    return sage.multi_source({"web": web}, near=None)


def broken(value):
    raise ValueError(value)


def displays(string, folder):
    """Every display that takes such a string, by name: its HTML."""
    yield from of_results(string)
    if encodable(string) == string:  # what a cache, a folder and a dead letter can hold
        yield from of_cells(string, folder)
        yield from of_jobs(string)


def of_results(string):
    pipe, asked = found(string), [sage.Query("q1", string), sage.Query("q2", "plain")]
    run = pipe.run(asked)
    result = run.results[0]
    answer = sage.Answer(
        f"{string[:400]} [1] [9]", (sage.Citation("d1", 0, 5, 1, string[:300]),), ((0, 5),), by=string[:80]
    )
    answered = msgspec.structs.replace(result, notes=(string[:300],), missing=(string[:300],), answer=answer)
    yield "result", result._repr_html_()
    yield "answer", answered._repr_html_()
    yield "run", run._repr_html_()
    yield "table", markup.table([string[:90]], [[string]], caption=string)
    boxes = [drawing.Box("a", string[:200], string[:90]), drawing.Box("b", "b")]
    yield "drawing", drawing.drawing(boxes, [drawing.Arrow("a", "b", string[:90])], string[:90])
    chat = sage.chat(Applied(lambda asked: msgspec.structs.replace(answered, query=asked.query)))
    chat.ask(string)
    yield "chat", chat._repr_html_()
    view = sage.ChatView(sage.chat(pipe))
    view.ask(string)
    yield "chat view", view.html()
    pipes = {"own": pipe, string[:60]: pipe % 1}
    view = sage.ExperimentView(sage.experiment(pipes, asked, {"q1": {"d1": 1}, "q2": {"d1": 1}}, measures=["RR"]))
    yield "experiment", view.html()


def of_cells(string, folder):
    asked = [sage.Query("q1", string), sage.Query("q2", "plain")]
    pipe = sage.multi_source({string[:60]: found(string)}, near=None)
    session = Session()
    begun = [session.begin(each, asked, CellOptions(name="cell"), string) for each in (pipe, pipe % 1)]
    for each in begun:
        assert each.kept.wait(60)
    yield "cell", RunView(begun[0])._repr_html_()
    yield "differences", diff(begun[0].run, begun[1].run, names=(string[:40], "b"))._repr_html_()
    session.cache.put([Entry("key", b"value", string[:200], string[:200])])
    yield "cache", cache_table(session.cache.facts(), [string[:200]])._repr_html_()
    named = sage.Collection(folder / folder_name(string), encoder=None)
    named.add([sage.Document("d", string.replace("\0", " ") + " lock")], progress=False)
    yield "collection", named.info()._repr_html_()
    yield "builder", sage.PipelineBuilder(named.lexical(k=2) % 1, names={}).html()
    yield "runs", runs_table([msgspec.structs.replace(session.history.runs()[0], pipeline=string[:70])])._repr_html_()
    yield "plan", planned(pipe, asked, sage.Cell("cell", session.cache), None)._repr_html_()
    explorer = sage.Explorer(pipe, qrels=folder / "judged.tsv", cell=sage.Cell("explore", session.cache))
    explorer.ask(string)
    yield "explorer", explorer.html()
    session.cache.close()


def of_jobs(string):
    env = sage.LocalEnvironment("job")
    env.from_collection([string], name="texts").map(broken, name=string[:60]).for_each(len)
    yield "graph", env.graph()._repr_html_()
    job = env.submit()
    job.wait()
    yield "job", job._repr_html_()
    board = sage.Dashboard(job)
    board.on_open(board.letters["shown"][0]["key"])
    yield "dashboard", board.html()
    board.close()


@pytest.mark.parametrize("name", STRINGS)
def test_every_display_shows_it_as_text(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    wrong = {display: faults(html, STRINGS[name]) for display, html in displays(STRINGS[name], tmp_path)}
    assert {display: each for display, each in wrong.items() if each} == {}


@pytest.mark.parametrize("name", ["script", "onerror", "closing", "style", "frame", "turned", "surrogate"])
def test_a_display_that_does_not_escape_is_noticed(name):
    assert faults(f"<div>{STRINGS[name]}</div>", STRINGS[name])
    assert faults("<div>nothing</div>", STRINGS[name]) == ["it is not there: nothing"]


@pytest.mark.parametrize("name", STRINGS)
def test_what_goes_to_a_browser_can_be_sent_and_turns_nothing_around(name, tmp_path):
    string = STRINGS[name]
    chat = sage.ChatView(sage.chat(Applied(lambda asked: answered_with(asked, string))))
    chat.ask("plain")
    assert sent(chat)["turns"][0]["passages"]["1"]["text"] == markup.harmless(string)
    cache = sage.CellCache(tmp_path / "cache")
    kept = encodable(string)
    explorer = sage.Explorer(found(kept), qrels=tmp_path / "judged.tsv", cell=sage.Cell("explore", cache))
    explorer.ask(kept)
    explorer.show("d1")
    state = sent(explorer)
    assert state["opened"]["text"] == markup.harmless(kept)
    assert len(json.dumps(state["columns"])) < 20_000  # a list holds the beginning of each
    cache.close()


def answered_with(asked, string):
    hit = sage.Hit(sage.Document("d1", string, title=string[:90], source=string[:90]), 1, 1.0)
    return sage.Result(asked.query, (hit,), answer=sage.Answer(f"{string[:90]} [1]", (sage.Citation("d1", 0, 2, 1),)))


def sent(widget):
    """Its state as it goes to the browser."""
    state = {name: value for name, value in widget.get_state().items() if not name.startswith("_") and name != "layout"}
    message = json.dumps(state, ensure_ascii=False, default=str)
    assert message.encode("utf8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", message)
    return state
