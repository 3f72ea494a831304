"""Batches of a model side by side: in order, each on one core, and nothing of it left over."""

import subprocess
import sys
import threading
from threading import Barrier, Event, Thread

import pytest

from sage_nb.errors import ModelError
from sage_nb.models import threads
from sage_nb.models.threads import fixed_threads, side_by_side

FORKED = """
import os
from sage_nb.models.threads import side_by_side
assert side_by_side(str, [1, 2, 3], count=2) == ["1", "2", "3"]
child = os.fork()
if child == 0:
    os._exit(0 if side_by_side(str, [1, 2, 3], count=2) == ["1", "2", "3"] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_as_many_run_at_once_as_are_asked_for_and_results_keep_their_order():
    import torch

    met = Barrier(2)

    def run(item):
        met.wait(timeout=60)  # one after the other would never meet
        return item, torch.get_num_threads()

    assert side_by_side(run, range(6), count=2) == [(item, 1) for item in range(6)]


@pytest.mark.parametrize(("items", "count"), [([7], 2), ([7, 8], 1)])
def test_what_has_nobody_beside_it_runs_in_the_thread_that_asks(items, count):
    here = threading.get_ident()
    assert side_by_side(lambda item: (item, threading.get_ident()), items, count) == [(item, here) for item in items]


def test_other_threads_compute_with_as_many_as_before():
    import torch

    with fixed_threads(3):
        side_by_side(str, [1, 2], count=3)
        seen = []
        later = Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert [torch.get_num_threads(), *seen] == [3, 3]


def test_after_an_error_what_has_not_begun_is_left():
    begun = []

    def run(item):
        begun.append(item)
        if item == 0:
            raise RuntimeError("no 0")
        Event().wait(0.01)

    with pytest.raises(RuntimeError, match="no 0"):
        side_by_side(run, range(10_000), count=2)
    assert len(begun) < 10_000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120)


def test_threads_that_cannot_be_started_are_an_error(monkeypatch):
    def failing():
        raise OSError("no core")

    monkeypatch.setattr(threads, "_compute_alone", failing)
    with pytest.raises(ModelError, match="3 threads for models cannot be started .*; end some of this machine's"):
        threads._workers.__wrapped__(3, -1)
