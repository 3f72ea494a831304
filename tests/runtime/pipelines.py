"""Random pipelines as data: steps that build a stream, the records that go into it, and how hypothesis makes them.

A step is a tuple: its name (a function below) and what that takes. Records are `{"key": …, "n": …}`; a source's have a
"time" too. Every step gives such records again, so any step may follow any other.
"""

from __future__ import annotations

from hypothesis import strategies as st

from sage_nb.stream.function import KeyedProcessFunction, ProcessFunction
from sage_nb.stream.state import MapState, ValueState
from sage_nb.stream.time import bounded_out_of_orderness
from sage_nb.stream.window import AggregateFunction, Count, count_window, session, sliding, tumbling

KEYS = (None, 0, "", False, 1, "a", 2.5, ("a", 1))


class Sum(AggregateFunction):
    """The sum of the records' n, whatever their order."""

    def create(self):
        return 0

    def add(self, value, accumulator):
        return accumulator + value["n"]

    def result(self, accumulator):
        return accumulator

    def merge(self, one, other):
        return one + other


def larger(one, other):
    return one if one["n"] >= other["n"] else {**other, "key": one["key"]}


def listed(key, span, records):
    """Two values: how many, and all of them in one number."""
    return [len(records), sum((record["n"] % 97) ** 2 for record in records)]


FOLDS = {
    "sum": lambda windowed, how: windowed.aggregate(Sum(), **how),
    "count": lambda windowed, how: windowed.aggregate(Count(), **how),
    "reduce": lambda windowed, how: windowed.reduce(larger, **how).map(unwrapped, **how),
    "apply": lambda windowed, how: windowed.apply(listed, **how),
}
WINDOWS = {"tumbling": tumbling, "sliding": sliding, "session": session, "count": count_window}


def unwrapped(windowed):
    return type(windowed)(windowed.key, windowed.start, windowed.end, windowed.value["n"])


def of_window(windowed):
    """A window's result as a record; the span counts too."""
    return {"key": windowed.key, "n": windowed.value, "span": (float(windowed.start), float(windowed.end))}


def of_pair(pair):
    one, other = ({"key": "none", "n": -5} if each is None else each for each in pair)
    key = other["key"] if pair[0] is None else one["key"]
    return {"key": key, "n": (31 * one["n"] + 7 * other["n"]) % 1009, "pair": (pair[0] is None, pair[1] is None)}


