"""Whatever a document says is text in a real browser, in every display and every widget: nothing of it runs."""

from __future__ import annotations

import json

from sage_nb.records.markup import harmless
from sage_nb.records.surrogates import encodable
from tests.hostile import STRINGS

TOLD = {name: encodable(text) for name, text in STRINGS.items() if len(text) < 1_000}
PREPARE = f"""
import json, sage_nb as sage
from IPython.display import display
strings = [*json.loads({json.dumps(json.dumps(TOLD))}).values(), "x" * 100_000, "<b>" + "word & " * 14_000]
documents = [sage.Document(f"d{{n}}", text, title=text[:80], source=text[:80], meta={{"of": text[:80]}})
             for n, text in enumerate(strings)]
def web(text):
    return documents
pipe = sage.multi_source({{"web": web}}, near=None)
asked = [sage.Query(f"q{{n}}", text[:200]) for n, text in enumerate(strings)]
result = pipe.search("plain")
"""
STATIC = """
sage_result = result.top(20)
answered = [sage.Result(each, result.hits[n:n + 1], (each.text,), missing=(each.text,),
            answer=sage.Answer(each.text + " [1]", (sage.Citation("d", 0, 3, 1, each.text),), ((0, 3),), each.text))
            for n, each in enumerate(asked)]
display(sage_result, *answered, pipe.run(asked))
"""
EXPLORER = """
explorer = sage.Explorer(pipe, questions=asked, qrels="strings.tsv")
explorer.ask(strings[0])
explorer.show("d0")
explorer
"""
CHAT = """
chat = sage.ChatView(sage.chat(pipe))
for text in strings[:-2]:
    chat.ask(text)
chat
"""
EXPERIMENT = """
qrels = {each.id: {"d0": 1} for each in asked}
view = sage.ExperimentView(sage.experiment({strings[0]: pipe, strings[1]: pipe % 3}, asked, qrels, measures=["RR"]))
view.question = "q0"
view
"""
DASHBOARD = """
def broken(text):
    raise ValueError(text)
env = sage.LocalEnvironment("strings")
env.from_collection(strings).map(broken, name=strings[0]).for_each(len)
job = env.submit()
job.wait()
board = sage.Dashboard(job)
board.on_open(board.letters["shown"][0]["key"])
board
"""
BUILDER = """
named = [sage.Collection(text[:60].replace("/", "").replace("\\0", ""), encoder=None) for text in strings[:8]]
for each in named:
    each.add([sage.Document("d", "A lock.")], progress=False)
sage.PipelineBuilder(named[0].lexical(k=3) + named[1].lexical(k=3))
"""
TRIED = """() => { for (const each of document.querySelectorAll('.jp-OutputArea-output *'))
    for (const kind of ['mouseover', 'mouseenter', 'focus', 'toggle', 'load', 'error'])
        each.dispatchEvent(new Event(kind, {bubbles: true})); }"""
ACTIVE = "script, iframe, img, object, embed, base, form[action], a[href^='javascript' i], mjx-container, [onerror]"


def flat(text):
    return "".join(text.split())


def test_nothing_in_a_document_runs_in_any_display(notebook):
    cells = [STATIC, EXPLORER, CHAT, EXPERIMENT, DASHBOARD, BUILDER]
    book = notebook(PREPARE, *cells, height=1200)
    book.run_all()
    widgets = [".sage-explorer .opened", ".sage-chat .said", ".sage-experiment", ".sage-dashboard", ".sage-builder"]
    for number, part in enumerate(widgets, start=2):
        book.output(number).locator(part).first.wait_for(timeout=60_000)
    explorer = book.output(2).locator(".sage-explorer")
    for number in range(len(TOLD)):
        explorer.locator(f".stage[data-column='0'] .hit[data-doc='{number}']").click()
        explorer.locator(".opened .whole").wait_for(timeout=30_000)
    book.page.evaluate(TRIED)
    book.page.wait_for_timeout(500)  # what would run by then, has
    assert book.page.evaluate("window.pwned") is None
    for number, _ in enumerate(cells, start=1):
        output = book.output(number)
        assert output.is_visible()
        assert output.locator(ACTIVE).count() == 0
    for number in (1, 2, 3):
        shown = flat(book.output(number).evaluate("each => each.textContent"))
        lost = {name: text for name, text in TOLD.items() if flat(harmless(text))[:60] not in shown}
        assert lost == {}, number


def test_a_document_that_did_run_would_be_noticed(notebook):
    book = notebook(f"from IPython.display import HTML; HTML({STRINGS['onerror']!r})")
    book.run_all()
    book.page.wait_for_function("() => window.pwned === 1", timeout=30_000)
    assert book.output(0).locator(ACTIVE).count() == 1
    book.errors.clear()  # there is no such picture
