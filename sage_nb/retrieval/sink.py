"""A collection as the sink of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from sage_nb.errors import BadValueError
from sage_nb.records.values import Document
from sage_nb.retrieval.indexing import Arrival, Chunking, Committing, Embedding, Plan
from sage_nb.retrieval.resources import Collections
from sage_nb.stream.function import Context
from sage_nb.stream.sink import IdempotentSink


class CollectionSink(IdempotentSink[Document]):
    """Cuts, embeds and commits a stream's Documents; `Collection.sink` makes one.

    A document is put under its id, so one that comes again after a failure counts once. What is written can be found
    from the next commit on: every 512 passages, at each checkpoint (every second in a job without a folder), and at the
    end.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chunking, self._embedding, self._committing = Chunking(plan), Embedding(plan), Committing(plan)

    def open(self, context: Context, /) -> None:
        """Find the collection; load its encoder."""
        self._folder = context.get(Collections).folder(self._plan.path)
        if self._plan.settings.encoder:
            self._embedding.open(context)
        self._committing.open(context)

    def write_batch(self, values: Sequence[Document], /) -> None:
        """Take those that are not there yet, as they are.

        Raises BadValueError for what is no Document, or has no text.
        """
        arrivals = [arrival for value in values if (arrival := self._new(value)) is not None]
        cut = self._chunking.map_batch(arrivals)
        self._committing.write_batch(self._embedding.map_batch(cut) if self._plan.settings.encoder and cut else cut)

    def flush(self) -> None:
        """One commit of all that waits."""
        self._committing.flush()

    def _new(self, value: object) -> Arrival | None:
        if not isinstance(value, Document) or not value.text.strip():
            raise BadValueError(f"a collection takes Documents with a text, got {value!r:.60}; map it to a Document")
        digest = self._plan.digest(value)
        held = self._folder.snapshot().origin(value.id)
        return None if held and held[1].hash == digest else Arrival(value, digest)
