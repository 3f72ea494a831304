"""Waiting for fuller batches."""

from __future__ import annotations

import time

from sage_nb.runtime.operators.running import Operator, Place, Saved
from sage_nb.stream.batch import Batch
from sage_nb.stream.graph import Spec


class Holding(Operator):
    """An operator that waits for fuller batches, where its options say so."""

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._held: Batch | None = None
        self._since = 0.0

    def process(self, batch: Batch, port: int) -> None:
        """At once, or when there are enough for a full batch."""
        batching = self.place.options.batch
        if batching is None:
            self.handle(batch, port)
            return
        if self._held is not None and not self._held.fits(batch):
            self.flush()
        if self._held is None:
            self._held, self._since = batch, time.time()
        else:
            self._held = Batch.joined([self._held, batch])
        if len(self._held) < batching.most:
            return
        while self._held is not None and len(self._held) >= batching.most:
            self._release(batching.most)
        self._since = time.time()  # what is left came with this batch, and while others were handled it did not wait

    def handle(self, batch: Batch, port: int) -> None:
        """Call the function for a batch."""
        raise NotImplementedError

    def flush(self) -> None:
        """Call it with what is there."""
        while self._held is not None:
            batching = self.place.options.batch
            self._release(batching.most if batching else len(self._held))

    @property
    def deadline(self) -> float | None:
        """When the oldest record has waited long enough."""
        batching = self.place.options.batch
        return self._since + batching.wait if batching and self._held is not None else None

    def wake(self, now: float) -> None:
        """Handle what waits."""
        if self.deadline is not None and now >= self.deadline:
            self.flush()

    @property
    def waiting(self) -> int:
        """Records kept for a fuller batch."""
        return 0 if self._held is None else len(self._held)

    def restore(self, saved: Saved) -> None:
        """Nothing is held."""
        super().restore(saved)
        self._held = None

    def _release(self, most: int) -> None:
        held = self._held
        if held is None:
            return
        due = held.cut(slice(most)) if len(held) > most else held
        self.in_hand += len(due)
        try:
            self._held = held.cut(slice(most, None)) if len(held) > most else None
            self.handle(due, 0)
        finally:
            self.in_hand -= len(due)
