"""Runs: results come while the job goes on, in the order of their questions, and none is lost."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.stage import Operation
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.function import MapFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink, JsonlSink

GATES: dict[str, threading.Event] = {}


class Echoing(MapFunction):
    """Finds the question's own words; fails on the word of its stage, waits at a gate for "wait"."""

    def __init__(self, stage):
        self.stage = stage

    def map(self, value):
        words = value.query.text.split()
        if self.stage.bad in words:
            raise RuntimeError(f"no {self.stage.bad}")
        if "wait" in words:
            GATES["wait"].wait(60)
        return ranked(value, "echo", [(Hit(Document(word, word), 0, 0.0), float(len(word))) for word in words])


@dataclass(frozen=True)
class Echo(Operation):
    bad: str = "bad"

    def function(self):
        return Echoing(self)


def ids(result):
    return [hit.document.id for hit in result.hits]


QUESTIONS = [f"word{n} of many" for n in range(100)]


@pytest.fixture
def gate():
    GATES["wait"] = threading.Event()
    yield GATES["wait"]
    GATES["wait"].set()


def test_results_are_had_before_the_run_has_ended(gate):
    run = Echo().run([*QUESTIONS, "wait here"], batch=1)
    results = iter(run)
    assert ids(next(results)) == ["word0", "many", "of"]
    assert run.job.status == "running"
    assert len(run) == 101
    gate.set()
    assert len(run.results) == 101
    assert "101 of 101 questions" in repr(run)


def test_a_run_that_was_stopped_goes_on_with_the_questions_that_are_left(gate):
    run = Echo().run(["one", "two", "wait here", "three"], batch=1)
    assert ids(run["q2"]) == ["two"]
    with pytest.raises(BadValueError, match="the run is running; there is nothing to resume before it is stopped"):
        run.resume()
    run.job.pause()
    left = len(run) - run.done
    assert run.resume() is run
    gate.set()
    assert [result.query.text for result in run.results] == ["one", "two", "wait here", "three"]
    assert run.job.metrics().total("questions", "received") == left
    with pytest.raises(BadValueError, match="every question is answered; there is nothing to resume"):
        run.resume()


@pytest.mark.parametrize("parallelism", [2, 3])
def test_parallelism_changes_neither_results_nor_their_order(parallelism):
    pipe = (Echo() + 2 * Echo("x")) % 2 >> Echo("y")
    assert pipe.run(QUESTIONS, parallelism=parallelism).results == pipe.run(QUESTIONS).results


def test_a_question_that_fails_says_so_and_the_others_are_answered():
    run = Echo().run(["good", "a bad one", "fine"])
    assert [ids(result) for result in run.results] == [["good"], [], ["fine"]]
    (failed,) = run.failed
    assert failed.error == "Echo(bad='bad') failed: RuntimeError: no bad"
    assert "1 failed (the first: Echo(bad='bad') failed: RuntimeError: no bad)" in repr(run)
    assert "no bad" in failed._repr_html_()
    assert run.job.metrics().total("Echo(bad='bad')", "degraded") == 1


def test_a_part_that_fails_fails_the_fusion_of_that_question_only():
    run = (Echo() + Echo("evil")).run(["good", "bad", "evil", "bad and evil"])
    assert [bool(result.error) for result in run.results] == [False, True, True, True]
    assert run.results[3].error == (
        "Echo(bad='bad') failed: RuntimeError: no bad; Echo(bad='evil') failed: RuntimeError: no evil"
    )
    later = (Echo() >> Echo("never")).run(["bad"]).results[0]
    assert later.error.startswith("Echo(bad='bad') failed")
    assert later.hits == ()


def test_a_search_that_fails_raises_what_went_wrong():
    with pytest.raises(SageError, match=r"operator .Echo.* failed on .*bad.*: RuntimeError: no bad"):
        Echo().search("bad")


def test_an_operator_may_be_tried_again():
    failures = iter([True, True, False])

    class Flaky(MapFunction):
        def map(self, value):
            if next(failures):
                raise OSError("busy")
            return value

    @dataclass(frozen=True)
    class Unsteady(Operation):
        def function(self):
            return Flaky()

    (result,) = Unsteady().run(["x"], retry=Retry(3, backoff=0.001)).results
    assert result.error == ""


