"""Key groups: few keys find several subtasks, many keys find all evenly."""

from __future__ import annotations

from collections import Counter

import pytest

from sage_nb.runtime.keys import KeyGroups


def owners(keys, parallelism):
    groups = KeyGroups(128)
    return Counter(groups.owner(groups.of(key)[1], parallelism) for key in keys)


@pytest.mark.parametrize("name", ["", "k", "user", "click-"])
@pytest.mark.parametrize("parallelism", [2, 3])
def test_ten_keys_that_differ_in_a_digit_keep_every_subtask_busy(name, parallelism):
    keys = [f"{name}{at}" if name else at for at in range(10)]
    found = owners(keys, parallelism)
    assert len(found) == parallelism
    assert max(found.values()) <= 8


@pytest.mark.parametrize("kind", [int, str, float, lambda n: ("a", n), lambda n: f"user{n:06d}"])
def test_many_keys_are_shared_out_evenly(kind):
    found = owners(map(kind, range(6000)), 3)
    assert min(found.values()) > 1800
    groups = KeyGroups(128)
    assert len({groups.of(kind(n))[1] for n in range(6000)}) == 128


@pytest.mark.parametrize("count", [3, 1000, 2**15])
def test_every_group_can_be_reached(count):
    groups = KeyGroups(count)
    assert len({groups.of(n)[1] for n in range(20 * count)}) > 0.99 * count


def test_the_group_of_a_key_is_the_same_in_every_process_and_release():
    groups = KeyGroups(128)
    assert [groups.of(key)[1] for key in ("a", 1, True, None, ("a", 1))] == [33, 108, 63, 44, 26]
