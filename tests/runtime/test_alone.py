"""A graph of one chain, worked through in the thread that asks: what a job of it gives, without its threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import ClassVar

import pytest

from sage_nb.errors import SageError
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.stage import Applied
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.operators.guard import OperatorError, OperatorTimeoutError
from sage_nb.stream.function import MapFunction
from sage_nb.stream.policy import Retry
from sage_nb.stream.sink import CollectSink

FAIL = {"on_error": "fail"}


def chain(function, items=(1, 2, 3), **how):
    env, rows = LocalEnvironment("chain"), []
    env.from_collection(list(items), **FAIL).map(function, name="step", **{**FAIL, **how}).sink(
        CollectSink(rows), **FAIL
    )
    return env, rows


class Held(MapFunction):
    """Says where it was opened, called and closed."""

    said: ClassVar[list] = []

    def open(self, context):
        self.said.append(("open", threading.current_thread()))

    def map(self, value):
        self.said.append(("map", threading.current_thread()))
        return value

    def close(self):
        self.said.append(("close", threading.current_thread()))


def test_it_gives_what_a_job_gives():
    results = []
    for run in (lambda env: env.work_through(), lambda env: env.submit().wait() == "finished"):
        env, rows = chain(lambda n: n * n, range(1000), batch=(7, 0.01))
        assert run(env)
        results.append(rows)
    assert results[0] == results[1] == [n * n for n in range(1000)]


def test_a_function_lives_and_dies_in_the_thread_that_asks():
    Held.said = []
    before = threading.active_count()
    env, rows = chain(Held, [1])
    assert env.work_through()
    assert rows == [1]
    assert Held.said == [(what, threading.current_thread()) for what in ("open", "map", "close")]
    assert threading.active_count() == before


def test_what_fails_says_whose_it_is_and_closes_what_was_opened():
    class Failing(Held):
        said: ClassVar[list] = []

        def map(self, value):
            raise ValueError("no")

    env, rows = chain(Failing)
    with pytest.raises(OperatorError, match="'step' failed on 1: ValueError: no"):
        env.work_through()
    assert rows == []
    assert [what for what, _ in Failing.said] == ["open", "close"]


def test_it_is_tried_again_and_timed_as_in_a_job():
    tries = []

    def second_time(value):
        tries.append(value)
        if len(tries) == 1:
            raise ValueError("not yet")
        return value

    env, rows = chain(second_time, [5], retry=Retry(1, backoff=0.0))
    assert env.work_through()
    assert (rows, tries) == ([5], [5, 5])
    held = threading.Event()
    env, _ = chain(lambda _: held.wait(60), [5], timeout=0.05)
    with pytest.raises(OperatorTimeoutError, match="step"):
        env.work_through()
    held.set()


def test_the_stop_button_is_no_failure_of_a_function():
    def stopped(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        chain(stopped)[0].work_through()
    with pytest.raises(OperatorError, match="left its thread: SystemExit"):
        chain(lambda _: sys.exit())[0].work_through()


def test_a_function_may_begin_an_event_loop_where_a_notebook_runs_one():
    async def doubled(value):
        await asyncio.sleep(0)
        return 2 * value

    async def cell():
        mine = asyncio.current_task()
        env, rows = chain(lambda value: asyncio.run(doubled(value)), [1, 2])
        assert env.work_through()
        assert asyncio.current_task() is mine
        await asyncio.sleep(0)  # the loop goes on
        with pytest.raises(OperatorError, match="'step' failed on 1: ZeroDivisionError"):
            chain(lambda value: 1 / 0)[0].work_through()
        assert asyncio.get_running_loop() is mine.get_loop()
        return rows

    assert asyncio.run(cell()) == [2, 4]


def test_what_fails_at_closing_undoes_nothing(caplog):
    class Sticking(Held):
        def close(self):
            raise ValueError("stuck")

    env, rows = chain(Sticking, [1])
    assert env.work_through()
    assert rows == [1]
    assert "the job is finished, but operator 'step' failed when it was closed: ValueError: stuck" in caplog.text


@pytest.mark.parametrize("build", ["branches", "subtasks", "letters"])
def test_where_tasks_would_run_beside_each_other_it_leaves_them_to_a_job(build):
    env, rows = LocalEnvironment("several"), []
    numbers = env.from_collection([1], **FAIL)
    if build == "branches":
        numbers = numbers.gather(numbers.map(abs, **FAIL), on=(abs, abs), **FAIL)
    elif build == "subtasks":
        numbers = numbers.map(abs, parallelism=2, **FAIL)
    else:
        numbers = numbers.map(abs)  # whose dead letters another operator collects
    numbers.sink(CollectSink(rows), **FAIL)
    assert not env.work_through()
    assert rows == []


def answering(result):
    return Result(result.query, (Hit(Document("d", threading.current_thread().name), 1, 1.0),))


def test_a_lone_question_is_answered_where_it_is_asked():
    here = threading.current_thread().name
    assert Applied(answering).search("who?").hits[0].document.text == here
    beside = (Applied(answering) + Applied(answering)).search("who?")
    assert beside.hits[0].document.text != here


def test_a_lone_question_without_an_answer_is_told():
    class Losing(Applied):
        def on_stream(self, stream, /, **how):
            return stream.filter(lambda result: False, **how)

    with pytest.raises(SageError, match="question 'q' came to no end"):
        Losing(answering).search("who?")
