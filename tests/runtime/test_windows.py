"""Windows, case by case: where records fall, when results are given, what a late or failing record does."""

from __future__ import annotations

import threading

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.function import AggregateFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.source import IDLE, SourceFunction
from sage_nb.stream.time import bounded_out_of_orderness, monotonous, punctuated
from sage_nb.stream.window import Count, TimeWindows, count_window, session, sliding, tumbling
from tests.runtime.jobs import Boom, Paced, clicks, finished


class SlowWriters(Probe):
    """Holds the first checkpoint's writers back until `go`; the job fails when that checkpoint is committed."""

    def __init__(self):
        super().__init__()
        self.writing, self.go, self.due = threading.Event(), threading.Event(), True

    def at(self, point, where):
        if point == "before write":
            self.writing.set()
            assert self.go.wait(60)
        if point == "after manifest" and self.due:
            self.due = False
            raise Boom("after the first checkpoint")


class Halves(SourceFunction):
    """Some records, and the others once `event` is set."""

    def __init__(self, records, event):
        self.records, self.event = records, event

    def __deepcopy__(self, memo):
        return self

    def read(self, split, start):
        yield from self.records[start:20]
        while not self.event.is_set():
            yield IDLE
        yield from self.records[max(start, 20) :]


def test_what_is_folded_behind_the_barrier_is_not_in_the_checkpoint(tmp_path):
    checkpoint = Checkpointing(str(tmp_path), every=0.01)
    env = LocalEnvironment("late writers", parallelism=3, checkpoint=checkpoint, restart=FixedDelay(3, 0.0))
    env.probe = probe = SlowWriters()
    folded: list = []

    def concat(one, other):
        folded.append(other)
        if len(folded) >= 80:  # all keys but for their first record
            probe.go.set()
        one.extend(other)  # in place, as a careless function does
        return one

    rows: list = []
    records = Halves(clicks(100, keys=20), probe.writing)
    stream = env.from_source(records).map(lambda r: {**r, "all": [r["n"]]}).key_by("key")
    windowed = stream.window(count_window(1000)).reduce(lambda a, b: {**a, "all": concat(a["all"], b["all"])})
    windowed.flat_map(lambda w: w.value["all"]).sink(CollectSink(rows))
    job = finished(env)
    assert sorted(rows) == list(range(100))
    assert job.restarts == 1


def at(*times, key="a"):
    """Records of one key at these times, numbered."""
    return [{"key": key, "n": number, "time": time} for number, time in enumerate(times)]


class Flaky(AggregateFunction):
    """Lists numbers; fails at `bad`, on top of `held`, once for each time that is `due`."""

    def __init__(self, bad, due, held):
        self.bad, self.due, self.held = bad, due, held

    def create(self):
        return []

    def add(self, value, accumulator):
        if value["n"] == self.bad and accumulator == self.held and self.due:
            self.due -= 1
            raise Boom("now and then")
        return [*accumulator, value["n"]]

    def result(self, accumulator):
        return accumulator

    def merge(self, one, other):
        return [*one, *other]


def windows_of(records, windows, function=None, watermark=None, lateness=0.0, **how):
    """What the windows of these records give, and what came late; every record is followed by its watermark."""
    env, rows, late = LocalEnvironment("windows"), [], []
    stream = env.from_source(Paced(records, rest=0), watermark=watermark or monotonous(every=1))
    made = (
        stream.key_by("key").window(windows, allowed_lateness=lateness).aggregate(function or Flaky(-1, 0, None), **how)
    )
    made.map(lambda w: (w.start, w.end, w.value)).sink(CollectSink(rows))
    made.late.map(lambda r: r["n"]).sink(CollectSink(late))
    return rows, late, finished(env)


@pytest.mark.parametrize("windows", [TimeWindows(0.3, 0.3), TimeWindows(0.1, 0.1), TimeWindows(0.7, 0.7)])
def test_windows_of_tenths_leave_no_gap_and_do_not_overlap(windows):
    for tenths in range(-100, 100):
        (span,) = windows.spans(tenths / 10)
        assert span[0] <= tenths / 10 < span[1]
        assert windows.spans(span[1])[0][0] == span[1]


def test_a_time_on_the_edge_is_in_the_window_that_begins_there():
    assert TimeWindows(0.2, 0.2).spans(0.6) == [(0.6, 0.8)]
    assert TimeWindows(10, 5).spans(-5) == [(-10, 0), (-5, 5)]
    assert repr(TimeWindows(0.3, 0.3).spans(-0.2)) == "[(-0.3, 0.0)]"


def test_a_slide_shorter_than_a_microsecond_is_refused():
    with pytest.raises(BadValueError, match="a window's slide must be 1e-06 seconds or more, got 1e-07"):
        sliding(1, 1e-7)


def test_a_windows_result_falls_into_the_same_window_further_down():
    env, rows = LocalEnvironment("cascade"), []
    sums = env.from_source(Paced(clicks(40, step=0.5), rest=0), watermark=monotonous()).key_by("key")
    counts = sums.window(tumbling(10)).aggregate(Count())
    counts.window(tumbling(10)).apply(lambda key, span, found: [(span, len(found))]).sink(CollectSink(rows))
    finished(env)
    assert [row.value for row in rows] == [((0, 10), 5), ((10, 20), 5)]


def test_a_late_record_is_given_again_within_the_lateness_and_goes_aside_after_it():
    rows, late, _ = windows_of(at(1, 11, 2, 14, 3, 16, 4), tumbling(10), lateness=5)
    assert rows == [(0, 10, [0]), (0, 10, [0, 2]), (0, 10, [0, 2, 4]), (10, 20, [1, 3, 5])]
    assert late == [6]


