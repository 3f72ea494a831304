"""Where a job's actors go: what they ask for is reserved for all of them at once, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sage_nb.errors import BadValueError, SageError
from sage_nb.runtime.plan import Chain, Plan
from sage_nb.runtime.ray.host import Actor
from sage_nb.runtime.ray.pool import POOL
from sage_nb.runtime.ray.shipping import stays

KNOWN = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
OPTIONS = ("num_cpus", "num_gpus", "memory")
SLACK = 1e-9  # tenths do not add up

Task = tuple[str, int]  # an operator's uid, and the number of its subtask
Bundle = tuple[str, int]  # an operator's uid, or what operators are together by, and the number of their subtasks
Asked = Mapping[Bundle, Mapping[str, float]]  # amounts by Ray's name of the resource


class PlacementError(SageError):
    """The cluster has no room for what a job asks."""


@dataclass
class Placement:
    """The reservation of a job: a bundle for each actor that asks for something, or for those that are together."""

    timeout: float  # seconds within which there is a node for each, at the start and once one has died
    asked: Asked = field(default_factory=dict)
    homes: Mapping[Task, Bundle] = field(default_factory=dict)
    group: Any = None
    _free: set[Any] = field(default_factory=set)  # actors that hold nothing of their own, and so may be kept

    @classmethod
    def reserved(cls, plan: Plan, timeout: float) -> Placement:
        """Reserve what the operators of `plan` ask for.

        Raises PlacementError where that is not to be had within `timeout` seconds.
        """
        asked, homes = _bundles(plan)
        if not asked:
            return cls(timeout)
        _check_totals(asked)
        before = ray.available_resources()
        group = placement_group(list(asked.values()), strategy="PACK")
        if not group.wait(timeout):
            remove_placement_group(group)
            raise PlacementError(f"the job could not be placed within {timeout:g} s: {_refusal(asked, before)}")
        return cls(timeout, asked, homes, group)

    def actor(self, chain: Chain, subtask: int) -> Any:
        """An actor for a task: an idle one, where Ray need not give it devices, else a new one.

        What is reserved for the task is so on the node of its bundle, whichever actor has it there.
        """
        idle = self._idle(chain, subtask)
        actor = idle or Actor.options(**self._options(chain, subtask)).remote()
        if idle or (chain.uid, subtask) not in self.homes:
            self._free.add(actor)
        return actor

    def release(self, actor: Any, *, sound: bool) -> None:
        """The actor's task has ended: keep it for the next job, if it may be."""
        if not sound or actor not in self._free or not POOL.keep(actor):
            ray.kill(actor)

    def check(self, tasks: Sequence[Task]) -> None:
        """These have waited for an actor as long as they may.

        Raises PlacementError where that is for want of a node.
        """
        asked = {self.homes[task]: self.asked[self.homes[task]] for task in tasks if task in self.homes}
        if asked and placement_group_table(self.group)["state"] != "CREATED":
            raise PlacementError(
                f"a node with actors of the job is gone, and they could not be placed anew within {self.timeout:g} s: "
                f"{_refusal(asked, {})}"
            )

    def _idle(self, chain: Chain, subtask: int) -> Any:
        if (chain.uid, subtask) not in self.homes:
            return POOL.take()
        node = None if "GPU" in wanted(chain) else self._node((chain.uid, subtask))
        return None if node is None else POOL.take(node)

    def _node(self, task: Task) -> str | None:
        """Where the bundle of a task is, if it is anywhere; not asked where no actor could go there."""
        if not POOL.idle:
            return None
        table = placement_group_table(self.group)
        return table["bundles_to_node_id"].get(self._bundle(task)) if table["state"] == "CREATED" else None

    def _bundle(self, task: Task) -> int:
        return list(self.asked).index(self.homes[task])

    def _options(self, chain: Chain, subtask: int) -> dict[str, Any]:
        resources = dict(chain.head.options.resources)
        given: dict[str, Any] = {name: resources[name] for name in OPTIONS if name in resources}
        own = {name: amount for name, amount in resources.items() if name not in OPTIONS}
        options: dict[str, Any] = {"num_cpus": 0, **given}
        if own:
            options["resources"] = own
        if (task := (chain.uid, subtask)) in self.homes:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self.group, self._bundle(task))
        return options

    def environment(self, chain: Chain) -> dict[str, str]:
        """Variables of the actor's process: no GPU where none was asked for; else how many, and the share of one.

        Set by the actor itself: a `runtime_env` would cost a new process for each.
        """
        gpus = dict(chain.head.options.resources).get("num_gpus", 0)
        if not gpus:
            return {"CUDA_VISIBLE_DEVICES": ""}
        return {"SAGE_GPUS": f"{gpus:g}"} | ({"SAGE_GPU_FRACTION": str(gpus)} if gpus < 1 else {})

    def remove(self) -> None:
        """Give back what was reserved."""
        if self.group is not None:
            remove_placement_group(self.group)
            self.group = None


