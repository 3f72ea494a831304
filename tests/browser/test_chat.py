"""The chat, typed into in a real browser."""

from __future__ import annotations

PREPARE = """
import sage_nb as sage
book = sage.Collection("book")
book.add([sage.Document("lock", "A lock lets one thread in. Others wait until it is free."),
          sage.Document("queue", "A queue hands items from one thread to another.")], progress=False)
"""


def test_a_question_is_answered_and_its_citation_opens_the_passage(notebook, shot):
    book = notebook(PREPARE, "view = sage.ChatView(sage.chat(book.hybrid(k=2))); view")
    book.run_all()
    view = book.output(1).locator(".sage-chat")
    view.get_by_label("your question").fill("What does a lock do?")
    view.get_by_role("button", name="Ask").click()
    view.locator(".cite").first.wait_for(timeout=60_000)
    view.locator(".cite").first.click()
    assert "Others wait" in view.locator(".passage").first.inner_text()
    assert "A lock lets one thread in" in view.locator(".passage mark").first.inner_text()
    shot(view)
    assert book.value("len(view.turns)") == 1


def test_a_conversation_in_a_narrow_dark_window_and_from_right_to_left(notebook, shot):
    hostile = "<img src=x onerror=alert(1)> what waits?"
    book = notebook(PREPARE, "view = sage.ChatView(sage.chat(book.hybrid(k=2))); view", width=600)
    book.run_all()
    for text in ("מה עושה lock?", hostile, "x" * 400):
        book.value(f"view.ask({text!r})")
    view = book.output(1).locator(".sage-chat")
    assert view.locator(".asked").nth(1).inner_text().startswith(hostile)
    assert view.locator("img").count() == 0
    assert view.evaluate("each => each.scrollWidth <= each.clientWidth")
    book.theme("Dark")
    shot(view)
    book.theme("Light")


def test_the_keyboard_alone_asks_and_opens(notebook):
    book = notebook(PREPARE, "view = sage.ChatView(sage.chat(book.hybrid(k=2))); view")
    book.run_all()
    view = book.output(1).locator(".sage-chat")
    view.get_by_label("your question").focus()
    book.page.keyboard.type("What does a lock do?")
    book.page.keyboard.press("Enter")
    view.locator(".cite").first.wait_for(timeout=60_000)
    view.locator(".cite").first.focus()
    book.page.keyboard.press("Enter")
    assert "Others wait" in view.locator(".passage").first.inner_text()