class Buckets(KeyedProcessFunction):
    """Sums in windows of two seconds, made by hand of state and timers; each record goes aside, too."""

    def open(self, context):
        self.sums = context.state(MapState("sums"))

    def process(self, value, context):
        end = 2 * (context.time // 2) + 2
        context.output("aside", {"key": context.key, "n": value["n"] - int(end)})
        self.sums.put(end, self.sums.get(end, 0) + value["n"])
        context.set_timer(end)

    def on_timer(self, at, context):
        yield {"key": context.key, "n": self.sums.get(at)}
        self.sums.remove(at)


class Alarm(KeyedProcessFunction):
    """Numbers a key's records; rings when none has come for a while, or at once where the time is past."""

    def open(self, context):
        self.number, self.alarm = context.state(ValueState("number", 0)), context.state(ValueState("alarm"))

    def process(self, value, context):
        if self.alarm.value() is not None:
            context.clear_timer(self.alarm.value())
        self.alarm.update(context.time + 3)
        context.set_timer(context.time + 3)
        self.number.update(self.number.value() + 1)
        yield {**value, "number": self.number.value(), "behind": context.time < context.watermark}

    def on_timer(self, at, context):
        yield {"key": context.key, "n": self.number.value(), "rung": at}
        self.alarm.clear()


class Stamped(ProcessFunction):
    """Writes each record's event time into it."""

    def process(self, value, context):
        yield {**value, "at": context.time}


def add(stream, by, **how):
    return stream.map(lambda r: {**r, "n": r["n"] + by}, **how)


def divide(stream, by, **how):
    """Fails where n is `by`: a dead letter."""
    return stream.map(lambda r: {**r, "n": 100 // (r["n"] - by)}, **how)


def keep(stream, every, **how):
    """None at all, for 0."""
    return stream.filter(lambda r: bool(every) and r["n"] % every == 0, **how)


def copies(stream, count, **how):
    return stream.flat_map(lambda r: [{**r, "n": r["n"] + at} for at in range(count)], **how)


def branches(stream, modulus, **how):
    parts = stream.split(none=lambda r: r["n"] % modulus == 0, one=lambda r: r["n"] % modulus == 1)
    return add(parts["none"], 5, **how).union(parts["one"], keep(parts["rest"], 2, **how), **how)


def twice(stream, **how):
    return stream.union(stream, **how)


def met(stream, **how):
    both = stream.connect(add(stream, 100))
    return both.co_map(lambda r: {**r, "n": 2 * r["n"]}, lambda r: {**r, "n": -r["n"]}, **how)


def spread(stream, **how):
    return add(stream.broadcast(), 1, **how)


def keyed_badly(stream, bad, **how):
    """The key fails where n is `bad`: a dead letter of the operator before."""
    return add(stream.key_by(lambda r: 1 // (r["n"] - bad)), 0, **how)


def rekeyed(stream, modulus, **how):
    return stream.map(lambda r: {**r, "key": KEYS[r["n"] % modulus]}, **how)


def window(stream, kind, sizes, fold, lateness=0.0, **how):
    windowed = stream.key_by("key").window(WINDOWS[kind](*sizes), allowed_lateness=lateness)
    return FOLDS[fold](windowed, how)


def windowed(stream, kind, sizes, fold, lateness=0.0, **how):
    return window(stream, kind, sizes, fold, lateness, **how).map(of_window, **how)


def whole(stream, seconds, **how):
    """Without a key."""
    return stream.window(tumbling(seconds)).aggregate(Sum(), **how).map(of_window, **how)


def buckets(stream, **how):
    made = stream.key_by("key").process(Buckets, **how)
    return made.union(made.side("aside"), **how)


def window_join(stream, sizes, kind, **how):
    other = keep(add(stream, 1), 2)
    return stream.join(other, on="key", window=sliding(*sizes), how=kind, **how).map(of_pair, **how)


def interval_join(stream, lower, upper, **how):
    other = add(stream, 1)
    return stream.join(other, on=("key", "key"), between=(lower, upper), **how).map(of_pair, **how)


BODIES = {
    "plain": lambda s: add(s, 3),
    "keyed": lambda s: add(s.key_by("key"), 3),
    "losing": lambda s: keep(add(s, 3), 2),
    "empty": lambda s: keep(s, 0),
    "failing": lambda s: divide(add(s, 3), 7).map(lambda r: {**r, "n": abs(r["n"]) % 50}),
    "branching": lambda s: branches(add(s, 3), 3),
    "growing": lambda s: copies(s, 2),
    "nothing": lambda s: s,
}


def loop(stream, body, limit, rounds, **how):
    return stream.iterate(BODIES[body], until=lambda r: r["n"] >= limit, max_rounds=rounds, **how)


def build(stream, steps, **how):
    """The stream behind all steps, with its records' times written into them."""
    for name, *arguments in steps:
        stream = globals()[name](stream, *arguments, **how)
    return stream.process(Stamped)


# How hypothesis makes them.


def counts(most):
    return st.integers(1, most)


def sizes_of(unit):
    """Windows' arguments in tenths, quarters or whole seconds."""
    seconds = counts(12).map(lambda n: round(n * unit, 3))
    pairs = st.tuples(counts(12), counts(12)).map(lambda p: (round(max(p) * unit, 3), round(min(p) * unit, 3)))
    return st.one_of(
        st.tuples(st.just("tumbling"), seconds.map(lambda s: (s,))),
        st.tuples(st.just("sliding"), pairs.filter(lambda p: p[0] / p[1] <= 5)),
        st.tuples(st.just("session"), seconds.map(lambda s: (s,))),
    )


def plain_steps():
    return st.one_of(
        st.tuples(st.just("add"), st.integers(-3, 3)),
        st.tuples(st.just("divide"), st.integers(-3, 3)),
        st.tuples(st.just("keep"), st.sampled_from([0, 1, 2, 3])),
        st.tuples(st.just("copies"), st.integers(0, 2)),
        st.tuples(st.just("rekeyed"), counts(len(KEYS))),
    )


def shaping_steps():
    return st.one_of(
        st.tuples(st.just("branches"), st.integers(2, 3)),
        st.just(("twice",)),
        st.just(("met",)),
        st.just(("spread",)),
        st.tuples(st.just("keyed_badly"), st.integers(-2, 2)),
        st.tuples(
            st.just("loop"), st.sampled_from([*BODIES]).filter(lambda body: body != "nothing"), counts(20), counts(4)
        ),
        st.tuples(st.just("loop"), st.sampled_from(["plain", "keyed", "losing"]), counts(20), st.none()),
        st.tuples(st.just("loop"), st.just("nothing"), counts(20), counts(3)),
    )


def timed_steps(unit):
    """Steps that look at time; in tenths no interval join, whose bounds would be a matter of rounding."""
    window_steps = st.tuples(sizes_of(unit), st.sampled_from([*FOLDS])).map(lambda w: ("windowed", *w[0], w[1]))
    steps = [
        window_steps,
        st.tuples(st.just("whole"), st.just(round(7 * unit, 3))),
        st.just(("buckets",)),
        st.tuples(
            st.just("window_join"),
            sizes_of(unit).filter(lambda s: s[0] == "sliding").map(lambda s: s[1]),
            st.sampled_from(["inner", "left", "right", "outer"]),
        ),
    ]
    if unit != 0.1:
        ends = st.tuples(st.integers(-6, 6), st.integers(-6, 6)).map(lambda p: (min(p) * unit, max(p) * unit))
        steps.append(ends.map(lambda p: ("interval_join", *p)))
    return st.one_of(steps)


def count_sizes():
    return st.tuples(counts(5), counts(5)).map(lambda p: (max(p), min(p)))


def records(draw, unit, delay, most):
    """A split: times in steps of `unit`, none of them more than `delay` behind the latest; equal ones, too."""
    moves = draw(st.lists(st.integers(-delay, 6), max_size=most))
    latest, out = draw(st.integers(-20, 20)), []
    for number, move in enumerate(moves):
        time, latest = latest + move, latest + max(0, move)
        key = KEYS[draw(st.integers(0, len(KEYS) - 1))]
        out.append({"key": key, "n": draw(st.integers(-5, 20)) + number % 2, "time": round(time * unit, 3)})
    return out


@st.composite
def in_time(draw, splits=3, most=12):
    """Sources whose records are never late, and steps of any kind: (sources, steps, (delay, every))."""
    unit = draw(st.sampled_from([1.0, 0.25, 0.1]))
    delay = draw(st.integers(0, 5))
    sources = [[records(draw, unit, delay, most) for _ in range(draw(counts(splits)))] for _ in range(draw(counts(2)))]
    steps = draw(st.lists(st.one_of(plain_steps(), shaping_steps()), max_size=2))
    steps += draw(st.lists(timed_steps(unit), min_size=1, max_size=2))
    steps += draw(st.lists(st.one_of(plain_steps(), shaping_steps()), max_size=2))
    # tenths do not add up exactly: half a step more keeps every record in time
    return sources, steps, ((delay + 0.5) * unit, draw(st.sampled_from([None, 1, 3])))


@st.composite
def one_path(draw, most=40):
    """One split in any order, steps of one subtask, a keyed operator: (records, steps, last, (delay, every))."""
    unit = draw(st.sampled_from([1.0, 0.25, 0.1]))
    data = records(draw, unit, draw(st.integers(0, 15)), most)
    steps = draw(st.lists(plain_steps(), max_size=2))
    lateness = draw(st.integers(0, 8)) * unit
    windows = st.tuples(sizes_of(unit), st.sampled_from([*FOLDS])).map(lambda w: ("window", *w[0], w[1], lateness))
    counted = st.tuples(st.just("window"), st.just("count"), count_sizes(), st.sampled_from([*FOLDS]))
    last = draw(st.one_of(windows, windows, counted, st.just(("alarm",))))
    return data, steps, last, (draw(st.integers(0, 4)) * unit, draw(st.sampled_from([1, 2, 5])))


def strategy(delay, every):
    return bounded_out_of_orderness(delay, time_of, every=every)


def time_of(record):
    return record["time"]
