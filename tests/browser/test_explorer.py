"""The Explorer in a real browser: asked, turned, filtered, opened, marked, and by keys alone."""

from __future__ import annotations

import pytest

from sage_nb.records.trec import read_qrels

PREPARE = """
import sage_nb as sage
texts = {
    "Locks": ("guide", 2021, "A lock lets one thread in at a time. Other threads wait until the lock is released. "
              "A thread that holds a lock and waits for another one may wait for ever: that is a deadlock. "
              "Taking locks in one order everywhere prevents it."),
    "Reentrant locks": ("reference", 2022, "An RLock may be acquired by the same thread several times. "
                        "It must be released as often. The thread that holds it is its owner."),
    "Conditions": ("reference", 2023, "A condition lets threads wait for a state. It always holds a lock: wait() "
                   "releases it, blocks until notify() is called, and takes the lock again before it returns."),
    "Queues": ("guide", 2023, "A queue hands items from one thread to another without a lock of one's own. put() waits "
               "while the queue is full, get() waits while it is empty."),
    "Barriers": ("reference", 2022, "A barrier makes a number of threads wait for each other. All are let go at once."),
    "Semaphores": ("reference", 2021, "A semaphore lets a number of threads in. acquire() waits while there is no room "
                   "left; a lock is a semaphore for one."),
    "Events": ("guide", 2022, "An event is a flag that one thread sets and that others wait for."),
    "Processes": ("guide", 2024, "Processes share no memory. They have locks and queues of their own."),
    "انتظار": ("guide", 2024, "القفل يسمح لخيط واحد بالدخول، والخيوط الأخرى تنتظر حتى يتحرر lock."),
}
book = sage.Collection("threads")
book.add([sage.Document(title.lower().replace(" ", "-"), text, title=title, source=source, meta={"year": year})
          for title, (source, year, text) in texts.items()], chunk=sage.chunk(30, overlap=0), progress=False)
pipe = book.hybrid(k=12) >> sage.rerank(k=8)
examples = ["How do threads wait for a lock?", "What is a deadlock?"]
"""
SHOW = "view = sage.Explorer(pipe, questions=examples, qrels='judged.tsv'); view"


def explorer(book, cell=1):
    """What the cell shows, once it is there."""
    view = book.output(cell).locator(".sage-explorer")
    view.wait_for(timeout=60_000)
    return view


def settled(view, text):
    """Wait until the status says so."""
    view.locator(".status").filter(has_text=text).wait_for(timeout=120_000)


def in_theme(book, theme):
    """Show the page so."""
    name = f"JupyterLab {theme.title()}"
    book.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
    book.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached", timeout=30_000)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 600)])
def test_a_question_is_followed_through_its_stages(notebook, shot, theme, width):
    book = notebook(PREPARE, SHOW, width=width, height=1700)
    book.page.evaluate("jupyterapp.shell.collapseLeft()")
    book.run_all()
    in_theme(book, theme)
    view = explorer(book)
    view.get_by_role("button", name="How do threads wait for a lock?").click()
    settled(view, "hits in")
    assert view.locator(".stage .head b").all_inner_texts() == ["lexical", "dense", "fused by rrf", "reranked"]
    assert view.locator("path.move").count() > 10
    assert "lock" in view.locator(".stage").first.locator("mark").all_inner_texts()
    view.locator(".stage").first.locator(".hit").nth(1).click()
    view.locator(".opened .reason").first.wait_for(timeout=60_000)
    why = view.locator(".why").inner_text()
    assert "1 / (60 + 2)" in why
    assert "idf" in why
    shot(view)
    in_theme(book, "light")  # the server remembers it, for the tests that follow


