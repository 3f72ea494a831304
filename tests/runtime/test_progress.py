"""The progress line: what stands in it, and how seldom it is drawn."""

from __future__ import annotations

import time

from sage_nb.runtime import progress
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.progress import facts
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Paced, clicks


def picky(value):
    if value["n"] == 7:
        raise ValueError(value)
    return value


def test_the_line_says_what_came_out(capsys):
    env = LocalEnvironment("clicks")
    env.from_source(Paced(clicks(100))).map(picky).sink(CollectSink([]))
    job = env.submit()
    assert job.wait(60, progress=True) == "finished"
    line = capsys.readouterr().err.rpartition("\r")[2]
    assert line.startswith("clicks: 99 records [")
    assert "finished" in line
    assert "1 dead letter]" in line


def test_it_is_drawn_twice_a_second_at_most(monkeypatch):
    drawn = []
    monkeypatch.setattr(progress.Progress, "show", spy(progress.Progress.show, drawn))
    env = LocalEnvironment("clicks")
    env.from_source(Paced(clicks(400), rest=0.02)).sink(CollectSink([]))  # about a second
    begun = time.monotonic()
    env.submit().wait(60, progress=True)
    assert 2 <= len(drawn) <= 3 + (time.monotonic() - begun) / progress.EVERY


def test_what_is_nought_is_not_said():
    env = LocalEnvironment("clicks")
    env.from_collection([1]).sink(CollectSink([]))
    job = env.submit()
    job.wait(60)
    assert facts(job.metrics()).startswith("finished")
    assert "restart" not in facts(job.metrics())


def spy(function, calls):
    def called(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return called
