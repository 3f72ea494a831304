"""What cannot work on actors is refused by name, or fails its job by name; what operators print is the job's."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.gate import Gate
from sage_nb.runtime.operators.guard import MisuseError, OperatorError
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.ray.cluster import ClusterError, ClusterOptions, connect
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.host import Entrance
from sage_nb.runtime.ray.ports import Parcel
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.batch import Batch
from sage_nb.stream.sink import CollectSink, SinkFunction
from tests.runtime.jobs import Paced, Tally, clicks, finished, until

LONG = 60.0


def of(numbers, function, **settings):
    """A job that maps numbers, and the list they go to."""
    env, rows = RayEnvironment("bad", **settings), []
    env.from_collection(numbers).map(function, name="touchy", on_error="fail").sink(CollectSink(rows))
    return env, rows


REACHING = """
import sys, time
from sage_nb.runtime.ray.cluster import ClusterError, ClusterOptions, connect
for address in sys.argv[1:]:
    begun = time.monotonic()
    try:
        connect(ClusterOptions(address))
    except ClusterError as error:
        print(time.monotonic() - begun < 10, error)
"""


def test_no_cluster_at_the_address_is_said_within_ten_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (silent, closed)]
        addresses.append("nonsense")
        command = [sys.executable, "-c", REACHING, *addresses]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    assert len(said) == len(addresses)
    for line, address in zip(said, addresses, strict=True):
        assert line.startswith(f"True there is no Ray cluster at '{address}': ")
        assert line.endswith("start one with `ray start --head`, or leave address out")


def test_a_cluster_that_has_ended_is_said_by_its_address_within_ten_seconds(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        command = [sys.executable, "-c", REACHING, "auto"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.match(rf"True there is no Ray cluster at '[\d.]+:{port}': .*Connection refused; start one with", said)


def test_a_cluster_whose_token_this_process_does_not_show_is_said_to_ask_for_it(cluster):
    address = cluster.get_runtime_context().gcs_address
    places = os.environ | {"RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", REACHING, address]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=places).stdout
    assert f"the Ray cluster at '{address}' does not let this process in; where its machines have a token, set" in said


BUSY = """
import itertools, json, types, time
import psutil, ray
from sage_nb.runtime.ray.cluster import ClusterError, ClusterOptions, connect

def hidden(*given):
    raise RuntimeError("not in the list of nodes yet")

init, tries = ray.init, []
ray.init = lambda **given: (tries.append(given), init(**given))
for options in (ClusterOptions("nonsense"), ClusterOptions(num_cpus=1)):
    tries.clear()
    try:
        connect(options)
    except ClusterError as error:
        print(json.dumps([len(tries), str(error)]))
    ray._private.services.get_node = hidden  # Ray's half a minute is over at the second look
    ray._private.node.time = types.SimpleNamespace(sleep=time.sleep, monotonic=itertools.count(0, 20).__next__)
print(json.dumps([child.name() for child in psutil.Process().children(recursive=True)]))
"""


def test_a_node_that_starts_too_slowly_is_started_once_more_and_leaves_nothing():
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=280, check=True)
    nonsense, busy, left = map(json.loads, done.stdout.splitlines())
    assert nonsense[0] == 1
    assert busy[0] == 2
    assert busy[1].startswith("Ray could not be started here: The current node timed out during startup.")
    assert left == []


OTHER = """
import sys
import ray
from sage_nb.runtime.ray.cluster import ClusterError, ClusterOptions, connect
ray.__version__ = "2.0.0"
try:
    connect(ClusterOptions(sys.argv[1]))
except ClusterError as error:
    print(error)
