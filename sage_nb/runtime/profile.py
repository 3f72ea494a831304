"""Where a job's time went: each operator's own code, its models, the runtime around them, and waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.runtime.flame import Bar, drawn
from sage_nb.runtime.metrics import JobMetrics, OperatorMetrics, TaskMetrics


class OperatorTime(msgspec.Struct, frozen=True):
    """Seconds of an operator, over its subtasks: in its own code, and in the models it calls."""

    uid: str
    records: int
    self_s: float
    model_s: float


class ChainTime(msgspec.Struct, frozen=True):
    """Seconds of the tasks that run these operators: `runtime_s` moves records, the others wait."""

    operators: tuple[OperatorTime, ...]
    subtasks: int
    runtime_s: float
    backpressured_s: float
    idle_s: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(bar.seconds for bar in _parts(self))


class Profile(msgspec.Struct, frozen=True):
    """Where the time of a job's tasks went; each task has a thread, so the seconds of all add up to more than passed.

    In a notebook it is a picture, time from left to right, and a table; `print` gives the table.
    """

    name: str
    seconds: float
    chains: tuple[ChainTime, ...]

    @classmethod
    def of(cls, metrics: JobMetrics) -> Profile:
        """The profile that these metrics give."""
        heads = dict.fromkeys(task.uid for task in metrics.tasks)
        chains = [_chain([task for task in metrics.tasks if task.uid == uid], metrics.operators) for uid in heads]
        return cls(metrics.name, metrics.seconds, tuple(chains))

    def svg(self) -> str:
        """The picture: a bar for each task below the job's, and below it what its time went to."""
        tops = [
            Bar("task", _named(chain), chain.seconds, tuple(_parts(chain)), f"{chain.subtasks} subtasks")
            for chain in self.chains
        ]
        return drawn(Bar("job", self.name, sum(bar.seconds for bar in tops), tuple(tops), f"{self.seconds:.2f} s"))

    def __str__(self) -> str:
        header, rows = self._table()
        shown = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
        return f"{self._caption()}\n{text_table(header, shown)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Picture and table."""
        return f"{self.svg()}{markup.table(*self._table(), self._caption())}"

    def _caption(self) -> str:
        return f"{self.name}: where {self.seconds:.2f} s went, in seconds of all tasks"

    def _table(self) -> tuple[list[str], list[list[str | float]]]:
        header = ["operator", "records", "self s", "model s", "µs/record", "runtime s", "back-pressured s", "idle s"]
        return header, [row for chain in self.chains for row in _rows(chain)]


def _chain(tasks: Sequence[TaskMetrics], operators: Sequence[OperatorMetrics]) -> ChainTime:
    times = tuple(_operator(uid, operators) for uid in tasks[0].operators)
    busy = sum(task.busy_s for task in tasks)
    return ChainTime(
        operators=times,
        subtasks=len(tasks),
        runtime_s=max(0.0, busy - sum(each.self_s + each.model_s for each in times)),
        backpressured_s=sum(task.backpressured_s for task in tasks),
        idle_s=sum(task.idle_s for task in tasks),
    )


def _operator(uid: str, operators: Sequence[OperatorMetrics]) -> OperatorTime:
    mine = [each for each in operators if each.uid == uid]
    received, own = sum(each.received for each in mine), sum(each.self_s for each in mine)
    return OperatorTime(uid, received, own, sum(each.model_s for each in mine))


def _parts(chain: ChainTime) -> Iterator[Bar]:
    for each in chain.operators:
        models = (Bar("model", "model", each.model_s),) if each.model_s else ()
        yield Bar("self", each.uid, each.self_s + each.model_s, models, f"{each.records:,} records")
    yield Bar("runtime", "runtime", chain.runtime_s)
    yield Bar("blocked", "back-pressured", chain.backpressured_s)
    yield Bar("idle", "idle", chain.idle_s)


def _rows(chain: ChainTime) -> Iterator[list[str | float]]:
    """The task's own figures stand in the row of its first operator."""
    waits: list[str | float] = [round(each, 3) for each in (chain.runtime_s, chain.backpressured_s, chain.idle_s)]
    for at, each in enumerate(chain.operators):
        per_record = round(1e6 * (each.self_s + each.model_s) / max(1, each.records), 1)
        figures: list[str | float] = [each.records, round(each.self_s, 3), round(each.model_s, 3), per_record]
        yield [f"{'' if at == 0 else '└ '}{each.uid}", *figures, *(waits if at == 0 else ["", "", ""])]


def _named(chain: ChainTime) -> str:
    return " → ".join(each.uid for each in chain.operators)
