"""Joins, case by case: who meets whom, who stays alone, and when a record is forgotten."""

from __future__ import annotations

import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.sink import CollectSink
from sage_nb.stream.time import bounded_out_of_orderness, monotonous
from sage_nb.stream.window import sliding, tumbling
from tests.runtime.jobs import Paced, finished

WHEN = monotonous("time", every=1)


def rows_at(*times, key="a", name="l"):
    return [{"key": key, "n": f"{name}{number}", "time": time} for number, time in enumerate(times)]


def joined(left, right, parallelism=2, watermark=WHEN, **how):
    """The pairs of names that a join of these records gives, sorted."""
    env, rows = LocalEnvironment("join", parallelism=parallelism), []
    one = env.from_source(Paced(left, rest=0), watermark=watermark)
    other = env.from_source(Paced(right, rest=0), watermark=watermark)
    one.join(other, on="key", **how).map(lambda pair: tuple(each and each["n"] for each in pair)).sink(
        CollectSink(rows)
    )
    finished(env)
    return sorted(rows, key=repr)


@pytest.mark.parametrize(
    ("how", "alone"),
    [
        ("inner", []),
        ("left", [("l1", None)]),
        ("right", [(None, "r1")]),
        ("outer", [("l1", None), (None, "r1")]),
    ],
)
def test_who_has_no_partner_in_the_window_stays_alone_where_that_is_asked(how, alone):
    pairs = joined(rows_at(1, 11), rows_at(2, 21, name="r"), window=tumbling(10), how=how)
    assert pairs == sorted([("l0", "r0"), *alone], key=repr)


def test_a_pair_shows_once_for_each_window_that_holds_both():
    assert joined(rows_at(5), rows_at(5, 6, 9, name="r"), window=sliding(4, 2)) == [
        ("l0", "r0"),
        ("l0", "r0"),
        ("l0", "r1"),
    ]


def test_keys_that_only_look_alike_do_not_meet():
    left = [{"key": key, "n": repr(key), "time": 1} for key in (None, 0, "", False)]
    assert joined(left, left, window=tumbling(10)) == sorted((repr(k), repr(k)) for k in (None, 0, "", False))


def test_both_ends_of_an_interval_are_in_it():
    pairs = joined(rows_at(10), rows_at(7, 8, 10, 12, 13, name="r"), between=(-2, 2))
    assert pairs == [("l0", "r1"), ("l0", "r2"), ("l0", "r3")]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_an_interval_wholly_before_or_behind_works_from_both_sides(parallelism):
    left, right = rows_at(10, 20), rows_at(4, 5, 26, 27, name="r")
    assert joined(left, right, parallelism, between=(-6, -5)) == [("l0", "r0"), ("l0", "r1")]
    assert joined(left, right, parallelism, between=(6, 7)) == [("l1", "r2"), ("l1", "r3")]


def test_rounding_parts_no_pair_by_the_order_in_which_it_comes():
    times = [tenth / 10 for tenth in range(40) for _ in range(2)]  # the second of two comes behind their watermark
    late = bounded_out_of_orderness(100, every=1)  # nothing is forgotten before the end
    for upper in (0.7, 1.4, 2.3):  # 0.2 + 0.7 is less than 0.9, and 0.9 - 0.2 is 0.7
        kept = joined(rows_at(*times), rows_at(*times, name="r"), 1, late, between=(-upper, upper))
        assert joined(rows_at(*times), rows_at(*times, name="r"), 1, between=(-upper, upper)) == kept


def test_a_joins_pairs_fall_into_the_same_window_further_down():
    env, rows = LocalEnvironment("cascade"), []
    one = env.from_source(Paced(rows_at(1, 2, 11), rest=0), watermark=WHEN)
    pairs = one.join(one, on="key", window=tumbling(10))
    pairs.window(tumbling(10)).apply(lambda key, span, found: [len(found)]).sink(CollectSink(rows))
    finished(env)
    assert [(row.start, row.value) for row in rows] == [(0, 4), (10, 1)]


def test_a_join_in_windows_of_the_clock_on_the_wall_is_refused():
    stream = LocalEnvironment("wall").from_collection([])
    with pytest.raises(BadValueError, match="pairs records by event time, got windows of processing time"):
        stream.join(stream, on="key", window=tumbling(1, clock="processing"))


def test_a_side_without_records_holds_nothing_up():
    assert joined(rows_at(1, 2), [], window=tumbling(10), how="outer") == [("l0", None), ("l1", None)]
    assert joined([], rows_at(1), between=(0, 1)) == []
