"""What the methods of the stream API make of their arguments, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.stream.check import callable_with, is_kind, name_of
from sage_nb.stream.function import Snapshotting
from sage_nb.stream.graph import (
    DEAD,
    LATE,
    MAIN,
    REST,
    FilterSpec,
    FlatMapSpec,
    HeadSpec,
    IntervalJoinSpec,
    MapSpec,
    Node,
    ProcessSpec,
    SinkSpec,
    Spec,
    SplitSpec,
    WindowJoinSpec,
    WindowSpec,
)
from sage_nb.stream.policy import Batching, CircuitBreaker, OnError, Options, Parallelism, Retry
from sage_nb.stream.sink import SinkFunction, TwoPhaseSink
from sage_nb.stream.window import Span, TimeWindows


class How(TypedDict, total=False):
    """Options that every operator takes."""

    name: str
    uid: str
    parallelism: Parallelism
    resources: Mapping[str, float]
    together: str
    retry: Retry
    breaker: CircuitBreaker
    timeout: float
    batch: tuple[int, float] | int
    on_error: OnError


BATCHED = (MapSpec, FilterSpec, FlatMapSpec, SinkSpec)  # those that can wait for a fuller batch
ORDERLY = (ProcessSpec, WindowSpec)  # those that a call left behind would go on changing


def options_of(how: How, spec: Spec) -> Options:
    """The options of an operator as a value.

    >>> options_of({"paralelism": 2}, MapSpec(str))
    Traceback (most recent call last):
    sage_nb.errors.UnknownNameError: unknown option of map() 'paralelism'; did you mean 'parallelism'? (known: batch, \
breaker, name, on_error, parallelism, resources, retry, timeout, together, uid)
    """
    given: dict[str, Any] = dict(how)
    method = METHODS.get(type(spec), spec.kind)
    unknown = set(given) - How.__optional_keys__
    if unknown:
        raise UnknownNameError.of(f"option of {method}()", min(unknown), How.__optional_keys__)
    if given.get("batch") is not None:
        if not isinstance(spec, BATCHED):
            raise BadValueError(f"{method}() goes record by record and takes no batch=; put it on a map() or a sink()")
        given["batch"] = Batching.of(given["batch"])
    if given.get("timeout") is not None and (changing := _changing(spec)):
        raise BadValueError(f"{changing} takes no timeout=; put what may take long into a map(…, timeout=…) before it")
    resources = given.get("resources") or {}
    if not isinstance(resources, Mapping):
        raise BadValueError(f"resources= of {method}() takes a mapping: {{'num_gpus': 1}}, say; got {resources!r:.60}")
    given["resources"] = tuple(sorted(resources.items(), key=str))
    try:
        return Options(**given)
    except (BadValueError, UnknownNameError) as error:
        name = given.get("name")
        named = f"{method}() named {name!r}" if isinstance(name, str) and name else f"{method}()"
        raise type(error)(f"{named}: {error}") from error


def _changing(spec: Spec) -> str:
    """What a call left behind by a time limit would go on changing, beside the calls that follow; "" for nothing."""
    method = METHODS.get(type(spec), spec.kind)
    if isinstance(spec, ORDERLY):
        return f"{method}()"
    for function in (getattr(spec, name, None) for name in ("function", "first", "second", "sink")):
        if is_kind(function, Snapshotting) or _buffering(function):
            return f"{method}({name_of(function)})"
    return ""


def _buffering(function: object) -> bool:
    """Whether it is a sink that keeps records aside for later."""
    if not isinstance(function, SinkFunction):
        return False
    return isinstance(function, TwoPhaseSink) or type(function).flush is not SinkFunction.flush


METHODS: Mapping[type[Spec], str] = {FlatMapSpec: "flat_map", WindowJoinSpec: "join", IntervalJoinSpec: "join"}


def branches_of(given: Mapping[str, Any]) -> tuple[SplitSpec, How]:
    """Branches and options, as `split()` was given both by name."""
    how: Any = {name: each for name, each in given.items() if name in How.__optional_keys__}
    branches = {name: each for name, each in given.items() if name not in how}
    if not branches or {REST, DEAD, MAIN} & set(branches):
        raise BadValueError("split() takes name=predicate pairs; 'rest', 'out' and 'dead' are names of its own")
    pairs = tuple((name, callable_with(each, 1, f"split({name}=…)")) for name, each in branches.items())
    return SplitSpec(pairs), how


def side_of(spec: Spec, name: str) -> str:
    """The name of a side output that such an operator has.

    Raises UnknownNameError where it has none of that name.
    """
    known = [DEAD]
    if isinstance(spec, (WindowSpec, WindowJoinSpec, IntervalJoinSpec)):
        known += [LATE]
    if isinstance(spec, SplitSpec):
        known += [REST, *(branch for branch, _ in spec.branches)]
    if name == MAIN or (name not in known and not isinstance(spec, ProcessSpec)):
        raise UnknownNameError.of(f"side output of {spec.kind}", name, known)
    return name


def join_spec(window: TimeWindows | None, between: Span | None, how: str) -> Spec:
    """The join that is meant; refused where it is none, or two."""
    if (window is None) == (between is None):
        raise BadValueError("join() takes either window=tumbling(…) or between=(lower, upper)")
    if how not in ("inner", "left", "right", "outer"):
        raise UnknownNameError.of("join", how, ("inner", "left", "right", "outer"))
    if window is not None:
        if not isinstance(window, TimeWindows):
            raise BadValueError(f"join(window=…) takes tumbling or sliding windows of time, got {window!r:.60}")
        if window.clock != "event":
            raise BadValueError(f"join(window=…) pairs records by event time, got windows of {window.clock} time")
        return WindowJoinSpec(window, how)
    if not isinstance(between, tuple) or len(between) != 2 or how != "inner" or not between[0] <= between[1]:
        raise BadValueError(
            f"join(between=(lower, upper)) is an inner join, with lower no more than upper, got {between!r:.60}"
        )
    return IntervalJoinSpec(*between)


def check_lateness(seconds: object) -> float:
    """How late a record may be: 0 seconds or more."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise BadValueError(f"allowed_lateness must be 0 seconds or more, got {seconds!r:.60}")
    return seconds


def check_body(head: Node, last: Node) -> None:
    """The body of a loop stays inside it, and holds nothing that waits for event time."""
    stack, seen = [last], set()
    while stack:
        node = stack.pop()
        if node is head or node in seen:
            continue
        seen.add(node)
        if not node.inputs:
            raise BadValueError("the body of iterate() reads a stream from outside; connect it before the loop")
        if isinstance(node.spec, (WindowSpec, WindowJoinSpec, IntervalJoinSpec, HeadSpec)):
            raise BadValueError(f"{node.name!r} cannot stand in a loop: event time does not go round; put it behind")
        stack.extend(each.node for each in node.inputs)


def until_of(until: object, max_rounds: object) -> Callable[[Any], bool]:
    """When a loop lets go of a record; both arguments checked."""
    whole = isinstance(max_rounds, int) and not isinstance(max_rounds, bool)
    if max_rounds is not None and not (whole and max_rounds >= 1):  # type: ignore[operator]
        raise BadValueError(f"iterate(max_rounds=…) must be a whole number of 1 or more, got {max_rounds!r:.60}")
    return callable_with(until, 1, "iterate(until=…)")
