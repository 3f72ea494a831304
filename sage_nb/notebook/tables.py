"""What `%sage runs` and `%sage cache` show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.retrieval.history import RunFacts
from sage_nb.runtime.cellcache.store import CacheFacts
from sage_nb.runtime.panel import duration, size


@dataclass(frozen=True)
class Table:
    """Rows under a header, as HTML and as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str

    def __str__(self) -> str:
        return f"{self.caption}\n{text_table(self.header, self.rows)}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        """For a notebook."""
        return markup.table(list(self.header), self.rows, caption=self.caption)


def runs_table(runs: Sequence[RunFacts]) -> Table:
    """The runs of the past, the newest first."""
    rows = [
        (
            each.id,
            markup.shortened(each.pipeline, 80),
            each.status,
            f"{each.answered} of {len(each.questions)}",
            duration(each.seconds),
            " ".join(
                f"{name}={int(sum(counts[name] for counts in each.stages.values()))}" for name in ("cached", "computed")
            ),
        )
        for each in runs
    ]
    return Table(("run", "pipeline", "status", "answered", "took", "results"), tuple(rows), f"{len(runs)} runs")


def cache_table(facts: CacheFacts, notes: Sequence[str] = ()) -> Table:
    """What the cache holds, by cell and stage."""
    now = time.time()
    rows = [
        (
            each.cell,
            each.stage,
            f"{each.entries:,}",
            size(each.bytes),
            f"{duration(now - each.oldest)} ago",
            f"{duration(now - each.last_used)} ago",
        )
        for each in facts.stages
    ]
    caption = (
        f"{size(facts.on_disk)} of {size(facts.limit)} · {facts.hits:,} found and {facts.misses:,} not, in this kernel"
    )
    return Table(("cell", "stage", "values", "size", "oldest", "last used"), tuple(rows), " · ".join([caption, *notes]))
