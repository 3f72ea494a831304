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
