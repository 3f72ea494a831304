"""A task's gate: bounded channels, blocked ones, feedback, attempts."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.runtime.gate import CONTROL, FencedError, Gate
from sage_nb.stream.batch import Barrier, Batch, Watermark
from tests.runtime.jobs import until


def gate_of(channels=1, capacity=2, feedback=()):
    gate = Gate(channels, capacity, feedback)
    gate.fence(1)
    return gate


def batch(value):
    return Batch([value])


def taken(gate):
    """All that can be taken now, as (channel, value or sign)."""
    found = []
    while (item := gate.take(1, 0)) is not None:
        found.append((item[0], item[1].values[0] if isinstance(item[1], Batch) else item[1]))
    return found


class Sender(threading.Thread):
    """Pushes values one after the other; `sent` counts those that found room."""

    def __init__(self, gate, channel, values):
        super().__init__(daemon=True)
        self.gate, self.channel, self.values = gate, channel, values
        self.sent, self.error = 0, None
        self.start()

    def run(self):
        try:
            for value in self.values:
                self.gate.push(1, self.channel, batch(value))
                self.sent += 1
        except FencedError as error:
            self.error = error

    def waits_at(self, sent):
        """Whether it stands still after so many."""
        until(lambda: self.sent >= sent)
        self.join(0.02)
        return self.is_alive() and self.sent == sent


def test_items_of_a_channel_keep_their_order_signs_among_them():
    gate = gate_of()
    for item in (batch(1), Watermark(5.0), batch(2)):
        gate.push(1, 0, item)
    assert taken(gate) == [(0, 1), (0, Watermark(5.0)), (0, 2)]


def test_a_full_channel_makes_its_sender_wait_until_there_is_room():
    gate = gate_of(capacity=4)
    sender = Sender(gate, 0, range(6))
    assert sender.waits_at(4)
    gate.take(1, 0)
    assert sender.waits_at(5)
    gate.take(1, 0)
    sender.join(10)
    assert sender.sent == 6
    assert taken(gate) == [(0, at) for at in range(2, 6)]


def test_no_channel_ever_holds_more_batches_than_its_capacity():
    gate = gate_of(channels=3, capacity=2)
    senders = [Sender(gate, channel, range(300)) for channel in range(3)]
    got = []
    while len(got) < 900:
        item = gate.take(1, time.monotonic() + 60)
        assert item is not None
        got.append((item[0], item[1].values[0]))
        assert max(gate._counts) <= 2
        assert gate.waiting <= 6
    assert [sender.sent for sender in senders] == [300] * 3
    assert all([n for channel, n in got if channel == at] == list(range(300)) for at in range(3))


def test_a_full_channel_does_not_keep_other_senders_waiting():
    gate = gate_of(channels=2, capacity=1)
    sender = Sender(gate, 0, range(2))
    assert sender.waits_at(1)
    assert gate.push(1, 1, batch("other")) == 0.0
    assert taken(gate)[:2] == [(0, 0), (1, "other")]


def test_a_sign_finds_room_in_a_full_channel():
    gate = gate_of(capacity=1)
    gate.push(1, 0, batch(1))
    assert gate.push(1, 0, Barrier(1)) == 0.0
    assert taken(gate) == [(0, 1), (0, Barrier(1))]


def test_the_wait_of_a_sender_is_told():
    gate = gate_of(capacity=1)
    gate.push(1, 0, batch(1))
    threading.Timer(0.05, gate.take, (1, 0)).start()
    assert gate.push(1, 0, batch(2)) >= 0.02


def test_a_blocked_channel_holds_back_what_comes_and_lets_others_pass():
    gate = gate_of(channels=2, capacity=8)
    gate.push(1, 0, batch("a1"))
    gate.push(1, 1, batch("b1"))
    gate.block(0)
    gate.push(1, 0, batch("a2"))
    gate.push(1, 1, batch("b2"))
    assert taken(gate) == [(1, "b1"), (1, "b2")]
    gate.push(1, 1, batch("b3"))
    gate.unblock()
    assert taken(gate) == [(0, "a1"), (0, "a2"), (1, "b3")]


def test_a_blocked_and_full_channel_does_not_stop_the_other():
    gate = gate_of(channels=2, capacity=1)
    gate.block(0)
    blocked, other = Sender(gate, 0, range(3)), Sender(gate, 1, range(50))
    assert blocked.waits_at(1)
    got = []
    while len(got) < 50:
        got.append(gate.take(1, time.monotonic() + 60)[1].values[0])
    other.join(10)
    assert got == list(range(50))
    assert blocked.sent == 1
    gate.unblock()
    assert gate.take(1, 0)[1].values == [0]
    gate.fence(2)
    blocked.join(10)


def test_feedback_is_never_full_and_goes_first():
    gate = gate_of(channels=2, capacity=1, feedback=[1])
    gate.push(1, 0, batch("new"))
    assert [gate.push(1, 1, batch(at)) for at in range(100)] == [0.0] * 100
    assert taken(gate) == [*((1, at) for at in range(100)), (0, "new")]
    assert gate.fill == 0.0


def test_a_command_overtakes_all():
    gate = gate_of()
    gate.push(1, 0, batch(1))
    gate.tell(1, "close")
    assert gate.take(1, None) == (CONTROL, "close")


def test_a_new_attempt_empties_the_gate_and_frees_who_waits():
    gate = gate_of(capacity=1)
    sender = Sender(gate, 0, range(2))
    assert sender.waits_at(1)
    gate.fence(2)
    sender.join(10)
    assert isinstance(sender.error, FencedError)
    assert (gate.waiting, gate.fill, gate.empty) == (0, 0.0, True)
    gate.push(2, 0, batch("again"))
    assert gate.take(2, 0)[1].values == ["again"]


def test_an_old_attempt_can_neither_push_nor_take():
    gate = gate_of()
    gate.fence(2)
    with pytest.raises(FencedError, match="^$"):
        gate.push(1, 0, batch(1))
    with pytest.raises(FencedError, match="^$"):
        gate.take(1, 0)
    gate.tell(1, "close")
    assert gate.take(2, 0) is None


def test_a_reader_that_waits_is_woken_by_an_item_a_command_and_a_new_attempt():
    gate, woken = gate_of(), []

    def read():
        try:
            woken.append(gate.take(1, None))
            woken.append(gate.take(1, None))
            gate.take(1, None)
        except FencedError:
            woken.append("fenced")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    gate.push(1, 0, Watermark(1.0))
    until(lambda: len(woken) == 1)
    gate.tell(1, "begin")
    until(lambda: len(woken) == 2)
    gate.fence(2)
    reader.join(10)
    assert woken == [(0, Watermark(1.0)), (CONTROL, "begin"), "fenced"]


channels = st.integers(0, 2)
steps = st.lists(st.tuples(st.sampled_from(["push", "push", "take", "block", "unblock"]), channels), max_size=60)


@given(steps)
def test_whatever_is_blocked_when_nothing_is_lost_and_each_channel_keeps_its_order(steps):
    gate, sent, got = gate_of(channels=3, capacity=100), [0, 0, 0], [[], [], []]
    blocked = set()
    for what, channel in steps:
        if what == "push":
            gate.push(1, channel, batch(sent[channel]))
            sent[channel] += 1
        elif what == "block":
            gate.block(channel)
            blocked.add(channel)
        elif what == "unblock":
            gate.unblock()
            blocked.clear()
        elif (item := gate.take(1, 0)) is not None:
            assert item[0] not in blocked
            got[item[0]].append(item[1].values[0])
    gate.unblock()
    for channel, value in taken(gate):
        got[channel].append(value)
    assert got == [list(range(count)) for count in sent]
