"""Edges: records of one operator on their way to the subtasks of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sage_nb.errors import BadValueError
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.operators.guard import LOST
from sage_nb.runtime.operators.running import Operator
from sage_nb.stream.batch import Batch, Item, Sign
from sage_nb.stream.graph import ByKey, Custom, Everywhere, Partition

FULL = 256  # records of a batch on an edge


class Port(Protocol):
    """The sending end of one channel, over whatever transport."""

    def send(self, attempt: int, item: Item) -> float:
        """Put an item behind the others; waits while the channel is full, and returns the seconds waited.

        Raises FencedError where the reader knows that attempt to be over.
        """
        ...


class Edge:
    """All channels from one subtask to the subtasks of an operator that reads it, and who gets what."""

    def __init__(self, operator: Operator, ports: Sequence[Port]) -> None:
        self.operator, self.ports = operator, ports
        self.key = ""
        self.count = 0  # records sent
        self.attempt = 0  # on whose behalf
        self.blocked_s = 0.0  # seconds that full channels made it wait
        self._buffers: list[Batch | None] = [None] * len(ports)

    def receive(self, batch: Batch, port: int = 0) -> None:  # noqa: ARG002  a Receiver
        """Send records on: at once where they make a full batch, else with the next ones, or at the next `flush`."""
        for to, part in self.dealt(batch):
            self._put(to, part)

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """The parts of a batch, each with the port it goes to."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is held back."""
        for to, held in enumerate(self._buffers):
            if held is not None:
                self._buffers[to] = None
                self._send(to, held)

    def sign(self, sign: Sign) -> None:
        """To all ports, behind all records."""
        self.flush()
        for port in self.ports:
            self.blocked_s += port.send(self.attempt, sign)

    def restore_count(self, count: int) -> None:
        """Forget what is held back, and how much was sent after a checkpoint."""
        self._buffers = [None] * len(self.ports)
        self.count = count

    @property
    def waiting(self) -> int:
        """Records held back."""
        return sum(len(held) for held in self._buffers if held is not None)

    def _put(self, to: int, part: Batch) -> None:
        held = self._buffers[to]
        if held is None and len(part) >= FULL:
            self._send(to, part)
            return
        if held is not None and not held.fits(part):
            self._buffers[to] = None
            self._send(to, held)
            held = None
        if held is None:
            self._buffers[to] = part.copy()
            return
        held.extend(part)
        if len(held) >= FULL:
            self._buffers[to] = None
            self._send(to, held)

    def _send(self, to: int, batch: Batch) -> None:
        self.count += len(batch)
        self.blocked_s += self.ports[to].send(self.attempt, batch)


class Straight(Edge):
    """To one subtask only: the one of the same number."""

    def __init__(self, operator: Operator, ports: Sequence[Port], to: int = 0) -> None:
        super().__init__(operator, ports)
        self._to = to

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """All of it."""
        return [(self._to, batch)]


class InTurn(Edge):
    """To each subtask in turn, a batch each."""

    _next = -1

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """All of it, to the next one."""
        self._next = (self._next + 1) % len(self.ports)
        return [(self._next, batch)]

    def _put(self, to: int, part: Batch) -> None:
        self._send(to, part)


class ToAll(Edge):
    """Every record to every subtask."""

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """All of it, to everyone."""
        return [(to, batch) for to in range(len(self.ports))]


class Chosen(Edge):
    """Each record where a function of it says; a record for which that fails goes to its operator's dead letters."""

    def parts(self, batch: Batch, choices: list[int | Any]) -> list[tuple[int, Batch]]:
        """The batch cut by these choices."""
        if len(self.ports) == 1 and LOST not in choices:
            return [(0, batch)]
        places: dict[int, list[int]] = {}
        for at, to in enumerate(choices):
            if to is not LOST:
                places.setdefault(to, []).append(at)
        return [(to, batch.at(found)) for to, found in places.items()]


class Keyed(Chosen):
    """Equal keys to equal subtasks, by key group."""

    def __init__(self, operator: Operator, ports: Sequence[Port], key: Callable[[Any], Any], groups: KeyGroups) -> None:
        super().__init__(operator, ports)
        self._key, self._groups = key, groups
        self._owners = [groups.owner(group, len(ports)) for group in range(groups.count)]

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """By the owner of the key's group; the key travels along."""
        keys: list[Any] = []
        choices = [self._choice(value, keys) for value in batch.values]
        return self.parts(Batch(batch.values, batch.times, keys, batch.rounds), choices)

    def _choice(self, value: Any, keys: list[Any]) -> Any:
        try:
            key = self._key(value)
            choice: Any = self._owners[self._groups.of(key)[1]]
        except Exception as error:  # noqa: BLE001  the policy decides
            key, choice = None, self.operator.guard.failed(self._placed, value, error, orphan=True)
        keys.append(key)
        return choice

    def _placed(self, value: Any) -> int:
        return self._owners[self._groups.of(self._key(value))[1]]


class ByChoice(Chosen):
    """Where the user's partitioner says."""

    def __init__(self, operator: Operator, ports: Sequence[Port], partitioner: Callable[[Any, int], int]) -> None:
        super().__init__(operator, ports)
        self._partitioner = partitioner

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """One by one."""
        return self.parts(batch, [self.operator.guard.call(self._choice, value, orphan=True) for value in batch.values])

    def _choice(self, value: Any) -> int:
        count = len(self.ports)
        to = self._partitioner(value, count)
        if isinstance(to, bool) or not isinstance(to, int) or not 0 <= to < count:
            raise BadValueError(f"partition_custom() must give a subtask from 0 to {count - 1}, got {to!r}")
        return to


def edge_of(partition: Partition, operator: Operator, ports: Sequence[Port], groups: KeyGroups) -> Edge:
    """The edge that partitions so."""
    if isinstance(partition, ByKey):
        return Keyed(operator, ports, partition.key, groups)
    if isinstance(partition, Custom):
        return ByChoice(operator, ports, partition.partitioner)
    if isinstance(partition, Everywhere):
        return ToAll(operator, ports)
    return Straight(operator, ports) if len(ports) == 1 else InTurn(operator, ports)
