"""Running a plan's tasks as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sage_nb.runtime.gate import Gate
from sage_nb.runtime.task import Task
from sage_nb.runtime.wiring import Address, Wiring
from sage_nb.stream.batch import Item


class Wire:
    """The sending end of a channel between two threads. Batches go by reference: nobody changes one that was sent."""

    def __init__(self, gate: Gate, channel: int) -> None:
        self._gate, self._channel = gate, channel

    @property
    def full(self) -> int:
        """As the reader says."""
        return self._gate.full

    def send(self, attempt: int, item: Item) -> float:
        """Into the reader's gate; waits while the channel is full."""
        return self._gate.push(attempt, self._channel, item)


class Threads:
    """The tasks of a plan, each after those it reads."""

    def __init__(self, wiring: Wiring) -> None:
        places = [(chain, subtask) for chain in wiring.plan.chains for subtask in range(chain.parallelism)]
        gates = {(chain.uid, subtask): wiring.gate(chain, subtask) for chain, subtask in places}

        def connect(to: Address) -> Wire:
            return Wire(gates[to.uid, to.subtask], to.channel)

        self.tasks: Sequence[Task] = [
            wiring.task(chain, subtask, gates[chain.uid, subtask], connect) for chain, subtask in places
        ]

    def start(self) -> None:
        """A thread for each; they wait to begin."""
        for task in self.tasks:
            threading.Thread(target=task.run, name=f"sage-{task!r}", daemon=True).start()
