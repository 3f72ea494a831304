"""Edges: records of one operator on their way to the subtasks of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sage_nb.errors import BadValueError
from sage_nb.runtime.keys import KeyGroups
from sage_nb.runtime.operators.guard import LOST, shown
from sage_nb.runtime.operators.running import Operator
from sage_nb.stream.batch import FULL, Batch, Item, Sign
from sage_nb.stream.graph import ByKey, Custom, Everywhere, Partition


class Port(Protocol):
    """The sending end of one channel, over whatever transport."""

    @property
    def full(self) -> int:
        """How many records its reader likes in a batch just now."""
        ...

    def send(self, attempt: int, item: Item) -> float:
        """Put an item behind the others; waits while the channel is full, and returns the seconds waited.

        Raises FencedError where the reader knows that attempt to be over.
        """
        ...


class Edge:
    """All channels from one subtask to the subtasks of an operator that reads it, and who gets what.

    Batches that are not full are held back for more, until `flush`: the task calls it when it has nothing else to do,
    before each sign, and every few milliseconds. So batches fill by themselves where the reader is the slower one, and
    nothing waits where it is the faster.
    """

    def __init__(self, operator: Operator, ports: Sequence[Port]) -> None:
        self.operator, self.ports = operator, ports
        self.key = ""
        self.count = 0  # records sent
        self.attempt = 0  # on whose behalf
        self._held: list[list[Batch]] = [[] for _ in ports]
        self._waiting = [0] * len(ports)
        self._heavy = [FULL] * len(ports)

    def receive(self, batch: Batch, port: int = 0) -> None:  # noqa: ARG002  a Receiver
        """Send records on: at once where they make a full batch, else with the next ones, or at the next `flush`."""
        for to, part in self.dealt(batch):
            self._put(to, part)

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """The parts of a batch, each with the port it goes to."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is held back."""
        for to, held in enumerate(self._held):
            if held:
                self._release(to, everything=True)

    def sign(self, sign: Sign) -> None:
        """To all ports, behind all records."""
        self.flush()
        for port in self.ports:
            self._send(port, sign)

    def restore_count(self, count: int) -> None:
        """Forget what is held back, and how much was sent after a checkpoint."""
        self._held = [[] for _ in self.ports]
        self._waiting = [0] * len(self.ports)
        self.count = count

    @property
    def waiting(self) -> int:
        """Records held back."""
        return sum(self._waiting)

    def _put(self, to: int, part: Batch) -> None:
        held = self._held[to]
        if held and not held[0].fits(part):
            self._release(to, everything=True)
        held.append(part)
        self._waiting[to] += len(part)
        self._heavy[to] = part.heavy
        if self._waiting[to] >= min(self._heavy[to], self.ports[to].full):
            self._release(to)

    def _release(self, to: int, *, everything: bool = False) -> None:
        """Send what is held back for a port, in batches as full as its reader likes just then; the rest may stay."""
        whole = Batch.joined(self._held[to])
        count, port, at = len(whole), self.ports[to], 0
        while at < count:
            most = min(self._heavy[to], port.full)
            if count - at < most and not everything:
                break
            batch = whole if at == 0 and count <= most else whole.cut(slice(at, at + most))
            at += len(batch)
            self._send(port, batch)
            self.count += len(batch)  # once it is there: what waits for room is still held back
        left = whole.cut(slice(at, count)) if at < count else None
        self._held[to][:] = [] if left is None else [left]
        self._waiting[to] = 0 if left is None else len(left)

    def _send(self, port: Port, item: Item) -> None:
        """The wait for room is no one's work, and shows while it lasts."""
        clock, waited = self.operator.place.clock, None
        clock.sheet.rest("blocked")
        try:
            waited = port.send(self.attempt, item)
        finally:
            clock.sheet.work(waited)
        if waited:
            clock.wait(waited)


class Straight(Edge):
    """To one subtask only: the one of the same number."""

    def __init__(self, operator: Operator, ports: Sequence[Port], to: int = 0) -> None:
        super().__init__(operator, ports)
        self._to = to

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """All of it."""
        return [(self._to, batch)]