def test_what_fails_for_every_question_fails_the_run(tmp_path):
    empty = sage.Collection(tmp_path / "void", encoder=None)
    with pytest.raises(SageError, match="the collection 'void' is empty; add documents to it with .add"):
        _ = empty.lexical(3).run(["x", "y"]).results


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_uses_an_environments_settings_and_leaves_its_streams_and_checkpoints_alone(tmp_path):
    def mine():
        env = LocalEnvironment("mine", parallelism=2, checkpoint=str(tmp_path / "ckpt"))
        env.from_collection([1, 2]).sink(JsonlSink(str(tmp_path / "out")))
        return env

    env = mine()
    assert env.submit().wait(60) == "finished"
    before = contents(tmp_path)
    one, other = Echo().run(QUESTIONS, env=env), Echo().run(QUESTIONS, env=env)
    assert one.results == other.results
    assert {task.subtask for task in one.job.metrics().tasks} == {0, 1}
    assert contents(tmp_path) == before
    assert mine().submit().wait(60) == "finished"


def test_a_pipeline_stands_in_a_stream():
    env = LocalEnvironment("stream")
    rows: list[Result] = []
    asked = env.from_collection(["one", "bad", "three"]).map(lambda text: Result(sage.Query(text, text)))
    asked.apply(Echo() % 1, parallelism=2).filter(lambda result: not result.error).sink(CollectSink(rows))
    job = env.submit()
    assert job.wait(60) == "finished"
    assert sorted(hit.document.id for result in rows for hit in result) == ["one", "three"]
    assert job.unbalanced() == []


def test_a_run_goes_to_tables_and_files(tmp_path):
    run = Echo().run(["of many"])
    frame = run.to_pandas()
    assert frame.columns.tolist() == ["qid", "query", "docno", "rank", "score", "title", "source", "text"]
    assert frame.iloc[0].tolist()[:5] == ["q1", "of many", "many", 1, 4.0]
    assert sage.read_run(run.to_trec(tmp_path / "run.txt"))["q1"] == [("many", 4.0), ("of", 2.0)]
    assert ids(run["q1"]) == ["many", "of"]
    with pytest.raises(UnknownNameError, match="unknown question 'q99'"):
        run["q99"]


def test_a_run_that_was_cancelled_says_what_it_lacks(gate):
    run = Echo().run(["good", "wait here"], batch=1)
    assert ids(next(iter(run))) == ["good"]
    run.job.cancel()
    with pytest.raises(SageError, match="the run was cancelled before it came to question 'q2'; run it again"):
        _ = run.results


def test_what_a_run_gives_is_kept_under_a_cells_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    book = sage.Collection("book", encoder=None)
    book.add([Document(word, word) for word in ("barrier", "window", "timer")], progress=False)
    pipe = book.lexical(k=1)
    assert [found.hits[0].document.id for found in pipe.run(["barrier", "window"], cell="words")] == [
        "barrier",
        "window",
    ]
    again = pipe.run(["window", "timer", "barrier"], cell="words")
    assert [found.hits[0].document.id for found in again.results] == ["window", "timer", "barrier"]
    assert [(each["cached"], each["computed"]) for each in again.stages.values()] == [(2, 1)]
    assert [each["cached"] for each in pipe.run(["timer"]).stages.values()] == [0]  # it was not asked to look
    assert pipe.search("timer", cell="other").hits == again["q2"].hits
    with pytest.raises(BadValueError, match="cell= is a name to keep results under, a text, got ''"):
        pipe.search("timer", cell="")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
def test_questions_of_a_cell_share_what_they_have_open(tmp_path, monkeypatch):
    def opened():
        found = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return sum(tmp_path / "cache" in each.parents for each in found)

    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    book = sage.Collection("book", encoder=None)
    book.add([Document(word, word) for word in ("barrier", "window", "timer")], progress=False)
    book.lexical().search("first", cell="words")
    before = opened()
    gc.disable()
    try:
        for number in range(10):
            book.lexical().search(f"word {number}", cell="words")
    finally:
        gc.enable()
    assert 0 < opened() <= before
