"""The dashboard in a real browser: read while a thousand records a second flow, and its buttons used."""

from __future__ import annotations

import time

PREPARE = """import tempfile, time
import sage_nb as sage

class Flow(sage.SourceFunction):
    def read(self, split, start):
        begun = time.monotonic() - start / 1000
        while True:
            yield start if time.monotonic() - begun >= start / 1000 else sage.IDLE
            start += time.monotonic() - begun >= start / 1000

down, folder = [True], tempfile.mkdtemp()

def ask(number):
    if number % 2000 == 500 and down[0]:
        raise ConnectionError(f"<script>document.title = 'run'</script> no answer for {number}")
    return number

def heavy(number):
    time.sleep(0.02 * (number % 50 == 0))
    return number

env = sage.LocalEnvironment("clicks", checkpoint=sage.Checkpointing(folder + "/ckpt", every=2))
kept = env.from_source(Flow(), name="clicks").map(ask, name="ask", parallelism=2).filter(lambda n: n % 3, name="keep")
rich = kept.key_by(lambda number: number).map(heavy, name="enrich", parallelism=2)
rich.sink(sage.JsonlSink(folder + "/out"), name="out")
job = env.submit(alerts=[sage.Alert("dead_letters >= 1", lambda alarm: None)])
board = sage.Dashboard(job)
board"""
BUSY = """while not board.job.ended.is_set():
    time.sleep(0.1)
print("seen")"""

CUT = """root => [...root.querySelectorAll('td, th, button, .figure, .row')]
    .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.outerHTML)"""


def shown(notebook):
    """The notebook with the job running, and its dashboard."""
    book = notebook(PREPARE)
    book.run_all()
    view = book.output(0).locator(".sage-dashboard")
    view.locator(".letters").wait_for(timeout=60_000)
    view.locator(".alarm").wait_for(timeout=60_000)
    return book, view


def begin_below(book, code):
    """Begin a new cell at the end, and do not wait for it."""
    book.page.keyboard.press("Escape")
    cells = book.page.locator(".jp-Notebook .jp-Cell")
    cells.last.locator(".jp-InputPrompt").click()
    book.page.keyboard.press("b")
    cells.nth(1).wait_for()
    cells.last.locator(".cm-content").click()
    book.page.keyboard.insert_text(code)
    book.page.keyboard.press("Control+Enter")
    cells.last.locator(".jp-InputPrompt", has_text="*").wait_for(timeout=30_000)


def test_a_job_is_paused_while_a_cell_runs_and_goes_on(notebook, shot):
    book, view = shown(notebook)
    shot(view, "running")
    begin_below(book, BUSY)
    view.get_by_role("button", name="Pause").click()
    view.locator(".status.paused").wait_for(timeout=60_000)
    assert "seen" in book.page.locator(".jp-OutputArea-output", has_text="seen").inner_text(timeout=60_000)
    assert book.value("job.status") == "paused"
    view.get_by_role("button", name="Resume").click()
    view.locator(".status.running").wait_for(timeout=60_000)
    view.get_by_role("button", name="Savepoint").click()
    view.get_by_text("Savepoint taken").wait_for(timeout=60_000)
    view.get_by_role("button", name="Cancel").click()
    assert view.locator(".status.running").count() == 1  # it asks first
    view.get_by_role("button", name="Really cancel").click()
    view.locator(".status.cancelled").wait_for(timeout=60_000)
    assert book.value("board.job.status") == "cancelled"


def test_a_dead_letter_is_opened_and_tried_again_by_the_keyboard(notebook, shot):
    book, view = shown(notebook)
    view.locator(".record").first.focus()
    book.page.keyboard.press("Enter")
    opened = view.locator(".opened")
    opened.wait_for(timeout=60_000)
    assert "<script>document.title = 'run'</script> no answer for 500" in opened.inner_text()
    shot(view, "opened")
    book.value("[down.clear(), down.append(False)]")
    view.get_by_role("button", name="Retry all").focus()
    book.page.keyboard.press("Enter")
    view.get_by_text("went through").wait_for(timeout=60_000)
    assert "Lab" in book.page.title() or book.page.title() != "run"
    assert book.value("len(job.dead_letters)") == 0
    book.value("job.cancel()")


def test_it_is_told_at_most_twice_a_second_with_a_thousand_records_a_second(notebook, shot):
    heard = []

    def listen(socket):
        socket.on(
            "framereceived", lambda frame: heard.append(time.monotonic()) if b"comm_msg" in _bytes(frame) else None
        )

    book = notebook(PREPARE, width=600, height=2400)
    book.page.on("websocket", listen)
    book.page.reload()
    book.page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=90_000)
    book.run_all()
    view = book.output(0).locator(".sage-dashboard")
    view.locator(".alarm").wait_for(timeout=60_000)
    begun, before = time.monotonic(), len(heard)
    book.page.wait_for_timeout(5000)
    took, told = time.monotonic() - begun, len(heard) - before
    assert 2 <= told <= 2 * took + 1
    assert book.value("job.metrics().total('clicks', 'received') / job.metrics().seconds") > 500
    assert view.evaluate(CUT) == []
    book.theme("Dark")
    shot(view)
    book.theme("Light")
    book.value("job.cancel()")


def _bytes(frame):
    return frame if isinstance(frame, bytes) else frame.encode()
