"""Reaching a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address_or_die  # what "auto" stands for has no public name

from sage_nb.errors import BadValueError, SageError

LOG = logging.getLogger("sage_nb.runtime")
CONNECT_S = 5.0
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # as a gRPC client begins
SETTINGS = 4  # the kind of the frame that a gRPC server answers with, in its fourth byte
STORE_BYTES = 300_000_000  # of shared memory for a cluster of our own; what does not fit goes to disk


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
        for name in ("num_cpus", "num_gpus"):
            given = getattr(self, name)
            if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
                raise BadValueError(f"{name} must be a whole number of 0 or more, got {given!r}")


def connect(options: ClusterOptions) -> None:
    """Reach the cluster, or start one; one that this process is connected to already is used as it is.

    Raises ClusterError where there is none at the address, or where the one at hand is not as asked.
    """
    if ray.is_initialized():
        _check_same(options)
        return
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "sage_nb"}
    if options.address is None:
        given |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        given |= {n: v for n in ("num_cpus", "num_gpus") if (v := getattr(options, n)) is not None}
    else:
        _check_reachable(options.address)
        given["address"] = options.address
    try:
        ray.init(**given)
    except Exception as error:  # a node that starts too slowly is a plain Exception
        raise ClusterError(_explained(options.address, error)) from error


def leave() -> None:
    """End the connection of this process, and the cluster where it was started by it."""
    ray.shutdown()


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
    host, _, port = address.removeprefix("ray://").rpartition(":")
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