"""


def test_a_cluster_of_another_version_says_which(cluster):
    address = cluster.get_runtime_context().gcs_address
    environment = os.environ | {"RAY_AUTH_MODE": "token"}
    command = [sys.executable, "-c", OTHER, address]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment).stdout
    words = f"the cluster at '{address}' runs other versions: .* Ray: 2.0.0 .*; install the same ray and Python on all"
    assert re.match(words, said), said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_cpus": 7}, r"connected to a Ray cluster with 4 CPU, and num_cpus=7 was asked; leave it out, or end"),
        ({"num_gpus": 1}, r"connected to a Ray cluster with 2 GPU, and num_gpus=1 was asked"),
        ({"address": "192.0.2.1:6379"}, r"connected to the Ray cluster at .*, not '192\.0\.2\.1:6379'; end that first"),
    ],
)
def test_another_cluster_than_the_one_at_hand_is_not_given_silently(options, words):
    with pytest.raises(ClusterError, match=words):
        connect(ClusterOptions(**options))


def test_ray_client_is_refused_with_the_address_to_give_instead():
    words = (
        r"address 'ray://head:10001' is one of Ray Client, .* give host:port of the head itself \(6379, .* or 'auto'"
    )
    with pytest.raises(BadValueError, match=words):
        RayEnvironment("bad", address="ray://head:10001")


@pytest.mark.parametrize("wrong", [{"num_cpus": -1}, {"num_gpus": 0.5}, {"num_cpus": True}, {"placement_timeout": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadValueError, match=r"must be (a whole number of 0 or|more than 0)"):
        RayEnvironment("bad", **wrong)


def test_what_cannot_be_sent_is_named_with_its_operator(cluster, tmp_path):
    lock, numbers = threading.Lock(), (n for n in range(3))
    with (tmp_path / "log").open("w") as log:
        for name, function in {
            "lock": lambda n: (lock, n),
            "numbers": lambda n: (numbers, n),
            "log": lambda n: (log, n),
        }.items():
            env, _ = of([1], function)
            with pytest.raises(BadValueError, match=f"operator 'touchy' cannot be sent .*: '{name}' is a .*open()"):
                env.submit()
    assert finished(of([1], abs)[0]).status == "finished"


class Odd(Exception):  # noqa: N818
    """Its constructor is not what pickle expects."""

    def __init__(self, number, unit):
        super().__init__(f"{number} {unit} too many")


def odd(number):
    raise Odd(number, "apples")


def test_an_error_of_an_odd_class_arrives_with_its_words():
    env, rows = of([3], odd)
    with pytest.raises(OperatorError, match="operator 'touchy' failed on 3: Odd: 3 apples too many"):
        env.submit().wait(LONG)
    assert rows == []


VERSION = """
class Tagging(MapFunction):
    def map(self, value):
        return ({version}, value)
"""


def test_a_class_that_was_defined_anew_takes_effect_in_the_next_run():
    for version in (1, 2):
        cell = {"__name__": "__main__", "MapFunction": __import__("sage_nb").MapFunction}
        exec(VERSION.format(version=version), cell)  # noqa: S102
        env, rows = of([7], cell["Tagging"]())
        finished(env)
        assert rows == [(version, 7)]


def speak(number):
    print("hello", number)
    logging.getLogger("of mine").warning("careful with %d", number)
    return number


def test_what_operators_print_and_log_is_the_jobs_and_not_the_notebooks(capfd):
    env, _ = of([1, 2], speak)
    job = finished(env)
    task = next(repr(task) for task in job.tasks if any(node.name == "touchy" for _, node in task.chain.nodes))
    assert job.lines == [f"{task} {each}" for n in (1, 2) for each in (f"hello {n}", f"careful with {n}")]
    assert "hello" not in "".join(capfd.readouterr())


class Needy:
    """Cannot be made in another process: what it is made with is here only."""

    def __init__(self):
        raise ModuleNotFoundError("No module named 'here_only'")

    def __reduce__(self):
        return Needy, ()

    def __call__(self, number):
        return number


@pytest.mark.parametrize("kept", [False, True])
def test_an_operator_that_cannot_be_made_over_there_fails_its_job_at_once(tmp_path, kept):
    env, _ = of([1], object.__new__(Needy), checkpoint=str(tmp_path) if kept else None)
    with pytest.raises(MisuseError, match=r"cannot be made in its process: .*No module named 'here_only'"):
        env.submit().wait(LONG)


class Poor(SinkFunction):
    """A sink at home that fails the first `times` times."""

    at_home = True

    def __init__(self, times, rows):
        self.left, self.rows = times, rows

    def __deepcopy__(self, memo):
        return self

    def write_batch(self, values):
        if self.left:
            self.left -= 1
            raise ValueError("no more room")
        self.rows.extend(values)


def test_a_sink_at_home_that_fails_fails_its_job_by_name():
    env = RayEnvironment("home")
    env.from_collection([1]).sink(Poor(1, []), name="poor")
    with pytest.raises(OperatorError, match="operator 'poor' failed when it was written to: ValueError: no more room"):
        env.submit().wait(LONG)


def test_a_sink_at_home_that_failed_once_has_every_record_after_a_restart():
    env, rows = RayEnvironment("home", restart=FixedDelay(3, 0.0)), []
    env.from_source(Paced(clicks(50))).map(lambda record: record["n"]).sink(Poor(1, rows), name="poor")
    assert finished(env).restarts == 1
    assert set(rows) == set(range(50))


def test_a_record_that_cannot_be_sent_fails_its_job_by_name():
    env, _ = of([1], lambda n: (n, threading.Lock()))
    with pytest.raises(MisuseError, match="a record cannot be sent to the sink's own process: .*lock.*plain data"):
        env.submit().wait(LONG)
    env = RayEnvironment("between")
    env.from_collection([1]).map(lambda n: threading.Lock()).key_by(str).map(str, name="next").sink(CollectSink([]))
    with pytest.raises(MisuseError, match="a record for operator 'next' cannot be sent to another process: "):
        env.submit().wait(LONG)


class Sealed:
    """Can be written, and not be read."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.parametrize("count", [1, 4])  # an item that is answered, and one that is not
