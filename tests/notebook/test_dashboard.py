"""The dashboard without a browser: what it tells of a job, what its buttons do, how often it speaks."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise

import comm
import pytest

from sage_nb.errors import BadValueError
from sage_nb.notebook.widgets.dashboard import EVERY, PAGE, Dashboard
from sage_nb.notebook.widgets.job_facts import cluster_facts
from sage_nb.records.values import Result
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.alerts import Alert
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.ray.status import ActorStatus, Amount, ClusterStatus, NodeStatus
from sage_nb.stream.sink import CollectSink, JsonlSink
from sage_nb.stream.source import IDLE, SourceFunction
from tests.runtime.jobs import Endless, lines, until

HOSTILE = "<script>alert(1)</script>"


class Flow(SourceFunction):
    """Numbers without end, a thousand a second."""

    def read(self, split, start):
        begun = time.monotonic() - start / 1000
        while True:
            if time.monotonic() - begun < start / 1000:
                yield IDLE
            else:
                yield start
                start += 1


def refuse(value):
    """Fails for every third."""
    if value % 3 == 0:
        raise ValueError(f"{HOSTILE} {value}")
    return value


@pytest.fixture
def boards():
    """Makes dashboards, and ends them and their jobs."""
    made = []

    def make(of):
        made.append(Dashboard(of))
        return made[-1]

    yield make
    for board in made:
        board.close()
        if not board.job.ended.is_set():
            board.job.cancel()


def endless(tmp_path, source=None, **submit):
    """A job that runs on, with checkpoints."""
    env = LocalEnvironment("flows", checkpoint=Checkpointing(str(tmp_path / "ckpt"), every=0.3))
    kept = env.from_source(source or Endless()).map(abs, name="abs").filter(lambda n: n % 2, name="odd")
    kept.sink(JsonlSink(str(tmp_path / "out")), name="out")
    return env.submit(**submit)


def finished(count=7, check=refuse):
    """A job that has ended, with dead letters."""
    env = LocalEnvironment("ended")
    env.from_collection(range(count)).map(check, name="check").sink(CollectSink([]))
    job = env.submit()
    job.wait(60)
    return job


def settled(board):
    """Wait for what a button began; gives what it said, and what was wrong."""
    until(lambda: not board.doing)
    return board.said, board.wrong


def test_the_facts_of_a_job_at_work_are_plain_and_whole(tmp_path, boards):
    board = boards(endless(tmp_path, alerts=[Alert("received > 0", lambda alarm: None)]))
    until(lambda: board.facts["checkpoints"] and board.facts["alarms"] and board.facts["rate"])
    facts = json.loads(json.dumps(board.facts))
    assert [each["name"] for each in facts["stages"]] == ["source", "abs", "odd", "out"]
    source, odd = facts["stages"][0], facts["stages"][2]
    assert source["queue"] is None
    assert 98 <= sum(source["time"]) <= 102
    assert odd["also"][0].endswith(" filtered")
    assert max(facts["rates"]) > 0
    assert any(said.startswith("received > 0: ") and until_ is None for said, _, until_ in facts["alarms"])


def test_it_speaks_at_most_twice_a_second_with_a_thousand_records_a_second(tmp_path, boards, monkeypatch):
    sent = []

    class Counted(comm.DummyComm):
        """Notes when state is sent."""

        def publish_msg(self, msg_type, data=None, **_):
            if data and data.get("method") == "update":
                sent.append(time.monotonic())

    monkeypatch.setattr(comm, "create_comm", Counted)
    board = boards(endless(tmp_path, Flow()))
    begun, read = time.monotonic(), board.job.metrics().total("source", "received")
    until(lambda: time.monotonic() - begun > 4 and len(sent) > 4)
    took, flowed = time.monotonic() - begun, board.job.metrics().total("source", "received") - read
    assert flowed > 500 * took
    assert len([at for at in sent if at >= begun]) <= 2 * took + 1
    assert all(later - one > 0.4 for one, later in pairwise(sent[1:]))


def test_it_is_silent_when_nothing_changes_and_ends_with_the_job(boards):
    class Silent(SourceFunction):
        def read(self, split, start):
            while True:
                yield IDLE

    env = LocalEnvironment("silent").unchecked()  # no checkpoints, which would be news
    env.from_source(Silent()).sink(CollectSink([]))
    board = boards(env.submit())
    until(lambda: board.facts["stages"][0]["time"] == [0, 0, 100])
    told = []
    board.observe(lambda change: told.append(change.name))
    begun = time.monotonic()
    until(lambda: time.monotonic() > begun + 6 * EVERY)
    assert told == []
    board.job.cancel()
    until(lambda: not any(each.name == "sage-dashboard" for each in threading.enumerate()))
    assert board.facts["status"] == "cancelled"


def test_pause_resume_savepoint_and_cancel_do_what_they_say(tmp_path, boards, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    board = boards(endless(tmp_path))
    first = board.job
    until(lambda: board.facts["committed"])
    board.on_savepoint()
    said, wrong = settled(board)
    assert wrong == ""
    (folder,) = (tmp_path / "home" / "savepoints").iterdir()
    assert said == f"Savepoint taken: env.submit(savepoint={str(folder)!r}) starts from it."
    board.on_pause()
    settled(board)
    assert (first.status, board.facts["status"], board.facts["cannot"]["resume"]) == ("paused", "paused", "")
    board.on_resume()
    assert settled(board) == ("It goes on as the .job of this dashboard.", "")
    assert board.job is not first
    until(lambda: board.facts["status"] == "running" and board.facts["rate"])
    board.on_cancel()
    settled(board)
    assert (board.job.status, board.facts["status"]) == ("cancelled", "cancelled")


def test_what_cannot_be_done_says_why(boards):
    env = LocalEnvironment("bare")
    env.from_source(Endless()).sink(CollectSink([]))
    board = boards(env.submit())
    assert board.facts["cannot"]["pause"] == "it keeps nothing in a folder to go on from (checkpoint=…)"
    board.on_resume()
    said, wrong = settled(board)
    assert (said, wrong) == ("", "'bare' is running; there is nothing to resume before it is paused")


def test_an_error_of_any_kind_is_a_sentence(tmp_path, boards, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").write_text("a file where a folder should be")
    board = boards(endless(tmp_path))
    board.on_savepoint()
    said, wrong = settled(board)
    assert said == ""
    assert "\n" not in wrong
    assert "home" in wrong


def test_dead_letters_are_listed_opened_whole_and_tried_again(boards):
    down = [True]

    def check(value):
        return refuse(value) if down[0] else value

    board = boards(finished(check=check))
    shown = board.letters["shown"]
    assert [(each["operator"], each["record"]) for each in shown] == [("check", "0"), ("check", "3"), ("check", "6")]
    board.on_open(shown[1]["key"])
    assert board.opened["error"] == f"ValueError: {HOSTILE} 3"
    down[0] = False
    board.on_retry(shown[1]["key"])
    assert settled(board) == ("1 of 1 dead letter went through", "")
    assert [each["record"] for each in board.letters["shown"]] == ["0", "6"]
    assert board.opened == {}  # it is no more
    board.on_retry(shown[1]["key"])  # clicked once more, before the page was told
    assert settled(board) == ("", "this dead letter is open no more; look at the list as it is now")
    assert len(board.letters["shown"]) == 2
    board.on_retry()
    settled(board)
    assert board.letters == {"open": 0, "shown": [], "more": False, "why": ""}


def test_many_letters_are_listed_a_page_at_a_time(boards):
    board = boards(finished(3 * (PAGE + 10)))
    assert (board.letters["open"], len(board.letters["shown"]), board.letters["more"]) == (PAGE + 10, PAGE, True)
    board.on_more()
    settled(board)
    assert (len(board.letters["shown"]), board.letters["more"]) == (PAGE + 10, False)


def test_a_run_is_watched_stopped_and_goes_on_in_itself(boards):
    gate = threading.Event()

    def slow(result: Result) -> Result:
        if result.query.text == "three":
            gate.wait(60)
        return result

    run = Applied(slow).run(["one", "two", "three", "four"], batch=1)
    board = boards(run)
    board.on_pause()
    settled(board)
    stopped = board.job
    board.on_resume()
    assert settled(board) == ("", "")
    gate.set()
    assert len(run.results) == 4
    assert board.job is run.job is not stopped
    until(lambda: board.facts["status"] == "finished")
    assert board.facts["cannot"]["resume"] == "it is finished"


def test_without_javascript_the_facts_are_there_and_nothing_of_a_record_is_markup(boards):
    board = boards(finished())
    html, text = board.html(), board.text()
    for shown in (html, text):
        for fact in ("ended: finished", "4 records out", "3 dead letters", "check", "can be tried again"):
            assert fact in shown
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 3" in html
    assert f"ValueError: {HOSTILE} 3" in text


def test_nodes_are_told_with_their_gpus_and_what_works_on_them():
    node = NodeStatus("a" * 56, "10.0.0.1", True, Amount(8, 6.5), Amount(2, 1), Amount(2e9, 1e9))
    mine, lost = ActorStatus("j", "encode", 0, node.id, 7), ActorStatus("j", "b", 1, "", None)
    actors = (mine, ActorStatus("other", "x", 0, node.id, 8), lost)
    facts = cluster_facts(ClusterStatus("10.0.0.1:6379", (node,), 0, actors), "j")
    assert facts["nodes"] == [["aaaaaaaa", "10.0.0.1", "yes", "6.5 of 8", "1 of 2", "1.0 GB", "encode[0]"]]
    assert facts["lost"] == "b[1]"


def test_what_is_no_job_is_refused():
    with pytest.raises(BadValueError, match=r"Dashboard\(\) takes a job or a run, got 'answers'"):
        Dashboard("answers")


def test_records_that_were_tried_again_come_to_the_jobs_own_sink(tmp_path, boards):
    down = [True]
    env = LocalEnvironment("sinks", checkpoint=str(tmp_path / "ckpt"))
    flow = env.from_collection([1, 2, 3]).map(lambda n: refuse(n) if down[0] else n, name="check")
    flow.sink(JsonlSink(str(tmp_path / "out")))
    job = env.submit()
    job.wait(60)
    down[0] = False
    board = boards(job)
    board.on_retry()
    assert settled(board) == ("1 of 1 dead letter went through", "")
    assert sorted(lines(str(tmp_path / "out"))) == [1, 2, 3]
