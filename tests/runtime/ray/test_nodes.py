"""A node that is killed under a job: it goes on elsewhere, or says that there is no room."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.runtime.ray.mortal_nodes import COUNT, PATIENCE


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of the jobs."""
    folder = tmp_path_factory.mktemp("nodes")
    command = [sys.executable, "-m", "tests.runtime.ray.mortal_nodes", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


def test_a_job_goes_on_without_a_node_within_ten_seconds(found):
    """Ten where a new process takes two or less: other programs may hold both up."""
    moved = found["moved"]
    assert (moved["status"], moved["unbalanced"]) == ("finished", [])
    assert moved["restarts"] >= 1
    assert moved["seconds"] < max(10.0, 5 * found["process_s"])


def test_no_record_is_lost_or_doubled_with_a_node(found):
    records = found["moved"]["records"]
    assert sorted(n for n, *_ in records) == list(range(COUNT))
    numbers = defaultdict(list)
    for _, key, number in records:
        numbers[key].append(number)
    assert all(sorted(each) == list(range(1, len(each) + 1)) for each in numbers.values())


def test_what_lived_on_another_node_is_not_loaded_again(found):
    assert found["moved"]["opened"] == 3  # two at first, and one for the one that died


def test_without_room_elsewhere_the_job_fails_in_time_and_says_what_it_lacks(found):
    assert found["crowded"]["said"] == (
        f"PlacementError: a node with actors of the job is gone, and they could not be placed anew within "
        f"{PATIENCE:g} s: it asks for 1 x 1 CPU (count), 0 of 1 CPU free; end other jobs, lower parallelism or "
        f"resources, or add nodes"
    )
    assert found["crowded"]["seconds"] < PATIENCE + max(10.0, 5 * found["process_s"])