def test_a_slider_a_filter_and_a_mark(notebook):
    book = notebook(PREPARE, SHOW, height=1300)
    book.run_all()
    view = explorer(book)
    view.get_by_label("your question").fill("What is a deadlock?")
    view.get_by_role("button", name="Ask").click()
    settled(view, "8 hits in")
    slider = view.get_by_label("k of rerank")
    slider.evaluate("each => { each.value = 3; each.dispatchEvent(new Event('input', {bubbles: true})); }")
    settled(view, "3 hits in")
    assert "computed rerank" in view.locator(".status").inner_text()
    view.get_by_label("source", exact=True).select_option("guide")
    view.locator(".written").filter(has_text="where(source='guide')").wait_for(timeout=60_000)
    view.locator(".stage").last.locator(".hit").first.click()
    view.get_by_role("button", name="✓ Relevant").click()
    view.locator("button[aria-pressed='true']").wait_for(timeout=30_000)
    assert view.locator(".mark-of").filter(has_text="✓").count() >= 2
    assert list(book.value("view.qrels").values()) == [{book.value("view.trace.result.hits[0].document.id"): 1}]
    assert book.value("sage.read_qrels('judged.tsv') == view.qrels")
    assert book.value("[query.text for query in sage.read_queries('judged.queries.jsonl')]") == ["What is a deadlock?"]


def test_keys_alone_do_it_all(notebook, lab):
    book = notebook(PREPARE, SHOW.replace("judged", "keyed"), height=1300)
    book.run_all()
    view, keys = explorer(book), book.page.keyboard
    view.get_by_label("your question").focus()
    keys.type("What is a deadlock?")
    keys.press("Enter")
    settled(view, "8 hits in")
    for _ in range(40):
        if view.locator(".hit:focus").count():
            break
        keys.press("Tab")
    assert view.locator(".stage[data-column='0'] .hit:focus").count() == 1
    keys.press("ArrowDown")  # there is one hit only: the focus stays
    for _ in range(3):
        keys.press("ArrowRight")
    keys.press("ArrowDown")
    assert view.locator(".stage[data-column='3'] .hit:focus").get_attribute("data-rank") == "2"
    keys.press("Enter")
    view.locator(".opened .reason").first.wait_for(timeout=60_000)
    keys.press("n")
    view.locator(".mark-of").filter(has_text="✕").first.wait_for(timeout=30_000)
    assert [list(grades.values()) for grades in read_qrels(lab.folder / "keyed.tsv").values()] == [[0]]


def test_a_thousand_hits_do_not_freeze_the_page(notebook):
    many = """
many = sage.Collection("many", encoder=None)
many.add([sage.Document(f"d{n}", f"A lock and number {n}. " + "word " * (n % 17)) for n in range(1100)], progress=False)
wide = sage.Explorer(many.lexical(k=1000) + many.lexical(k=1000, b=0.1), qrels="wide.tsv")
wide.ask("lock")
wide
"""
    book = notebook("import sage_nb as sage", many)
    book.run_all()
    view = explorer(book)
    assert view.locator(".hit").count() == 150
    more = view.get_by_role("button", name="Show more")
    assert "50 of 1,000" in more.inner_text()
    more.click()
    view.locator(".stage").last.locator(".hit").nth(99).wait_for(timeout=30_000)
    assert view.locator(".hit").count() == 300
    longest = book.page.evaluate(
        """async () => { let longest = 0, last = performance.now();
        for (let n = 0; n < 20; n++) { await new Promise(requestAnimationFrame);
            longest = Math.max(longest, performance.now() - last); last = performance.now(); }
        return longest; }"""
    )
    assert longest < 2_000  # milliseconds that a frame took


def test_what_goes_wrong_is_one_sentence(notebook):
    book = notebook(PREPARE, SHOW)
    book.run_all()
    view = explorer(book)
    view.get_by_label("your question").fill("What is a deadlock?")
    view.get_by_role("button", name="Ask").click()
    settled(view, "8 hits in")
    for name in ("weight of lexical", "weight of dense"):
        slider = view.get_by_label(name)
        slider.evaluate("each => { each.value = 0; each.dispatchEvent(new Event('input', {bubbles: true})); }")
        book.page.wait_for_timeout(400)
    view.locator(".wrong").filter(has_text="not all 0").wait_for(timeout=30_000)
    assert view.locator(".hit").count()
