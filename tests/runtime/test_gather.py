"""gather: what a fan-out computed comes together again, one of each, by key."""

from __future__ import annotations

import pytest

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Once, Paced, clicks, finished


def number(record):
    return record[0]


def fanned(env, source, *functions):
    parts = [source.map(function) for function in functions]
    rows: list = []
    parts[0].gather(*parts[1:], on=number).sink(CollectSink(rows))
    return rows


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_one_record_of_each_stream_makes_a_tuple(parallelism):
    env = LocalEnvironment("gather", parallelism=parallelism)
    source = env.from_collection(range(500))
    rows = fanned(env, source, lambda n: (n, "a"), lambda n: (n, "b"), lambda n: (n, "c"))
    finished(env)
    assert sorted(rows) == [((n, "a"), (n, "b"), (n, "c")) for n in range(500)]


def test_what_one_stream_lost_goes_out_with_none_at_the_end():
    def fails_on_three(n):
        return (n, 1 / (n - 3))

    env = LocalEnvironment("gather")
    rows = fanned(env, env.from_collection(range(5)), fails_on_three, lambda n: (n, "b"))
    job = finished(env)
    assert [letter.record for letter in job.dead_letters] == [3]
    assert rows[-1] == (None, (3, "b"))
    assert len(rows) == 5


def test_a_second_record_of_a_key_is_refused():
    env = LocalEnvironment("gather")
    slow = env.from_collection([(1, "a"), (1, "b")])
    slow.gather(env.from_collection([]), on=number, name="both").sink(CollectSink([]))
    with pytest.raises(
        SageError, match="operator 'both' got a second record of the key 1 from stream 0, before the ot"
    ):
        env.submit().wait(60)


@pytest.mark.parametrize("at", [0, 60, 99])
def test_a_crash_loses_and_doubles_nothing(tmp_path, at):
    env = LocalEnvironment(
        "gather", parallelism=2, checkpoint=Checkpointing(str(tmp_path), every=0.005), restart=FixedDelay(9, 0.0)
    )
    source = env.from_source(Paced(clicks(100)))
    slow = source.map(Once(lambda record: record["n"] == at), on_error="fail").map(lambda r: (r["n"], "slow"))
    rows: list = []
    slow.gather(source.map(lambda r: (r["n"], "fast")), on=number).sink(CollectSink(rows))
    job = finished(env)
    assert sorted(rows) == [((n, "slow"), (n, "fast")) for n in range(100)]
    assert job.restarts == 1


def several(record):
    return record % 4


@pytest.mark.parametrize("parallelism", [1, 3])
def test_the_last_stream_brings_as_many_as_the_first_says(parallelism):
    env = LocalEnvironment("gather", parallelism=parallelism)
    source = env.from_collection(range(200))
    parts = source.flat_map(lambda n: [(n, part) for part in range(several(n))])
    rows: list = []
    source.gather(parts, on=(int, number), count=several).sink(CollectSink(rows))
    finished(env)
    assert sorted((first, *sorted(rest)) for first, *rest in rows) == [
        (n, *((n, part) for part in range(several(n)))) for n in range(200)
    ]


def whose(record):
    return record[0] if isinstance(record, tuple) else record


def test_if_some_of_them_are_lost_the_rest_goes_out_at_the_end():
    env = LocalEnvironment("gather")
    source = env.from_collection([3, 2])
    parts = source.flat_map(lambda n: [(n, part) for part in range(n)]).map(lambda each: (each[0], 1 / (each[1] - 2)))
    rows: list = []
    source.gather(parts, on=whose, count=several).sink(CollectSink(rows))
    job = finished(env)
    assert [letter.record for letter in job.dead_letters] == [(3, 2)]
    assert rows == [(2, (2, -0.5), (2, -1.0)), (3, (3, -0.5), (3, -1.0))]


@pytest.mark.parametrize("at", [0, 60, 99])
def test_a_crash_between_them_loses_and_doubles_none(tmp_path, at):
    env = LocalEnvironment(
        "gather", parallelism=2, checkpoint=Checkpointing(str(tmp_path), every=0.005), restart=FixedDelay(9, 0.0)
    )
    source = env.from_source(Paced(clicks(100))).map(lambda record: record["n"])
    parts = source.flat_map(lambda n: [(n, part) for part in range(several(n))])
    slow = parts.map(Once(lambda each: each[0] >= at), on_error="fail")
    rows: list = []
    source.gather(slow, on=whose, count=several).sink(CollectSink(rows))
    job = finished(env)
    assert sorted((first, *sorted(rest)) for first, *rest in rows) == [
        (n, *((n, part) for part in range(several(n)))) for n in range(100)
    ]
    assert job.restarts == 1


def test_in_a_loop_each_round_is_gathered_by_itself():
    env = LocalEnvironment("gather", parallelism=2)

    def body(stream):
        parts = stream.flat_map(lambda pair: [(pair[0], 1)] * (pair[0] % 3))
        return stream.gather(parts, on=number, count=lambda pair: pair[0] % 3).map(added)

    def added(gathered):
        (n, total), *ones = gathered
        return n, total + sum(one for _, one in ones) + 10

    rows: list = []
    env.from_collection([(n, 0) for n in range(50)]).iterate(body, until=lambda pair: pair[1] >= 30).sink(
        CollectSink(rows)
    )
    finished(env)
    assert sorted(rows) == [(n, 3 * (10 + n % 3)) for n in range(50)]


def test_keys_that_do_not_match_the_streams_are_refused():
    env = LocalEnvironment("gather")
    source = env.from_collection([1])
    with pytest.raises(SageError, match=r"takes a key, or one for each of the 2 streams, got \(<class 'int'>,\)"):
        source.gather(source, on=(int,))