def test_a_record_between_two_sessions_makes_them_one():
    rows, late, _ = windows_of(at(0, 8, 4), session(5), watermark=bounded_out_of_orderness(10, every=1))
    assert (rows, late) == ([(0, 13, [0, 1, 2])], [])


def test_a_pause_of_just_the_gap_ends_a_session():
    assert windows_of(at(0, 5), session(5))[0] == [(0, 5, [0]), (5, 10, [1])]


def test_a_late_record_opens_a_given_session_again_with_what_it_held():
    rows, _, _ = windows_of(at(0, 6, 4), session(5), lateness=20)
    assert rows == [(0, 5, [0]), (0, 11, [0, 1, 2])]


def test_a_record_tried_again_counts_once_in_each_of_its_windows():
    rows, _, _ = windows_of(at(1, 2, 3), sliding(4, 2), Flaky(2, 1, [1]), retry=Retry(2, backoff=0.0))
    assert rows == [(-2, 2, [0]), (0, 4, [0, 1, 2]), (2, 6, [1, 2])]


def test_a_record_that_fails_is_in_none_of_its_windows():
    rows, _, job = windows_of(at(1, 2, 3), sliding(4, 2), Flaky(2, 9, [1]))
    assert rows == [(-2, 2, [0]), (0, 4, [0, 1]), (2, 6, [1])]
    assert [letter.record["n"] for letter in job.dead_letters] == [2]


def test_a_record_that_fails_joins_no_sessions():
    rows, _, _ = windows_of(at(0, 8, 4), session(5), Flaky(2, 9, [0, 1]), bounded_out_of_orderness(10, every=1))
    assert rows == [(0, 5, [0]), (8, 13, [1])]


def test_a_record_that_fails_has_no_number_in_a_count_window():
    rows, _, _ = windows_of(at(0, 1, 2, 3, 4), count_window(2), Flaky(1, 1, [0]))
    assert rows == [(0, 2, [0, 2]), (2, 4, [3, 4])]


def test_short_count_windows_have_a_time_too():
    env, rows = LocalEnvironment("short"), []
    stream = env.from_source(Paced(at(1, 2, 3), rest=0), watermark=monotonous(every=3)).key_by("key")
    counts = stream.window(count_window(2)).aggregate(Count())
    counts.window(tumbling(10)).aggregate(Count()).sink(CollectSink(rows))
    finished(env)
    assert [row.value for row in rows] == [2]


def test_sessions_need_an_aggregate_that_merges():
    class Last(AggregateFunction):
        """Without merge."""

    env = LocalEnvironment("sessions")
    with pytest.raises(BadValueError, match=r"sessions grow together; give Last a merge\(one, other\)"):
        env.from_collection([]).window(session(5)).aggregate(Last())


def test_windows_of_the_clock_on_the_wall_do_not_look_at_event_time():
    records = [{"key": "a", "n": 0, "time": 1e12}, {"key": "a", "n": 1, "time": 1e12 + 1}]
    rows, late, _ = windows_of(records, tumbling(3600, clock="processing"))
    assert ([n for _, _, found in rows for n in found], late) == ([0, 1], [])


def test_a_stream_without_keys_has_windows_over_all_of_it():
    env, rows = LocalEnvironment("whole", parallelism=3), []
    stream = env.from_source(Paced(clicks(30), rest=0), watermark=monotonous()).map(lambda r: r)
    stream.window(tumbling(10)).aggregate(Count()).sink(CollectSink(rows))
    finished(env)
    assert sorted((row.start, row.value) for row in rows) == [(0, 10), (10, 10), (20, 10)]


def test_no_records_give_no_windows():
    assert windows_of([], tumbling(1))[:2] == ([], [])


def test_a_marker_that_fails_costs_its_record_and_no_more():
    rows, _, job = windows_of(
        at(1, 2, 3), tumbling(10), watermark=punctuated(lambda r: 1 // (r["n"] - 1), every=1), lateness=0.0
    )
    assert rows == [(0, 10, [0, 2])]
    assert [letter.record["n"] for letter in job.dead_letters] == [1]


def test_times_given_on_the_way_are_followed_by_watermarks_as_asked():
    env, rows, late = LocalEnvironment("times"), [], []
    stream = env.from_collection(at(1, 11, 2)).with_times(monotonous(every=1)).key_by("key")
    made = stream.window(tumbling(10)).aggregate(Count())
    made.sink(CollectSink(rows))
    made.late.sink(CollectSink(late))
    finished(env)
    assert [record["n"] for record in late] == [2]


class Resting(SourceFunction):
    """Two splits: one that goes on, and one of a single record that then has nothing until the other is through."""

    def __init__(self, given):
        self.given = given

    def __deepcopy__(self, memo):
        return self

    def splits(self):
        return ["busy", "quiet"]

    def read(self, split, start):
        if split == "quiet":
            yield {"key": "a", "n": 0, "time": 0}
        else:
            yield from clicks(30)
        while not self.given.is_set():
            yield IDLE


@pytest.mark.parametrize("how", ["one subtask", "two subtasks"])
def test_a_quiet_split_does_not_hold_windows_back(how):
    env, given, rows = LocalEnvironment("quiet", parallelism=2), threading.Event(), []
    stream = env.from_source(
        Resting(given), watermark=monotonous(idle_after=0.05), parallelism=1 if how == "one subtask" else 2
    )
    counts = stream.key_by("key").window(tumbling(10)).aggregate(Count())
    counts.map(lambda w: given.set() or w).sink(CollectSink(rows))
    finished(env)  # the source ends only once a window was given
    assert sum(row.value for row in rows) == 31
