"""The view of an experiment, in a real browser: sorted, walked by keys, its bars and points pressed, sliders moved."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

PREPARE = """
%load_ext sage_nb
import random
import sage_nb as sage
drawn = random.Random(5)
WORDS = "lock queue thread window barrier stream state key merge split join cache disk node record time".split()
def said(n):  # of the topic n, long or short, with words of others
    words = [WORDS[n : n + 3] if drawn.random() < 0.3 else WORDS for _ in range(drawn.choice([6, 20, 90]))]
    return " ".join(map(drawn.choice, words))
passages = [sage.Document(f"{n % 14}-{n}", said(n % 14), title=f"Passage {n}", source="manual") for n in range(210)]
book = sage.Collection("manual", encoder=None)
book.add(passages, progress=False)
questions = {f"q{n:02}": f"Has a {WORDS[n % 14]} a {drawn.choice(WORDS[n % 14 : n % 14 + 3])}?" for n in range(42)}
qrels = {f"q{n:02}": {each.id: 1 for each in passages[n % 14 :: 14]} for n in range(42)}
"""
COMPARED = """
view = sage.ExperimentView(sage.experiment({
    "first five": book.lexical(k=5),
    "short documents": book.lexical(k=50, b=1.0),
    "term frequency": book.lexical(k=50, k1=8.0, b=0.0),
    "feedback": book.lexical(k=5) >> sage.rm3() >> book.lexical(k=50),
}, questions, qrels, baseline="first five"))
view
"""
SWEPT = """
view = sage.ExperimentView(sage.sweep(lambda b, k1, k: book.lexical(k=k, k1=k1, b=b), questions, qrels,
    b=[0.0, 0.25, 0.5, 0.75, 1.0], k1=[0.5, 1.2, 4.0], k=[3, 50], measures=["RR", "AP"], baseline="b=0.0, k1=0.5, k=3"))
view
"""


@pytest.fixture
def opened(notebook):
    def run(cell, width=1280):
        book = notebook(PREPARE, cell, width=width, height=1900)
        book.run_all()
        view = book.output(1).locator(".sage-experiment")
        view.locator("svg").first.wait_for()
        return book, view

    return run


def chosen_as(name):
    """The name that a cell binds a variant to."""
    return re.sub(r"\W+", "_", name)


def column(view, at):
    return [float(text[:5]) for text in view.locator(f"tbody tr > :nth-child({at})").all_inner_texts()]


def test_the_chosen_pipeline_is_readable_beside_a_widget_that_came_later(notebook):
    book = notebook(PREPARE, COMPARED, "sage.Explorer(book.lexical(k=5))")
    book.run_all()
    book.output(2).locator(".sage-explorer").wait_for()  # it brings the look that all have once more
    chosen = book.output(1).locator(".pick[aria-pressed='true']")
    ink, ground = chosen.evaluate("each => [getComputedStyle(each).color, getComputedStyle(each).backgroundColor]")
    assert ink != ground


def test_the_table_is_sorted_by_any_column_with_the_mouse_and_with_keys(opened, shot):
    book, view = opened(COMPARED)
    head = view.get_by_role("columnheader", name="AP")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending", "the best first"
    assert column(view, 5) == sorted(column(view, 5), reverse=True)
    book.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(view, 5) == sorted(column(view, 5))
    view.get_by_role("columnheader", name="pipeline").get_by_role("button").press("Space")
    assert head.get_attribute("aria-sort") == "none"
    names = view.locator(".pick").all_inner_texts()
    assert names == sorted(names)
    assert view.get_by_role("img", name="better").or_(view.get_by_role("img", name="worse")).count() > 0
    shot(view)


def test_a_bar_opens_its_question_with_both_rankings(opened, shot):
    book, view = opened(COMPARED)
    view.get_by_role("button", name="short documents", exact=True).click()
    bars = view.get_by_role("tabpanel", name="Questions").locator(".mark")
    view.get_by_text("short documents less that of first five").wait_for()
    first = bars.first
    first.focus()
    book.page.keyboard.press("End")
    book.page.keyboard.press("ArrowLeft")
    book.page.keyboard.press("Enter")
    view.locator(".opened").wait_for()
    assert view.locator(".opened section b").all_inner_texts()[0:1] == ["first five"]
    assert view.locator(".opened ol").count() == 2
    assert view.locator(".opened ol").nth(0).locator("li").count() == 5
    assert view.locator(".opened ol").nth(1).locator("li").count() == 10
    assert view.locator(".opened mark").count() > 0
    shot(view)
    view.get_by_role("button", name="More hits").click()
    view.locator(".opened ol").nth(1).locator("li").nth(49).wait_for()
    question = book.value("view.question")
    assert view.locator(f"[data-question={question}][aria-pressed=true]").count() == 1


def test_a_point_of_the_sweep_gives_its_cell(opened, shot):
    book, view = opened(SWEPT)
    marks = view.get_by_label("RR by b and k1", exact=True).locator(".mark")
    marks.nth(3).click()
    assert marks.nth(3).get_attribute("data-name").startswith("b=0.75, k1=0.5")
    book.page.keyboard.press("ArrowDown")
    book.page.keyboard.press("Enter")
    book.page.keyboard.press("Escape")
    assert view.locator(":focus").count() == 0, "one can get out with the keyboard"
    chosen = book.value("view.chosen")
    assert chosen.startswith("b=0.75, k1=1.2")
    assert view.locator("pre").inner_text() == book.value("view.cell")
    cells = book.page.locator(".jp-Notebook .jp-Cell")
    before = cells.count()
    view.get_by_role("button", name="Insert below").click()
    view.get_by_text("The cell is below.").wait_for()
    assert cells.count() == before + 1
    assert cells.nth(2).locator(".cm-content").inner_text().split() == view.locator("pre").inner_text().split()
    book.run(2)
    assert book.value(f"{chosen_as(chosen)} == view._experiment.pipelines[view.chosen]")
    shot(view)


def test_sliders_hold_the_other_parameters(opened, shot):
    book, view = opened(SWEPT, width=600)
    view.get_by_role("button", name="lines").click()
    assert view.locator("path.line").count() == 3
    view.get_by_label("and", exact=True).select_option(label="nothing")
    assert view.locator("path.line").count() == 1
    before = view.locator("path.line").get_attribute("d")
    slider = view.get_by_role("slider", name="k", exact=True)
    slider.focus()
    book.page.keyboard.press("ArrowLeft" if slider.get_attribute("aria-valuetext") == "50" else "ArrowRight")
    expect(view.locator("path.line")).not_to_have_attribute("d", before)
    view.get_by_label("measure", exact=True).select_option("AP")
    view.get_by_label("AP by b", exact=True).wait_for()
    wide = view.evaluate("node => [node.scrollWidth, node.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out"
    shot(view)


def test_quality_against_time_is_walked_by_keys(opened, shot):
    book, view = opened(COMPARED)
    view.get_by_role("tab", name="Questions").press("ArrowRight")
    plot = view.get_by_label("nDCG@10 against ms per question")
    assert plot.locator(".dot.best").count() == len(
        book.value("[r['name'] for r in view.rows if r['scores']['nDCG@10']['front']]")
    )
    plot.locator(".mark").first.focus()
    book.page.keyboard.press("ArrowRight")
    book.page.keyboard.press("Enter")
    name = plot.locator(".mark").nth(1).get_attribute("data-name")
    assert book.value("view.chosen") == name
    assert view.locator(".pick[aria-pressed=true]").inner_text() == name
    shot(view)