def _bundles(plan: Plan) -> tuple[dict[Bundle, dict[str, float]], dict[Task, Bundle]]:
    """What is to be reserved, and for which tasks: those of one number, of operators that are together, share it."""
    asked: dict[Bundle, dict[str, float]] = {}
    homes: dict[Task, Bundle] = {}
    for chain in plan.chains:
        wants, together = wanted(chain), chain.head.options.together
        if stays(chain.head) or not (wants or together):
            continue
        for subtask in range(chain.parallelism):
            home = homes[chain.uid, subtask] = (f"together={together!r}" if together else chain.uid, subtask)
            held = asked.setdefault(home, {})
            for kind, amount in wants.items():
                held[kind] = held.get(kind, 0.0) + amount
    return {home: _whole(held) for home, held in asked.items()}, homes


def _whole(held: Mapping[str, float]) -> dict[str, float]:
    """As Ray takes it: more than one GPU are whole ones, and a bundle of nothing has a byte of memory."""
    gpus = held.get("GPU", 0.0)
    return {**held, "GPU": float(ceil(gpus - SLACK))} if gpus > 1 else dict(held) or {"memory": 1.0}


def wanted(chain: Chain) -> dict[str, float]:
    """What an actor of a chain asks for, in Ray's words."""
    resources = {KNOWN.get(name, name): float(amount) for name, amount in chain.head.options.resources if amount}
    gpus = resources.get("GPU", 0.0)
    if gpus > 1 and gpus != int(gpus):
        raise BadValueError(
            f"operator {chain.head.name!r} asks for {gpus:g} GPUs; a share is less than 1, more than one are whole"
        )
    return resources


def _check_totals(asked: Asked) -> None:
    """What exceeds the whole cluster is refused at once."""
    total = ray.cluster_resources()
    for kind in {kind for wants in asked.values() for kind in wants}:
        wants = sum(each.get(kind, 0.0) for each in asked.values())
        if wants > total.get(kind, 0.0) + SLACK:
            raise PlacementError(
                f"the job asks for {_amounts(asked, kind)} and the cluster has {total.get(kind, 0.0):g} {kind} in all; "
                f"lower parallelism or resources, or add nodes"
            )


def _refusal(asked: Asked, before: Mapping[str, float]) -> str:
    kinds = sorted({kind for wants in asked.values() for kind in wants})
    total, now = ray.cluster_resources(), ray.available_resources()
    # each attempt to place a bundle takes what it asks for, for a moment: what is free now may be too little
    free = {kind: max(before.get(kind, 0.0), now.get(kind, 0.0)) for kind in kinds}
    said = "; ".join(
        f"{_amounts(asked, kind)}, {free.get(kind, 0.0):g} of {total.get(kind, 0.0):g} {kind} free" for kind in kinds
    )
    enough = all(free.get(kind, 0.0) >= sum(w.get(kind, 0.0) for w in asked.values()) - SLACK for kind in kinds)
    pieces = " (free in pieces too small for one of them: a share must fit one device)" if enough else ""
    return f"it asks for {said}{pieces}; end other jobs, lower parallelism or resources, or add nodes"


def _amounts(asked: Asked, kind: str) -> str:
    """As in `2 x 0.5 GPU (embed)`."""
    counts: dict[tuple[str, float], int] = {}
    for (name, _), wants in asked.items():
        if kind in wants:
            counts[name, wants[kind]] = counts.get((name, wants[kind]), 0) + 1
    return ", ".join(f"{count} x {amount:g} {kind} ({name})" for (name, amount), count in counts.items())
