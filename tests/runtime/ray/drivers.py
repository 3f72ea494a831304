"""Processes that submit jobs to the tests' cluster and may be killed: run as `python -m tests.runtime.ray.drivers`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.ray.cluster import ClusterOptions, connect
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.restart import FixedDelay, NoRestart
from sage_nb.stream.sink import JsonlSink
from tests.runtime.jobs import Paced, Running, clicks, lines

COUNT, KEYS = 2000, 7
SAID = "said: "


class Driver:
    """Such a process. It runs code that it is given, as a kernel does."""

    def __init__(self, address):
        command = [sys.executable, "-m", "tests.runtime.ray.drivers", address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def run(self, code):
        """What the code puts into `said`, or the error it raises, in words."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, "")
        return next(json.loads(line[len(SAID) :]) for line in lines if line.startswith(SAID))  # Ray may print, too

    def kill(self):
        """With -9."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class Until:
    """Whether a file is not there yet."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self):
        return not Path(self.path).exists()


def numbering(folder, name, **settings):
    """Numbers the records of each key into files below the folder; the last ones wait until there is a file `go`."""
    folder = Path(folder)
    checkpoint = Checkpointing(str(folder / "ckpt"), every=0.2)
    env = RayEnvironment(name, parallelism=2, checkpoint=checkpoint, restart=FixedDelay(100, 0.0), **settings)
    data = clicks(COUNT, keys=KEYS)
    source = Paced(data[::2], data[1::2], rest=0.02, hold=Until(folder / "go"))
    keyed = env.from_source(source, parallelism=2, name="clicks").key_by("key")
    keyed.process(Running(), name="number").sink(JsonlSink(str(folder / "out")))
    return env


def picky(record):
    """Does not take one of them."""
    if record["n"] == 3:
        raise ValueError("not that one")
    return record


def touchy(record):
    """Fails at the last one."""
    if record["n"] == COUNT - 1:
        raise ValueError("the last one")
    return record


def failing(folder, name):
    """Keeps a dead letter, and fails once there is a file `go`."""
    folder = Path(folder)
    checkpoint = Checkpointing(str(folder / "ckpt"), every=0.2)
    env = RayEnvironment(name, checkpoint=checkpoint, restart=NoRestart(), durable=True)
    source = env.from_source(Paced(clicks(COUNT), rest=0.001, hold=Until(folder / "go")))
    source.map(picky, name="picky").map(touchy, name="touchy", on_error="fail").for_each(id)
    return env


def lost_and_doubled(folder):
    """How many records are not in the files, and how many are there again; the numbers of each key have no gap."""
    records = lines(str(Path(folder) / "out"))
    found = [record["n"] for record in records]
    numbers = defaultdict(list)
    for record in records:
        numbers[record["key"]].append(record["number"])
    gaps = [key for key, given in numbers.items() if sorted(given) != list(range(1, len(given) + 1))]
    return len(set(range(COUNT)) - set(found)), len(found) - len(set(found)), gaps


def main(address):
    """Run the code of each line."""
    connect(ClusterOptions(address))
    scope = {}
    for line in sys.stdin:
        scope["said"] = None
        try:
            exec(json.loads(line), scope)  # noqa: S102
        except Exception as error:  # noqa: BLE001
            scope["said"] = f"{type(error).__name__}: {error}"
        print(SAID + json.dumps(scope["said"]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
