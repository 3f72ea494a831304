"""A plain interpreter of a logical graph: lists in, lists out, one operator after the other. The oracle of streams.

An operator reads a whole list of rows and watermarks and gives a list for each of its outputs. Of the package it uses
what describes a job (the graph, its specs, the users' functions), nothing of what runs one.

Which jobs have one right answer, whatever the parallelism and the pace:

- *One path.* One source of one split that says `every=` how many records a watermark goes out, and up to the first
  keyed operator no operator with more than one input or subtask. Records and watermarks then come in one order only;
  here they stand in one list. What is late, and what a late record does, is decided. Behind the first keyed operator
  nothing that looks at time.
- *In time.* Any number of sources, splits, inputs and subtasks, if no record comes later than its watermark's delay
  allows: then nothing is late, a window sees all its records before it ends, and the order among records of different
  splits does not show, as long as the functions do not look at it. Here such a source says no time before its end, and
  an operator of several inputs reads one after the other.

A loop holds watermarks back in both cases: behind it, time stands still until the end.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import floor, inf, nextafter
from typing import Any, NamedTuple

from sage_nb.stream import graph as g
from sage_nb.stream.window import CountWindows, TimeWindows


class Row(NamedTuple):
    """A record with its event time and its key."""

    value: Any
    time: float | None = None
    key: Any = None


class Mark(NamedTuple):
    """A watermark."""

    at: float


Outputs = dict[str, list[Any]]  # rows and marks of each output


def alike(key):
    """What equal keys share: 1, 1.0 and True are three keys, a list is as good as a tuple."""
    return repr(tuple(key) if isinstance(key, list) else key)


def spans(windows: TimeWindows, time: float) -> list[tuple[float, float]]:
    """The windows that hold a time, in decimal fractions as people write them."""
    size, slide, at = (Fraction(str(number)) for number in (windows.size, windows.slide, time))
    first, last = floor((at - size) / slide) + 1, floor(at / slide)
    return [(float(n * slide), float(n * slide + size)) for n in range(first, last + 1)]


class Cell:
    """A piece of state of the current key."""

    def __init__(self, context, name):
        self.context, self.name = context, name

    def read(self):
        return self.context.held.get((alike(self.context.key), self.name))

    def write(self, value):
        self.context.held[alike(self.context.key), self.name] = value


class Context:
    """What a process function may ask for: state, timers, side outputs."""

    def __init__(self):
        self.held, self.timers, self.sides = {}, {}, []
        self.key, self.time, self.watermark = None, None, -inf

    def state(self, declared):
        return declared.handle(Cell(self, declared.name))

    def output(self, name, value):
        self.sides.append((name, Row(value, self.time)))

    def set_timer(self, at):
        self.timers[at, alike(self.key)] = self.key

    def clear_timer(self, at):
        self.timers.pop((at, alike(self.key)), None)


class Reference:
    """`Reference(graph).sinks()` is what the job's sinks must hold; `dead` what its operators could not handle."""

    def __init__(self, graph: g.Graph, parallelism: int = 1) -> None:
        self.graph, self.parallelism = graph, parallelism
        self.dead: list[tuple[str, Any]] = []
        self._made: dict[g.Node, Outputs] = {}
        self._functions: dict[g.Node, tuple[Any, Context]] = {}

    def sinks(self) -> dict[str, list[Any]]:
        """The records that reach each sink, by its uid."""
        sinks = [(uid, node) for uid, node in self.graph.nodes if isinstance(node.spec, g.SinkSpec)]
        sinks = [(uid, node) for uid, node in sinks if not uid.startswith("dead-letters")]
        return {uid: [row.value for row in rows_of(self._read(node)[0])] for uid, node in sinks}

    def _outputs(self, node: g.Node) -> Outputs:
        if node not in self._made:
            self._made[node] = getattr(self, node.spec.kind)(node, node.spec)
        return self._made[node]

    def _read(self, node: g.Node) -> list[list[Any]]:
        """The rows of each port; watermarks only where there is one input, and at the end."""
        ports = defaultdict(list)
        for each in node.inputs:
            items = self._outputs(each.node).get(each.output, [])
            copies = self.parallelism if isinstance(each.partition, g.Everywhere) else 1
            rows = [keyed for item in items for keyed in [self._keyed(each, item)] * copies if keyed]
            ports[each.port] += rows if len(node.inputs) == 1 else rows_of(rows)
        return [[*ports[port], Mark(inf)] for port in range(max(ports) + 1)]

    def _keyed(self, read: g.Input, item: Any) -> Any:
        if not isinstance(item, Row):
            return item
        key = self._called(read.node, read.partition.key, item.value) if isinstance(read.partition, g.ByKey) else [None]
        return item._replace(key=key[0]) if key else None

    def _called(self, node: g.Node, function: Any, *arguments: Any) -> list[Any]:
        """The function's result, or nothing: then the record is dead."""
        try:
            return [function(*arguments)]
        except ArithmeticError:
            self.dead.append((node.name, arguments[0]))
            return []

    def _each(self, node, made_of, items):
        """Rows for each row, in its place and time; watermarks stay where they are."""
        out = []
        for item in items:
            made = [item]
            if isinstance(item, Row):
                made = [Row(value, item.time) for values in self._called(node, made_of, item.value) for value in values]
            out += made
        return {g.MAIN: out}

    def source(self, node, spec):
        names, out = spec.source.splits(), []
        for name in names:
            out += [Row(value) for value in spec.source.read(name, 0)]
        return self.times(node, spec, out, one_path=len(names) == 1)

    def times(self, node, spec, rows=None, *, one_path=False):
        strategy, out, reached = spec.watermark, [], -inf
        rows = rows_of(self._read(node)[0]) if rows is None else rows
        for number, row in enumerate(rows, start=1):
            time = None if strategy is None else float(strategy.timestamp(row.value))
            out.append(Row(row.value, time))
            if strategy is not None and one_path and strategy.every:
                reached = max(reached, time - strategy.delay)
                out += [Mark(reached)] if number % strategy.every == 0 else []
        return {g.MAIN: out}

    def map(self, node, spec):
        rows = [item for items in self._read(node) for item in items]
        return self._each(node, lambda value: [spec.function(value)], rows)

    def filter(self, node, spec):
        return self._each(node, lambda value: [value] if spec.function(value) else [], self._read(node)[0])

    def flatmap(self, node, spec):
        return self._each(node, lambda value: list(spec.function(value)), self._read(node)[0])

    def comap(self, node, spec):
        ports, calls = self._read(node), (spec.first, spec.second)
        out = [self._each(node, lambda v, call=call: [call(v)], ports[at])[g.MAIN] for at, call in enumerate(calls)]
        return {g.MAIN: [*rows_of(out[0]), *out[1]]}

    def split(self, node, spec):
        out = defaultdict(list)
        for item in self._read(node)[0]:
            names = [*(name for name, _ in spec.branches), g.REST]
            if isinstance(item, Row):
                names = [next((name for name, holds in spec.branches if holds(item.value)), g.REST)]
            for name in names:
                out[name].append(item)
        return out

    def process(self, node, spec):
        if node not in self._functions:  # in a loop it goes on from round to round
            function, context = spec.function(), Context()
            function.open(context)
            self._functions[node] = function, context
        function, context = self._functions[node]
        out = defaultdict(list)
        for item in self._read(node)[0]:
            if isinstance(item, Row):
                context.key, context.time = item.key, item.time
                out[g.MAIN] += [Row(value, item.time) for value in function.process(item.value, context) or ()]
            elif item.at > context.watermark:
                context.watermark = item.at
                while due := [timer for timer in context.timers if timer[0] <= item.at]:
                    context.time = min(due)[0]
                    context.key = context.timers.pop(min(due))
                    out[g.MAIN] += [
                        Row(value, context.time) for value in function.on_timer(context.time, context) or ()
                    ]
                out[g.MAIN].append(item)
            for name, row in context.sides:
                out[name].append(row)
            context.sides.clear()
        return out

    def window(self, node, spec):
        if isinstance(spec.windows, CountWindows):
            return {g.MAIN: counted(spec, self._read(node)[0])}
        return TimedWindows(spec).run(self._read(node)[0])

    def windowjoin(self, node, spec):
        left, right = self._read(node)
        windows: dict[Any, tuple[list, list]] = {}
        for port, items in enumerate((left, right)):
            for row in items[:-1]:
                for span in spans(spec.windows, row.time):
                    windows.setdefault((span, alike(row.key)), ([], []))[port].append(row.value)
        out = []
        for (span, _), (lefts, rights) in windows.items():
            ones = lefts or [None] * (spec.how in ("right", "outer"))
            others = rights or [None] * (spec.how in ("left", "outer"))
            out += [Row((one, other), nextafter(span[1], -inf)) for one in ones for other in others]
        return {g.MAIN: out}

    def intervaljoin(self, node, spec):
        left, right = (items[:-1] for items in self._read(node))
        pairs = [(one, other) for one in left for other in right if alike(one.key) == alike(other.key)]
        near = [(a, b) for a, b in pairs if spec.lower <= b.time - a.time <= spec.upper]
        return {g.MAIN: [Row((a.value, b.value), max(a.time, b.time)) for a, b in near]}

    def tail(self, node, spec):
        """Wave after wave through the body: every record of a wave is in the same round."""
        head = next(each for _, each in self.graph.nodes if getattr(each.spec, "loop", None) is spec.loop)
        inside, wave, out = body(node, head), rows_of(self._read(head)[0]), []
        number = 0
        while wave:
            number += 1
            for each in inside:
                self._made.pop(each, None)
            self._made[head] = {g.MAIN: wave}
            back = rows_of(self._read(node)[0])
            leaving = [spec.until(row.value) or number == spec.loop.max_rounds for row in back]
            out += [row for row, leaves in zip(back, leaving, strict=True) if leaves]
            wave = [row for row, leaves in zip(back, leaving, strict=True) if not leaves]
        return {g.MAIN: out}


