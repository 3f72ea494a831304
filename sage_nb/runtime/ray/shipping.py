"""A plan as bytes for another process, and what of it stays at home."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ray import cloudpickle

from sage_nb.errors import BadValueError
from sage_nb.runtime.operators.lifecycle import naming
from sage_nb.runtime.plan import Chain, Plan
from sage_nb.runtime.probe import Probe
from sage_nb.runtime.ray.outbox import Delivery, HomeSink, HomeTwoPhase
from sage_nb.stream.function import Function
from sage_nb.stream.graph import Graph, Node, SinkSpec, SourceSpec, Spec
from sage_nb.stream.sink import SinkFunction, TwoPhaseSink

Shipment = tuple[Plan, Probe, Mapping[type, Any]]


def stays(node: Node) -> bool:
    """Whether an operator runs in the process that submits the job: a source that reads what only that one has."""
    return isinstance(node.spec, SourceSpec) and node.spec.source.at_home


def check_leaves(graph: Graph) -> None:
    """Raise BadValueError, with the operator's name, where a job cannot outlive the process that submits it."""
    for _, node in graph.nodes:
        if stays(node):
            raise BadValueError(
                f"the source {node.name!r} reads what only this process has, which a durable job outlives; give it a "
                f"list, files, or a function that returns the iterator, or leave durable=True out"
            )
        if isinstance(node.spec, SinkSpec) and node.spec.sink.at_home:
            raise BadValueError(
                f"the sink {node.name!r} writes to what only this process has, which a durable job outlives; write to "
                f"a JsonlSink or a collection, or leave durable=True out"
            )


def shipped(graph: Graph, value: Any) -> bytes:
    """An environment, and what else its submission takes, whole; `graph` is its.

    Raises BadValueError, with the operator's name, where one of its functions cannot be sent to another process.
    """
    try:
        return cloudpickle.dumps(value)  # type: ignore[no-any-return]
    except Exception as error:
        raise BadValueError(_blame([node for _, node in graph.nodes], error)) from error


class Ship:
    """Packs a plan for its actors, chain by chain: the functions of other chains are left out."""

    def __init__(self, plan: Plan, probe: Probe, resources: Mapping[type, Any]) -> None:
        self._shipment: Shipment = (plan, probe, resources)
        self._sinks: dict[str, tuple[str, SinkFunction[Any]]] = {}  # those that stay at home, by key, with their names
        self._keys: dict[int, str] = {}
        for _, node in plan.graph.nodes:
            if isinstance(node.spec, SinkSpec) and node.spec.sink.at_home:
                key = uuid.uuid4().hex
                self._sinks[key], self._keys[id(node.spec.sink)] = (node.name, node.spec.sink), key

    def packed(self, chain: Chain) -> bytes:
        """The plan as a task of `chain` needs it.

        Raises BadValueError, with the operator's name, where one of its functions cannot be sent to another process.
        """
        try:
            return self._pickled(chain)
        except Exception as error:
            nodes = (*chain.nodes, *self._shipment[0].graph.nodes)
            raise BadValueError(_blame([node for _, node in nodes], error)) from error

    def deliver(self, delivery: Delivery) -> None:
        """Hand what came for a sink at home to it; its error says whose it is."""
        name, sink = self._sinks[delivery.sink]
        with naming(name, "written to"):
            getattr(sink, delivery.method)(*cloudpickle.loads(delivery.payload))

    def _pickled(self, chain: Chain) -> bytes:
        mine = {node for _, node in chain.nodes}
        foreign = {id(node.spec) for _, node in self._shipment[0].graph.nodes if node not in mine}
        buffer = io.BytesIO()
        _Packer(buffer, foreign, self._keys).dump(self._shipment)
        return buffer.getvalue()


class _Packer(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Leaves out functions of other chains, and puts a stand-in where a sink stays at home."""

    def __init__(self, file: Any, foreign: set[int], home: Mapping[int, str]) -> None:
        super().__init__(file)
        self._foreign, self._home = foreign, home

    def reducer_override(self, obj: Any) -> Any:
        if id(obj) in self._home:
            key = self._home[id(obj)]
            return (HomeTwoPhase, (key,)) if isinstance(obj, TwoPhaseSink) else (HomeSink, (key, obj.delivery))
        if id(obj) in self._foreign:
            return _without_functions, (type(obj), {name: _kept(part) for name, part in vars(obj).items()})
        return super().reducer_override(obj)


def _kept(part: Any) -> Any:
    return None if isinstance(part, Function) or callable(part) else part


def _without_functions(kind: type[Spec], parts: Mapping[str, Any]) -> Spec:
    """The specification of an operator of another chain, as far as its neighbours need it."""
    spec = object.__new__(kind)
    vars(spec).update(parts)
    return spec


def unpacked(data: bytes) -> Shipment:
    """What `packed` packed: code between our own live processes."""
    return cloudpickle.loads(data)  # type: ignore[no-any-return]


def _blame(nodes: Iterable[Node], error: Exception) -> str:
    for node in nodes:
        for part in vars(node.spec).values():
            if found := unshippable(part):
                return (
                    f"operator {node.name!r} cannot be sent to another process: {found}; "
                    f"make it in open(), or run the job in a LocalEnvironment"
                )
    return f"the job cannot be sent to another process: {error}"


def unshippable(value: Any) -> str:
    """Why a function cannot be sent, naming the variable to blame; "" where it can."""
    try:
        cloudpickle.dumps(value)
    except Exception as error:  # noqa: BLE001  whatever pickling raises
        return _culprit(value) or f"{type(error).__name__}: {error}"
    return ""


def _culprit(value: Any) -> str:
    """The variable or field that cannot be sent."""
    closure = getattr(value, "__closure__", None) or ()
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    held = dict(zip(names, (cell.cell_contents for cell in closure), strict=False))
    code = getattr(value, "__code__", None)
    if code is not None:
        known = getattr(value, "__globals__", {})
        held.update({name: known[name] for name in code.co_names if name in known})
    held.update(getattr(value, "__dict__", {}))
    blamed = next((name for name, each in held.items() if not _ships(each)), None)
    return f"{blamed!r} is a {type(held[blamed]).__name__}, which lives in this process only" if blamed else ""


def _ships(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001  whatever pickling raises
        return False
    return True
