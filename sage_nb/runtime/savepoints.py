"""Savepoints of a running job: asked for by people, each a copy of a checkpoint that the job takes for itself."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from sage_nb.errors import SageError
from sage_nb.runtime.checkpoint import Store
from sage_nb.runtime.plan import Plan
from sage_nb.runtime.taking import Taking
from sage_nb.runtime.warned import Warnings

Savepoint = tuple[Store, Future[int]]  # where it is to lie, and who waits for its number


class Savepoints:
    """Those asked for, and those taken that are not given yet."""

    def __init__(self, plan: Plan, warnings: Warnings) -> None:
        self.wanted: deque[Savepoint] = deque()
        self._plan, self._warnings = plan, warnings
        self._taken: list[tuple[int, Future[int]]] = []

    def ask(self, store: Store) -> Future[int]:
        """From any thread; gives its number in time."""
        promise: Future[int] = Future()
        self.wanted.append((store, promise))
        return promise

    def copy(self, taking: Taking) -> None:
        """Of a checkpoint that was committed, where it is a savepoint too."""
        if taking.savepoint is None:
            return
        store, promise = taking.savepoint
        try:
            if taking.store is not None and taking.store is not store:
                for file in taking.files:
                    store.write(taking.number, file.name, taking.store.read(taking.number, file.name))
                store.commit(taking.manifest(self._plan))
        except OSError as error:
            self._warnings.append(f"the savepoint {taking.number} was given up: it could not be written: {error}")
            promise.set_exception(given_up(f"it could not be written: {error}"))
        else:
            self._taken.append((taking.number, promise))

    def give(self) -> None:
        """Sinks have committed what those taken count on, or will when the job begins again."""
        for number, promise in self._taken:
            promise.set_result(number)
        self._taken.clear()

    def refuse(self, status: str) -> None:
        """The job has ended."""
        while self.wanted:
            _, promise = self.wanted.popleft()
            promise.set_exception(SageError(f"no savepoint was taken: the job is {status}; take one while it runs"))


def given_up(reason: str) -> SageError:
    """What to tell who waits for one.

    >>> given_up("the job is cancelled")
    SageError('the savepoint was given up: the job is cancelled; ask again')
    """
    return SageError(f"the savepoint was given up: {reason}; ask again")
