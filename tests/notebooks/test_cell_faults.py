"""Cells that are stopped, killed or robbed of their disk: right answers, and nothing computed twice that was kept."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest

from sage_nb.runtime.cellcache.database import NAME
from tests.notebooks.cells import PREPARE, calls, kernel

CELL = "%%sage answers --on questions\nbook.hybrid(k=30) >> rerank(k=10, model='short')"
RANKED = "print([[(h.document.id, h.score) for h in r] for r in answers])"
SEED = 20261126

pytestmark = pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the cell gives, and how many pairs it scores, when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with kernel(folder) as asked:
        asked.run(CELL)
        return asked.run(RANKED), calls(folder)


MANY = PREPARE + "\nquestions = [f'{question} {words[n]}' for n in range(4) for question in questions]"
KILLS = 20


def killed_at(running, folder, lines, delay):
    """Run the cell, and kill its kernel `delay` seconds after models have been asked `lines` times."""
    running.client.execute(CELL)
    while len((folder / "calls").read_text().splitlines()) < lines:
        time.sleep(0.002)
    time.sleep(delay)
    running.kill()
    running.manager.provisioner.process.wait(60)


@pytest.mark.timeout(900)
def test_a_killed_kernel_has_lost_only_what_was_not_committed(tmp_path):
    """Twenty kernels are killed with -9 at random moments of one run; the next goes on, the last to its end."""
    (tmp_path / "whole").mkdir()
    with kernel(tmp_path / "whole", MANY) as asked:
        asked.run(CELL)
        ranked, whole = asked.run(RANKED), calls(tmp_path / "whole")["short"]
    chance, scored = random.Random(SEED), 0
    for _ in range(KILLS):
        with kernel(tmp_path, MANY, SLOW="0.0002") as running:
            killed_at(running, tmp_path, chance.randint(1, 3), chance.uniform(0, 0.1))
        scored += calls(tmp_path).get("short", 0)
    with kernel(tmp_path, MANY) as last:
        last.run(CELL)
        assert last.run(RANKED) == ranked
        left = calls(tmp_path).get("short", 0)
        print(f"seed {SEED}: {scored} pairs scored before {KILLS} kills, {left} after, {whole} in an undisturbed run")
        assert 0 < left < whole
        assert scored + left <= whole + KILLS * 8 * 30  # a kill costs the batch in hand: 8 questions of 30 pairs
        last.run(CELL)
        assert calls(tmp_path) == {}


def test_two_kernels_on_one_cache_at_once(tmp_path, undisturbed):
    ranked, _ = undisturbed
    with kernel(tmp_path, SLOW="0.0002") as one, kernel(tmp_path, SLOW="0.0002") as other:
        both = [threading.Thread(target=each.run, args=(CELL,)) for each in (one, other)]
        for each in both:
            each.start()
        for each in both:
            each.join(120)
        assert one.run(RANKED) == other.run(RANKED) == ranked
        calls(tmp_path)
        one.run(CELL)
        assert calls(tmp_path) == {}


def test_a_damaged_cache_is_begun_anew_and_says_so(tmp_path, undisturbed):
    ranked, _ = undisturbed
    with kernel(tmp_path) as asked:
        asked.run(CELL)
    path = tmp_path / ".sage" / "cache" / NAME
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # all that was kept lies in one file
    data = bytearray(path.read_bytes())
    data[200::97] = b"\xa5" * len(data[200::97])
    path.write_bytes(data)
    with kernel(tmp_path) as again:
        said = again.run(CELL)
        assert again.run(RANKED) == ranked
        assert "damaged" in said + again.run("%sage cache")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_the_cache_not_the_answers(tmp_path, small_disk, undisturbed):
    ranked, _ = undisturbed
    (tmp_path / ".sage").mkdir()
    (tmp_path / ".sage" / "cache").symlink_to(small_disk)
    with kernel(tmp_path) as asked:
        said = asked.run(CELL)
        assert asked.run(RANKED) == ranked
        assert "No space left" in said or "full" in said + asked.run("%sage cache")


def test_a_home_that_is_a_file_costs_the_cache_not_the_answers(tmp_path, undisturbed):
    """Rights do not bind root; a file where a folder should be binds everyone."""
    ranked, _ = undisturbed
    (tmp_path / ".sage").mkdir()
    (tmp_path / ".sage" / "cache").write_text("no folder")
    (tmp_path / ".sage" / "runs").write_text("no folder")
    with kernel(tmp_path) as asked:
        said = asked.run(CELL)
        assert asked.run(RANKED) == ranked
        assert "cannot be" in said


QUICKLY = 5.0  # seconds; two on a quiet machine
FILL = "slow_book.add((sage.Document(f'n{n}', f'window {n}') for n in range(2000)), progress=False)"
CELLS = {
    "retrieval": "%%sage answers --on questions\nslow_book.dense(k=10)",
    "reranking": CELL,
    "sleeping": "%%sage answers --on questions\nbook.lexical(k=5) >> sleepy",
}
SLOWLY = (
    PREPARE
    + """
class Slow(Encoding):
    name = "slow letters"

    def encode(self, texts):
        time.sleep(0.05 * len(texts))
        return super().encode(texts)

def sleepy(result):
    time.sleep(0.2)
    return result

sage.encoder("slow letters")(Slow)
slow_book = sage.Collection("slow", encoder="slow letters")
slow_book.add([sage.Document(f"d{n}", text) for n, text in enumerate(texts[:20])], progress=False)
"""
)


def test_the_stop_button_while_a_collection_is_filled(tmp_path):
    with kernel(tmp_path, SLOWLY) as asked:
        prepared = calls_so_far(tmp_path)
        took = stopped(asked, FILL, lambda _: calls_so_far(tmp_path) > prepared)
        assert took < QUICKLY
        before = asked.value("len(slow_book)")
        asked.run("slow_book.add((sage.Document(f'n{n}', f'window {n}') for n in range(30)), progress=False)")
        assert asked.value("len(slow_book)") == max(before, 50)


@pytest.mark.parametrize("step", CELLS)
def test_the_stop_button_ends_the_cell_and_the_next_run_goes_on(tmp_path, step):
    with kernel(tmp_path, SLOWLY, SLOW="0.002") as asked:
        took = stopped(asked, CELLS[step], lambda text: " of 100 questions" in text)
        assert took < QUICKLY
        done, said = asked.value("answers.done"), asked.run("%sage runs")
        assert done < 100
        assert "cancelled" in said
        calls(tmp_path)
        asked.run("questions = questions[:answers.done + 3]")
        asked.run(CELLS[step])
        assert asked.value("answers.done") == done + 3
        assert asked.value("max(v['cached'] for v in answers.stages.values())") >= done


def calls_so_far(folder):
    return len((folder / "calls").read_text().splitlines())


def stopped(asked, code, due):
    """Run a cell, press stop once `due`, and give the seconds that it went on."""
    pressed: list[float] = []

    def press(text):
        if due(text) and not pressed:
            asked.manager.interrupt_kernel()
            pressed.append(time.monotonic())

    watching = threading.Event()

    def watch():
        while not pressed and not watching.wait(0.05):
            press("")

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = asked.run(code, press)
    watching.set()
    watcher.join()
    assert pressed, said
    assert "stopped" in said or "add" in code, said
    return time.monotonic() - pressed[0]
