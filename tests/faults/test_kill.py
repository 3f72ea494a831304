"""kill -9 of the whole process at random moments; whoever comes next goes on from the folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict

from tests.runtime.jobs import lines

RECORDS = 6000  # of each of two splits: more than all the runs that are killed can read
KILLS = 20


def started(folder, rest):
    """A process with the job, running."""
    command = [sys.executable, "-m", "tests.faults.killed", str(folder), str(RECORDS), str(rest)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    return process


def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(KILLS):
        process = started(tmp_path, rest=0.004)
        time.sleep(moments.uniform(0.0, 0.35))
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        assert rest == "", "it finished before it was killed: give it more records"
    last = started(tmp_path, rest=0.0)
    said, _ = last.communicate(timeout=120)
    assert (said, last.returncode) == ("finished []\n", 0)
    rows = lines(tmp_path / "out")
    numbers = defaultdict(list)
    for row in rows:
        numbers[row["key"]].append(row["number"])
    assert Counter((row["key"], row["n"]) for row in rows) == Counter(
        (f"{name}{n % 7}", n) for name in "km" for n in range(RECORDS)
    )
    assert {key: sorted(found) for key, found in numbers.items()} == {
        key: list(range(1, len(found) + 1)) for key, found in numbers.items()
    }