def body(node, head):
    """The operators from a loop's head to one of its own."""
    return {node}.union(*(body(each.node, head) for each in node.inputs if each.node is not head))


def rows_of(items):
    """Without the watermarks."""
    return [item for item in items if isinstance(item, Row)]


def fold(spec, key, span, values):
    """What a window of these records gives."""
    folding, accumulator = spec.folding, spec.folding.create()
    for value in values:
        accumulator = folding.add(value, accumulator)
    return folding.results(key, span, accumulator)


def counted(spec, items):
    """Windows of every `size` records of a key, from every `slide`-th on."""
    size, slide, of_key = spec.windows.size, spec.windows.slide, defaultdict(list)
    for row in rows_of(items):
        of_key[alike(row.key)].append(row)
    out = []
    for rows in of_key.values():
        for first in range(0, len(rows), slide):
            held = [row.value for row in rows[first : first + size]]
            latest = None if rows[0].time is None else max(row.time for row in rows[first : first + size])
            out += [Row(value, latest) for value in fold(spec, rows[0].key, (first, first + len(held)), held)]
    return out


class TimedWindows:
    """Windows over time, each with its records: given when the watermark passes its end, and with each late record."""

    def __init__(self, spec):
        self.spec, self.watermark = spec, -inf
        self.open: dict[Any, list] = {}  # (key as it is compared, span) -> [key, records, whether given]
        self.out, self.late = [], []

    def run(self, items):
        for item in items:
            if isinstance(item, Row):
                self.take(item)
            elif item.at > self.watermark:
                self.watermark = item.at
                self.ring()
        return {g.MAIN: self.out, g.LATE: self.late}

    def take(self, row):
        found = [span for span in self.spans(row) if not self.gone(span)]
        for span in found:
            self.open.setdefault((alike(row.key), span), [row.key, [], False])[1].append(row.value)
            if span[1] <= self.watermark:
                self.give((alike(row.key), span))
        self.late += [] if found else [row]

    def ring(self):
        for window in sorted(self.open, key=lambda window: window[1][::-1]):
            if window[1][1] <= self.watermark and not self.open[window][2]:
                self.give(window)
        self.open = {window: held for window, held in self.open.items() if not self.gone(window[1])}

    def give(self, window):
        key, records, _ = self.open[window]
        self.open[window][2] = True
        made = fold(self.spec, key, window[1], records)
        self.out += [Row(value, nextafter(window[1][1], -inf)) for value in made]

    def gone(self, span):
        return span[1] + self.spec.lateness <= self.watermark

    def spans(self, row):
        if isinstance(self.spec.windows, TimeWindows):
            return spans(self.spec.windows, row.time)
        code, span = alike(row.key), (row.time, row.time + self.spec.windows.gap)
        met = [other for key, other in self.open if key == code and other[0] < span[1] and span[0] < other[1]]
        grown = min(span[0], *(one[0] for one in met), span[0]), max(span[1], *(one[1] for one in met), span[1])
        if met and met != [grown]:
            records = [each for other in met for each in self.open.pop((code, other))[1]]
            self.open[code, grown] = [row.key, records, False]
        return [grown]
