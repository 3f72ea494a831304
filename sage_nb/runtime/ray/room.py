"""How many subtasks fill a cluster: what `parallelism="auto"` means on Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ray

from sage_nb.runtime.plan import Plan
from sage_nb.runtime.ray.placement import wanted
from sage_nb.runtime.ray.shipping import stays
from sage_nb.stream.policy import Resources

Amounts = Mapping[str, float]  # by Ray's name of the resource
SLACK = 1e-9  # tenths do not add up


def room(draft: Plan) -> dict[Resources, int]:
    """How many subtasks of each undecided operator the cluster that this process is connected to has room for.

    Operators that ask for GPUs fill those, others fill the CPUs. What operators of a fixed number ask for is set aside,
    and undecided ones that want the same share it evenly. What other jobs hold just now is not looked at.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    chains = [chain for chain in draft.chains if not stays(chain.head)]
    undecided = [chain for chain in chains if chain in draft.undecided]
    fixed = [(wanted(chain), chain.parallelism) for chain in chains if chain not in undecided]
    rivals = [wanted(chain) for chain in undecided]
    found = {chain.head.options.resources: 1 for chain in draft.undecided}
    for chain in undecided:
        wants = wanted(chain)
        found[chain.head.options.resources] = min(_fits(wants, nodes), _share(wants, nodes, fixed, rivals))
    return found


def _fits(wants: Amounts, nodes: Sequence[Amounts]) -> int:
    """So many of them on empty nodes, where one that asks for neither GPUs nor CPUs takes a CPU."""
    asked = wants if {"GPU", "CPU"} & set(wants) else {**wants, "CPU": 1.0}
    return sum(min(_pieces(node.get(kind, 0.0), amount) for kind, amount in asked.items()) for node in nodes)


def _share(
    wants: Amounts, nodes: Sequence[Amounts], fixed: Sequence[tuple[Amounts, int]], rivals: Sequence[Amounts]
) -> int:
    """So many of them out of an even share of what is left of each thing they ask for."""
    shares = []
    for kind, amount in wants.items():
        left = sum(node.get(kind, 0.0) for node in nodes) - sum(each.get(kind, 0.0) * count for each, count in fixed)
        shares.append(_pieces(left / sum(kind in each for each in rivals), amount))
    return min(shares, default=2**15)


def _pieces(amount: float, size: float) -> int:
    """How often `size` can be had: a share of less than 1 must come of one device.

    >>> _pieces(2.0, 0.3), _pieces(0.5, 0.5), _pieces(5.0, 2.0), _pieces(-1.0, 1.0)
    (6, 1, 2, 0)
    """
    if amount <= 0:
        return 0
    if size >= 1:
        return int((amount + SLACK) // size)
    whole = int(amount + SLACK)
    return whole * int((1 + SLACK) // size) + int((amount - whole + SLACK) // size)
