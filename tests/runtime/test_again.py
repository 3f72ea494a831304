"""A job that goes on from where it stopped, and its dead letters sent through their operators again."""

from __future__ import annotations

import threading

import pytest

from sage_nb.errors import BadValueError
from sage_nb.records.values import Query, Result
from sage_nb.runtime.again import rest
from sage_nb.runtime.alerts import Alert
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.letters import Letters
from sage_nb.runtime.operators.running import BEHIND
from sage_nb.runtime.probe import Probe
from sage_nb.stream.function import MapFunction
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.sink import CollectSink, JsonlSink, TwoPhaseSink
from sage_nb.stream.time import monotonous
from sage_nb.stream.window import Count, tumbling
from tests.runtime.jobs import Endless, finished, lines, until


class Service:
    """Fails for every third number while it is down; shared by all jobs of this process."""

    def __init__(self):
        self.down = True

    def __call__(self, value):
        if self.down and value % 3 == 0:
            raise ValueError(f"no answer for {value}")
        return 10 * value


def services(tmp_path, **settings):
    """A job that meets a service that is down, with what it writes."""
    service, out = Service(), (tmp_path / "out").as_uri()
    env = LocalEnvironment("asks", **settings)
    env.from_collection(range(1, 8)).map(service, name="ask").filter(lambda n: n != 10).sink(JsonlSink(out), name="out")
    return service, env, out


def test_what_failed_goes_through_its_operator_and_on_to_the_same_sink(tmp_path):
    service, env, out = services(tmp_path, checkpoint=str(tmp_path / "ckpt"))
    job = finished(env)
    assert sorted(lines(out)) == [20, 40, 50, 70]
    service.down = False
    assert str(job.retry()) == "2 of 2 dead letters went through"
    assert sorted(lines(out)) == [20, 30, 40, 50, 60, 70]
    assert job.dead_letters == []


def test_what_fails_once_more_is_open_still_with_all_its_attempts(tmp_path):
    _, env, out = services(tmp_path)
    job = finished(env)
    told = "0 of 2 dead letters went through; still open is ValueError: no answer for 3 (in ask) and 1 errors more"
    assert str(job.retry()) == told
    assert sorted((each.record, each.attempts) for each in job.dead_letters) == [(3, 2), (6, 2)]
    assert sorted(lines(out)) == [20, 40, 50, 70]


def test_one_letter_is_tried_and_the_other_left(tmp_path):
    service, env, _ = services(tmp_path)
    job = finished(env)
    service.down = False
    assert job.retry(job.dead_letters[:1]).passed == 1
    assert [each.record for each in job.dead_letters] == [6]


def test_a_letter_is_settled_once_also_for_who_comes_later(tmp_path):
    service, env, out = services(tmp_path, checkpoint=str(tmp_path / "ckpt"))
    job = finished(env)
    letters = job.dead_letters
    service.down = False
    job.retry()
    assert list(Letters.below(str(tmp_path / "ckpt"))) == []
    with pytest.raises(BadValueError, match="2 of these dead letters are not open; take them from job.dead_letters"):
        job.retry(letters)
    assert len(lines(out)) == 6


def test_two_equal_letters_are_two(tmp_path):
    env = LocalEnvironment("twins", checkpoint=str(tmp_path))
    env.from_collection([3, 3]).map(Service(), name="ask").sink(CollectSink([]))
    job = finished(env)
    assert len(job.dead_letters) == 2
    job.retry(job.dead_letters[:1])
    assert sorted(each.attempts for each in job.dead_letters) == [1, 2]


def test_a_letter_of_a_folder_holds_the_record_itself(tmp_path):
    env = LocalEnvironment("exact", checkpoint=str(tmp_path))
    records = [(1, b"two"), Result(Query("q", "why?")), {"plain": [1, "a"]}]
    env.from_collection(records).map(lambda _: 1 / 0, name="fail").sink(CollectSink([]))
    assert [each.record for each in finished(env).dead_letters] == records


def test_what_is_no_plain_data_is_kept_as_text_and_says_that_it_cannot_be_tried():
    env = LocalEnvironment("objects")
    env.from_collection([object]).map(lambda _: 1 / 0, name="fail").sink(CollectSink([]))
    job = finished(env)
    (letter,) = job.dead_letters
    assert letter.final == "its record is no plain data, and was kept as text"
    with pytest.raises(BadValueError, match="cannot be tried again: its record is no plain data"):
        job.retry([letter])
    with pytest.raises(BadValueError, match="there is no dead letter to try again"):
        job.retry()


