"""Reaching a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

import ray
from ray._private.node import Node  # one that did not start has no public name
from ray._private.services import canonicalize_bootstrap_address_or_die  # nor has what "auto" stands for
from ray._private.worker import _connect_or_shutdown_lock  # nor has what ray.init() and ray.shutdown() hold

from sage_nb.errors import BadValueError, SageError

LOG = logging.getLogger("sage_nb.runtime")
CONNECT_S = 5.0
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # as a gRPC client begins
SETTINGS = 4  # the kind of the frame that a gRPC server answers with, in its fourth byte
STORE_BYTES = 300_000_000  # of shared memory for a cluster of our own; what does not fit goes to disk
ORPHANED = "owner has died"  # what Ray says of actors whose process was left by the one that made them
SLOW = "timed out during startup"  # what Ray says of a node that a busy machine has not started in half a minute
LAZY = str(Path(__file__).parent / "lazy")
CUTTING = _connect_or_shutdown_lock  # who holds it knows that this process stays connected, or that it does not


class ClusterError(SageError):
    """A cluster that cannot be reached, or not as asked."""


@dataclass(frozen=True)
class ClusterOptions:
    """Where the cluster is (None: on this machine), and what one that is started here is said to have."""

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: int | None = None

    def __post_init__(self) -> None:
        if self.address is not None and (self.num_cpus is not None or self.num_gpus is not None):
            raise BadValueError(
                f"num_cpus and num_gpus are for a cluster started here; the one at {self.address!r} has what it has"
            )
        if self.address is not None and self.address.startswith("ray://"):
            raise BadValueError(
                f"address {self.address!r} is one of Ray Client, through which no job can run; give host:port of the "
                f"head itself (6379, unless `ray start` was told another), or 'auto' on a machine of the cluster"
            )
        for name in ("num_cpus", "num_gpus"):
            given = getattr(self, name)
            if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
                raise BadValueError(f"{name} must be a whole number of 0 or more, got {given!r}")


@dataclass(frozen=True)
class Tie:
    """The connection of this process to a cluster, as it was when this was made.

    Once it is cut, Ray's calls start a new cluster, and while it is being cut they end the process: threads that may
    outlive it make them by `call` alone, under the lock under which it is cut, and never wait inside Ray.
    """

    cluster: str
    job: str

    @classmethod
    def now(cls) -> Tie:
        """That of this moment."""
        context = ray.get_runtime_context()
        return cls(context.gcs_address, context.get_job_id())

    def check(self) -> None:
        """Raises ClusterError where it does not hold any more."""
        with CUTTING:
            if not ray.is_initialized() or Tie.now() != self:
                raise self._cut()

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a call of Ray's gives. Raises ClusterError where the tie does not hold any more."""
        with CUTTING:
            self.check()
            try:
                return function(*arguments, **named)
            except ray.exceptions.RayActorError as error:
                if ORPHANED in str(error):
                    raise self._cut() from error
                raise

    def answers(self, asked: Iterable[Any], wait: float) -> dict[Any, Any]:
        """What actors answer within `wait` seconds, as far as they do."""
        coming = {self.call(each.future): each for each in asked}
        come, _ = futures.wait(coming, wait)
        return {coming[each]: each.result() for each in come if each.exception() is None}

    def _cut(self) -> ClusterError:
        return ClusterError(
            f"this process has left the Ray cluster at {self.cluster} while a job ran there; "
            f"wait for the job or cancel() it before ray.shutdown(), and submit it again now"
        )


def connect(options: ClusterOptions) -> None:
    """Reach the cluster, or start one; one that this process is connected to already is used as it is.

    Raises ClusterError where there is none at the address, or where the one at hand is not as asked.
    """
    if ray.is_initialized():
        _check_same(options)
        return
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "sage_nb"}
    if options.address is None:
        given["address"] = "local"  # left out, it is that of a cluster that somebody started here
        given |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        given |= {n: v for n in ("num_cpus", "num_gpus") if (v := getattr(options, n)) is not None}
    else:
        _check_reachable(options.address)
        given["address"] = options.address
    try:
        patiently(lambda: ray.init(**given))
    except Exception as error:  # Ray raises plain ones, too
        raise ClusterError(_explained(options.address, error)) from error


def leave() -> None:
    """End the connection of this process, and the cluster where it was started by it."""
    ray.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """What the start of a node gives; it is started once more where the machine was only too busy."""
    try:
        return _tidily(start)
    except Exception as error:
        if SLOW not in str(error):
            raise
        LOG.warning("Ray took too long to start here; starting it once more")
        return _tidily(start)


def _tidily(start: Callable[[], Any]) -> Any:
    try:
        with _lightly():
            return start()
    except Exception as error:
        _clear_away(error)
        raise


@contextmanager
def _lightly() -> Iterator[None]:
    """Processes that are started meanwhile import what is in LAZY."""
    before = os.environ.get("PYTHONPATH")
    if find_spec("rfc3987_syntax"):
        os.environ["PYTHONPATH"] = os.pathsep.join([LAZY, before] if before else [LAZY])
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)
        os.environ |= {"PYTHONPATH": before} if before is not None else {}


def _clear_away(error: Exception) -> None:
    """End the processes of a node that did not start: they would hold up the next one, and live as long as this one."""
    for frame, _ in walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def _check_same(options: ClusterOptions) -> None:
    """Asked for something else than what this process is connected to: said, not ignored."""
    total = ray.cluster_resources()
    for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        asked = getattr(options, name)
        if asked is not None and asked != total.get(kind, 0.0):
            raise ClusterError(
                f"this process is connected to a Ray cluster with {total.get(kind, 0.0):g} {kind}, and {name}={asked} "
                f"was asked; leave it out, or end the other first with ray.shutdown()"
            )
    here = ray.get_runtime_context().gcs_address
    if options.address not in (None, "auto", here):
        raise ClusterError(
            f"this process is connected to the Ray cluster at {here}, not {options.address!r}; "
            f"end that first with ray.shutdown()"
        )


def _check_reachable(address: str) -> None:
    """`ray.init` takes a minute to find that nobody listens, or that who does is no cluster."""
    if address == "auto":
        address = _running()
    host, _, port = address.rpartition(":")
    if not port.isdigit() or os.environ.get("RAY_USE_TLS", "0") != "0":
        return
    try:
        with socket.create_connection((host or "127.0.0.1", int(port)), CONNECT_S) as line:
            line.sendall(GREETING)
            answer = line.recv(9)
    except OSError as error:
        raise ClusterError(_explained(address, error)) from error
    if answer[3:4] != bytes((SETTINGS,)):
        raise ClusterError(_explained(address, ConnectionError("what listens there is no Ray")))


def _running() -> str:
    """Where the cluster is that `RAY_ADDRESS` names, or that was started on this machine: it may have ended since."""
    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(_explained("auto", error)) from error


def _explained(address: str | None, error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    if "ersion" in words and "ismatch" in words:
        return f"the cluster at {address!r} runs other versions: {words}; install the same ray and Python on all nodes"
    if address is None:
        return f"Ray could not be started here: {words}"
    if "Could not find any running Ray instance" in words:
        return "no Ray cluster runs on this machine; start one with `ray start --head`, or give the address of another"
    if "Failed to connect to Ray cluster" in words:  # though what listens there answers
        return (
            f"the Ray cluster at {address!r} does not let this process in; where its machines have a token, set "
            f"RAY_AUTH_MODE=token and bring their ~/.ray/auth_token here, else look at its logs"
        )
    return f"there is no Ray cluster at {address!r}: {words}; start one with `ray start --head`, or leave address out"
