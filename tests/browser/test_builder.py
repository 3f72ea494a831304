"""The builder in a real JupyterLab: chosen by hand, its cell put below and run."""

from __future__ import annotations

import re

import pytest

PREPARE = """
%load_ext sage_nb
import sage_nb as sage
pages = [sage.Document("lock", "A lock lets one thread in. Others wait."),
         sage.Document("queue", "A queue hands items from one thread to another.")]
book, papers = sage.Collection("threads"), sage.Collection("articles", encoder=None)
for each in (book, papers):
    each.add(pages, progress=False)
"""
OPENED = """
def keep(result):
    return result
pipe = (0.3 * book.hybrid(k=20) + papers.where(source="x").lexical(k=9, k1=0.9)) >> keep >> sage.rerank(k=3)
again = sage.PipelineBuilder(pipe >> sage.answer()); again
"""


def wait_for(view, text):
    view.get_by_label("the cell").filter(has_text=text).wait_for(timeout=20_000)


def test_a_pipeline_is_chosen_and_its_cell_is_put_below_and_runs(notebook, shot):
    book = notebook(PREPARE, "builder = sage.PipelineBuilder(called='found'); builder", height=1700)
    book.run_all()
    view = book.output(1).locator(".sage-builder")
    wait_for(view, "book.hybrid(k=100)")
    view.get_by_label("k", exact=True).first.fill("20")
    wait_for(view, "book.hybrid(k=20)")
    view.get_by_role("button", name="search something else, too").click()
    wait_for(view, "book.hybrid(k=20) + papers.lexical(k=100)")
    view.get_by_label("weight").nth(1).fill("0.5")
    wait_for(view, "book.hybrid(k=20) + 0.5 * papers.lexical(k=100)")
    view.get_by_label("add a step").last.select_option("rerank")
    wait_for(view, "rerank(k=10)")
    view.get_by_label("step 2: rerank").get_by_label("k", exact=True).fill("0")
    view.get_by_role("alert").filter(has_text="rerank() needs k, a whole number of 1 or more, got 0").wait_for()
    assert view.get_by_role("button", name="Insert below").is_disabled()
    view.get_by_label("step 2: rerank").get_by_label("k", exact=True).fill("2")
    wait_for(view, "rerank(k=2)")
    assert view.locator(".sage-graph rect").count() == 8
    shot(view)
    view.get_by_role("button", name="Insert below").click()
    written = book.page.locator(".jp-Notebook .jp-Cell").nth(2)
    written.locator(".cm-content").filter(has_text="%%sage found").wait_for()
    book.run(2)
    assert book.value("found == builder.pipeline") is True
    assert book.value("repr(found)").startswith("(Collection('threads').hybrid(k=20) + 0.5 * Collection('articles')")


@pytest.mark.parametrize(("theme", "width"), [("Dark", 1280), ("Light", 600)])
def test_a_pipeline_is_opened_as_it_is_and_changed_by_keyboard(notebook, shot, theme, width):
    book = notebook(PREPARE, OPENED, width=width, height=2000)
    book.page.evaluate("jupyterapp.shell.collapseLeft()")
    book.theme(theme)
    book.run_all()
    view = book.output(1).locator(".sage-builder")
    wait_for(view, ">> keep")
    assert "kept as it is" in view.get_by_label("step 2: kept").inner_text()
    assert view.get_by_label("k1").is_visible(), "what is not as by default is shown"
    assert not view.get_by_label("variant").is_visible()
    view.get_by_label("branch 2").get_by_role("button", name="more").press("Enter")
    view.get_by_label("variant").select_option("plus")
    wait_for(view, "variant='plus'")
    view.get_by_label("step 3: rerank").get_by_role("button", name="move up").press("Enter")
    wait_for(view, "rerank(k=3)\n>> keep")
    view.get_by_role("button", name="Copy").press("Enter")
    view.get_by_text(re.compile("^(Copied|Selected)")).wait_for()
    shot(view)
    assert book.value("again.wrong") == ""
    wide = book.page.evaluate("document.querySelector('.sage-builder').scrollWidth")
    assert wide <= book.page.evaluate("document.querySelector('.sage-builder').clientWidth")