def test_letters_of_several_operators_each_go_where_they_failed(tmp_path):
    service, rows = Service(), []
    env = LocalEnvironment("two")
    first = env.from_collection(range(1, 7)).map(service, name="first", on_error="dead_letter")
    first.map(lambda n: service(n // 10), name="second").sink(CollectSink(rows))
    job = finished(env)
    assert [(each.operator, each.record) for each in job.dead_letters] == [("first", 3), ("first", 6)]
    service.down = False
    job.retry()
    assert sorted(rows) == [10, 20, 30, 40, 50, 60]


def test_a_record_that_fails_further_on_is_a_letter_of_that_operator():
    service, later, rows = Service(), Service(), []
    env = LocalEnvironment("further")
    env.from_collection([3]).map(service, name="first").map(later, name="later").sink(CollectSink(rows))
    job = finished(env)
    service.down = False
    retried = job.retry()
    assert (retried.tried, retried.passed) == (1, 1)
    assert job.dead_letters == [DeadLetter("later", 30, "ValueError: no answer for 30", 1)]
    later.down = False
    job.retry()
    assert (rows, job.dead_letters) == ([300], [])


class Counting(MapFunction):
    """Keeps state by itself."""

    def map(self, value):
        return value

    def snapshot_state(self):
        return 0

    def restore_state(self, state):
        pass


class Own(TwoPhaseSink):
    """A sink of two phases, with a protocol of its own."""

    def write(self, value):
        pass

    def prepare(self, checkpoint):
        return None


class Echo(MapFunction):
    def map(self, value):
        return value


STATEFUL = {
    "'window' keeps state, which another job has not": lambda s: s.window(tumbling(5)).aggregate(Count()),
    "'count' keeps state": lambda s: s.map(Counting(), name="count"),
    "'echo' may keep state by key": lambda s: s.key_by(str).map(Echo(), name="echo"),
    "'all' is given every record in each of its subtasks": lambda s: s.broadcast().map(abs, name="all"),
}


@pytest.mark.parametrize("reason", STATEFUL)
def test_what_leads_into_state_is_refused_by_the_name_of_who_keeps_it(reason):
    env = LocalEnvironment("state")
    source = env.from_collection([0, 1], watermark=monotonous(float))
    STATEFUL[reason](source.map(lambda n: 1 // n, name="invert")).sink(CollectSink([]))
    job = finished(env)
    with pytest.raises(BadValueError, match=f"{reason}.*; mend what made them fail and submit the job with fresh=True"):
        job.retry()
    assert len(job.dead_letters) == 1


def test_a_sink_that_keeps_records_aside_in_a_way_of_its_own_is_refused():
    env = LocalEnvironment("own")
    env.from_collection([0]).map(lambda n: 1 // n, name="invert").sink(Own(), name="own")
    with pytest.raises(BadValueError, match="the sink 'own' keeps records aside for one job alone"):
        finished(env).retry()


def test_an_operator_that_is_no_more_is_named():
    env = LocalEnvironment("gone")
    source = env.from_collection([1])
    source.sink(CollectSink([]))
    with pytest.raises(BadValueError, match="has no operator 'old' any more"):
        rest(env.graph(), "old", source.node)


def test_what_fails_as_a_windows_result_is_final():
    env = LocalEnvironment("late")
    timed = env.from_collection([1, 2], watermark=monotonous(float))
    timed.window(tumbling(5)).apply(lambda *_: 1 / 0, name="sum").sink(CollectSink([]))
    assert [each.final for each in finished(env).dead_letters] == [BEHIND]


class Held(Probe):
    """Keeps the first checkpoint after it is armed from being committed, until it may go on."""

    def __init__(self):
        self.armed, self.held, self.go = threading.Event(), threading.Event(), threading.Event()

    def at(self, point, where):
        if point == "before manifest" and self.armed.is_set() and not self.held.is_set():
            self.held.set()
            self.go.wait(60)


def test_a_retry_beside_a_job_at_work_drops_nothing_that_this_keeps_aside(tmp_path):
    """Both fill one list, while a checkpoint of the job is written and not committed."""
    service, rows = Service(), []
    env = LocalEnvironment("busy", checkpoint=Checkpointing(str(tmp_path), every=0.2))
    env.probe = held = Held()
    env.from_source(Endless()).map(lambda n: service(n) if n in (3, 6) else 10 * n, name="ask").sink(CollectSink(rows))
    job = env.submit()
    try:
        until(lambda: len(job.dead_letters) == 2)
        held.armed.set()
        assert held.held.wait(60)
        service.down, count = False, len(rows)
        assert job.retry().passed == 2
        held.go.set()
        until(lambda: len(rows) > count + 2)
        job.pause()
    finally:
        held.go.set()
        job.cancel()
    assert sorted(rows) == list(range(0, 10 * len(rows), 10))


def test_a_paused_job_goes_on_with_its_own_streams_and_alerts(tmp_path):
    heard, rows = [], []
    env = LocalEnvironment("goes-on", checkpoint=str(tmp_path))
    env.from_source(Endless()).map(abs).sink(CollectSink(rows), uid="rows")
    job = env.submit(alerts=[Alert("received > 0", heard.append)])
    until(lambda: heard)
    with pytest.raises(BadValueError, match="'goes-on' is running; there is nothing to resume before it is paused"):
        job.resume()
    job.pause()
    count = len(rows)
    env.from_collection([1]).sink(CollectSink([]))  # another cell's; it is not this job's
    again = job.resume()
    until(lambda: len(rows) > count and len(heard) > 1)
    again.pause()
    assert rows == list(range(len(rows)))


def test_a_job_that_keeps_nothing_cannot_go_on():
    env = LocalEnvironment("lost")
    env.from_source(Endless()).sink(CollectSink([]))
    job = env.submit()
    job.pause()
    assert not job.keeps
    with pytest.raises(BadValueError, match="'lost' keeps nothing to go on from; give its environment checkpoint="):
        job.resume()


def test_a_finished_job_is_not_resumed(tmp_path):
    _, env, _ = services(tmp_path, checkpoint=str(tmp_path / "ckpt"))
    with pytest.raises(BadValueError, match="'asks' is finished; submit it with fresh=True to run it once more"):
        finished(env).resume()