def test_a_record_that_cannot_be_opened_fails_its_job_by_name(count):
    env = RayEnvironment("shut")
    sealed = env.from_collection(range(count)).map(lambda n: Sealed() if n == count - 1 else n)
    sealed.key_by(lambda value: 0).map(str, name="next").sink(CollectSink([]))
    with pytest.raises(MisuseError, match="a record cannot be opened in the process that it was sent to: ValueError"):
        env.submit().wait(LONG)


def test_an_item_that_did_not_come_is_missed():
    """Most items have no answer: the reader sees by their numbers that one is not there."""
    gate = Gate(1, capacity=8)
    gate.fence(1)
    entrance = Entrance(gate)
    entrance.push(Parcel("job", 1, 0, 0, cloudpickle.dumps(Batch([1]))))
    with pytest.raises(RuntimeError, match="channel 0: item 2 came, 1 was due"):
        entrance.push(Parcel("job", 1, 0, 2, cloudpickle.dumps(Batch([3]))))


def test_a_folder_that_processes_do_not_share_is_no_place_for_checkpoints():
    env = RayEnvironment("apart", checkpoint=Checkpointing("memory://apart", every=0.1))
    env.from_source(Paced(clicks(200), rest=0.02)).sink(CollectSink([]))
    with pytest.raises(MisuseError, match=r"wrote its part of checkpoint 1 to 'memory://apart', and it is not there"):
        env.submit().wait(LONG)


class Full(Probe):
    """A disk without room, for a while."""

    tally = Tally()

    def at(self, point, where):
        if point == "before write" and self.tally.next() <= 2:
            raise OSError("no space left on device")


def test_a_checkpoint_that_actors_cannot_write_is_given_up_and_the_job_goes_on(tmp_path):
    env, rows = RayEnvironment("full", checkpoint=Checkpointing(str(tmp_path), every=0.1)), []
    env.probe = Full()
    env.from_source(Paced(clicks(200), rest=0.05)).sink(CollectSink(rows))
    job = finished(env)
    assert job.restarts == 0
    assert any("was given up: it could not be written: no space left on device" in each for each in job.warnings)
    assert [row["n"] for row in rows] == list(range(200))


def test_a_job_that_is_cancelled_before_it_is_hired_leaves_nothing(cluster):
    env, _ = of(range(10), abs)
    begun = time.monotonic()
    job = env.submit()
    job.cancel()
    assert job.wait(LONG) == "cancelled"
    until(lambda: all(task.gone.is_set() for task in job.tasks), LONG)
    assert time.monotonic() - begun < LONG


def test_a_full_object_store_holds_no_job_up(cluster):
    """What is held here cannot leave it: records of more than it takes go by the disk."""
    size = int(cluster.cluster_resources()["object_store_memory"])
    held = [cluster.get(cluster.put(np.ones(size // 10, "u1"))) for _ in range(10)]
    env, rows = RayEnvironment("large"), []
    large = env.from_collection(range(20)).map(lambda n: (n, bytes(2_000_000)))
    large.key_by(lambda record: record[0]).map(lambda record: (record[0], len(record[1]))).sink(CollectSink(rows))
    finished(env, timeout=240)
    assert sorted(rows) == [(n, 2_000_000) for n in range(20)]
    assert sum(each.nbytes for each in held) >= size - 10
