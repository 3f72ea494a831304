"""`sage-nb cluster`: a look at the Ray cluster."""

from __future__ import annotations


def status(address: str | None) -> str:
    """Nodes and what they have free."""
    from sage_nb.runtime.ray.status import cluster_status

    return str(cluster_status(address))