class InTurn(Edge):
    """To each subtask in turn, record by record: few slow records keep as many subtasks busy as many quick ones."""

    _next = 0

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """Every so-manieth record to each."""
        count, first = len(self.ports), self._next
        self._next = (first + len(batch)) % count
        turns = range(min(count, len(batch)))
        return [((first + turn) % count, batch.cut(slice(turn, None, count))) for turn in turns]


class ToAll(Edge):
    """Every record to every subtask."""

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """All of it, to everyone."""
        return list(enumerate(batch.copies(len(self.ports))))


class Chosen(Edge):
    """Each record where a function of it says; a record for which that fails goes to its operator's dead letters."""

    def astray(self, value: Any, error: Exception) -> Any:
        """The policy of the operator that sends it decides about a record that cannot be placed."""
        return self.operator.guard.astray(value, error, self.key.rpartition(":")[0])

    def parts(self, batch: Batch, choices: list[int | Any]) -> list[tuple[int, Batch]]:
        """The batch cut by these choices."""
        chosen = set(choices)
        if len(chosen) == 1 and LOST not in chosen:
            return [(choices[0], batch)]
        places: dict[int, list[int]] = {to: [] for to in chosen if to is not LOST}
        for at, to in enumerate(choices):
            if to is not LOST:
                places[to].append(at)
        return [(to, batch.at(found)) for to, found in places.items()]


class Keyed(Chosen):
    """Equal keys to equal subtasks, by key group."""

    def __init__(self, operator: Operator, ports: Sequence[Port], key: Callable[[Any], Any], groups: KeyGroups) -> None:
        super().__init__(operator, ports)
        self._key, self._groups = key, groups
        self._owners = [groups.owner(group, len(ports)) for group in range(groups.count)]

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """By the owner of the key's group; the key travels along."""
        keys: list[Any]
        try:  # all at once: half the time of one by one, which follows only to find a record that has no key
            key, owners = self._key, self._owners
            keys = self._groups.plainly([key(value) for value in batch.values])
            choices: list[Any] = [owners[group] for group in self._groups.groups(keys)]
        except Exception:  # noqa: BLE001  one of them is to blame
            keys = []
            choices = [self._choice(value, keys) for value in batch.values]
        return self.parts(Batch(batch.values, batch.times, keys, batch.rounds), choices)

    def _choice(self, value: Any, keys: list[Any]) -> Any:
        try:
            key = self._groups.plain(self._key(value))
            choice: Any = self._owners[self._groups.of(key)[1]]
        except Exception as error:  # noqa: BLE001  the policy decides
            key, choice = None, self.astray(value, error)
        keys.append(key)
        return choice


class ByChoice(Chosen):
    """Where the user's partitioner says."""

    def __init__(self, operator: Operator, ports: Sequence[Port], partitioner: Callable[[Any, int], int]) -> None:
        super().__init__(operator, ports)
        self._partitioner = partitioner

    def dealt(self, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """One by one."""
        return self.parts(batch, [self._choice(value) for value in batch.values])

    def _choice(self, value: Any) -> Any:
        count = len(self.ports)
        try:
            to = self._partitioner(value, count)
        except Exception as error:  # noqa: BLE001  the policy decides
            return self.astray(value, error)
        if type(to) is int and 0 <= to < count:
            return to
        wrong = BadValueError(f"partition_custom() must give a subtask from 0 to {count - 1}, got {shown(to)}")
        return self.astray(value, wrong)


def edge_of(partition: Partition, operator: Operator, ports: Sequence[Port], groups: KeyGroups) -> Edge:
    """The edge that partitions so."""
    if isinstance(partition, ByKey):
        return Keyed(operator, ports, partition.key, groups)
    if isinstance(partition, Custom):
        return ByChoice(operator, ports, partition.partitioner)
    if isinstance(partition, Everywhere):
        return ToAll(operator, ports)
    return Straight(operator, ports) if len(ports) == 1 else InTurn(operator, ports)
