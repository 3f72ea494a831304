"""Lists that collect: records of any class, once each, and what is said where a list cannot have them all."""

from __future__ import annotations

import pytest

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import CrashAt, Halting, Paced, clicks, finished, until


class Own:
    """No plain data: it cannot lie in a checkpoint."""

    def __init__(self, record):
        self.n = record["n"]


@pytest.mark.parametrize("point", ["before manifest", "after manifest", "notify", "end"])
@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("folder", [True, False])
def test_records_of_any_class_are_collected_once_whatever_fails(tmp_path, point, parallelism, folder):
    rows: list = []
    checkpoint = Checkpointing(str(tmp_path), every=0.01) if folder else None
    env = LocalEnvironment("own", checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    env.probe = CrashAt(point=point)
    source = env.from_source(Paced(clicks(100)))
    source.map(Own).sink(CollectSink(rows), parallelism=parallelism)
    assert finished(env).restarts == 1
    assert sorted(each.n for each in rows) == list(range(100))


def collecting(tmp_path, rows, source):
    env = LocalEnvironment("again", checkpoint=Checkpointing(str(tmp_path), every=60.0))
    env.from_source(source).map(lambda r: r["n"]).sink(CollectSink(rows), name="rows")
    return env


def test_a_cell_run_again_doubles_nothing_and_says_that_nothing_was_computed(tmp_path):
    rows, others = [], []
    assert finished(collecting(tmp_path, rows, Paced(clicks(30)))).warnings == []
    for held in (rows, others):
        job = finished(collecting(tmp_path, held, Paced(clicks(30))))
        lacking, nothing = job.warnings
        assert lacking.startswith("the list of 'rows' holds only what came after checkpoint ")
        assert lacking.endswith("; collect all of it in a JsonlSink, or start over with fresh=True")
        assert nothing.startswith("nothing was computed: by checkpoint ")
    assert (rows, others) == (list(range(30)), [])
    assert finished(collecting(tmp_path, others, Paced(clicks(30))), fresh=True).warnings == []
    assert others == list(range(30))


@pytest.mark.parametrize("same", [True, False])
def test_a_list_goes_on_with_its_job_and_a_new_sink_says_what_it_lacks(tmp_path, same):
    rows, source = [], Halting(clicks(30), at=20)
    env = collecting(tmp_path, rows, source)
    job = env.submit()
    until(lambda: job.metrics().total("rows", "received") == 20)
    job.pause()
    assert rows == list(range(20))
    source.go.set()
    job = finished(env if same else collecting(tmp_path, rows := [], source))
    assert rows == list(range(0 if same else 20, 30))
    assert [each[:50] for each in job.warnings] == (
        [] if same else ["the list of 'rows' holds only what came after chec"]
    )


def test_a_job_whose_records_all_became_dead_letters_says_so():
    env = LocalEnvironment()
    env.from_collection([1, 2, 3]).map(lambda n: n / 0).sink(CollectSink([]))
    assert finished(env).warnings == [
        "nothing came to a sink: of 3 records read, 3 became dead letters; look at job.dead_letters"
    ]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_job_of_which_something_came_says_nothing(bad):
    rows: list = []
    env = LocalEnvironment()
    env.from_collection([1, 2, 3]).map(lambda n: 1 / max(0, n - bad)).sink(CollectSink(rows))
    job = finished(env)
    assert (len(rows), len(job.dead_letters), job.warnings) == (3 - bad, bad, [])
