"""Sweeps: one pipeline with other arguments, an experiment over a grid of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from sage_nb.errors import BadValueError
from sage_nb.evaluation.experiment import Experiment, conducted
from sage_nb.evaluation.measures import Qrels
from sage_nb.evaluation.plan import OPTIONS
from sage_nb.retrieval.stage import Stage

MOST = 1_000  # variants: a grid grows unseen


@dataclass(frozen=True, repr=False, kw_only=True)
class Sweep(Experiment):
    """An experiment whose pipelines are points of a grid: `points` are their arguments, `parameters` all of each.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> from sage_nb.retrieval.stage import Applied
    >>> def found(result):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate("abc", start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> seen = sweep(lambda k: Applied(found) % k, ["who?"], {"q1": {"c": 1}}, k=[1, 3], measures=["R@100"])
    >>> seen.parameters, seen.best(), seen.points[seen.best()]
    ({'k': (1, 3)}, 'k=3', {'k': 3})
    """

    points: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, tuple[Any, ...]]

    def best(self, measure: str | None = None) -> str:
        """The name of the variant with the greatest mean of a measure, by default the first; of equals the first."""
        by = self.means
        return max(self.names, key=lambda name: round(by[name][measure or self.measures[0]], 9))


def sweep(make: Callable[..., Stage], queries: object, qrels: Qrels | None = None, /, **how: Any) -> Sweep:
    """Compare the pipelines that `make` gives for every combination of arguments.

    What is named as an argument of `make` are its values, the rest are options of `experiment`. Variants are called by
    their arguments, as in "alpha=0.3, k=50"; that is what `baseline` names, too. All run as one graph: what an argument
    does not change is computed once.

    Raises BadValueError where an argument of `make` has no values.

    >>> from sage_nb.records.values import Document, Hit, Result
    >>> def found(result):
    ...     hits = [Hit(Document(name, ""), rank, 1 / rank) for rank, name in enumerate("abc", start=1)]
    ...     return Result(result.query, tuple(hits))
    >>> from sage_nb.retrieval.stage import Applied
    >>> seen = sweep(lambda k: Applied(found) % k, ["who?"], {"q1": {"b": 1}}, k=[1, 2], measures=["R@100"])
    >>> seen.points["k=2"], seen.means["k=2"], seen.best()
    ({'k': 2}, {'R@100': 1.0}, 'k=2')
    >>> seen.stages_asked, seen.stages_run
    (4, 3)
    """
    parameters = parameters_of(make, how)
    options: Any = {name: value for name, value in how.items() if name not in parameters}
    points = grid(parameters)
    pipelines = {name: make(**point) for name, point in points.items()}
    return Sweep(**conducted(pipelines, queries, qrels, options), points=points, parameters=parameters)


def parameters_of(make: Callable[..., Stage], how: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The values of each argument of `make`, in its order."""
    if not callable(make):
        raise BadValueError(f"sweep() takes a function that makes a pipeline of its arguments, got {make!r:.80}")
    named = inspect.signature(make).parameters
    asked = [name for name, each in named.items() if name in how or each.default is inspect.Parameter.empty]
    if unknown := [name for name in how if name not in named and name not in OPTIONS]:
        raise BadValueError(
            f"{unknown[0]!r} is no argument of the function that makes pipelines, which has {', '.join(named)}"
        )
    if not asked:
        raise BadValueError("the function of a sweep has no argument that is given values; name one with its values")
    found = {}
    for name in asked:
        values = how.get(name)
        if not isinstance(values, Iterable) or isinstance(values, str) or not (held := tuple(values)):
            raise BadValueError(
                f"the argument {name!r} needs a list of values, as in {name}=[10, 50], got {values!r:.80}"
            )
        found[name] = held
    return found


def grid(parameters: Mapping[str, tuple[Any, ...]]) -> dict[str, dict[str, Any]]:
    """Every combination, by what it is called.

    >>> grid({"alpha": (0.3, 0.7), "k": (50,)})
    {'alpha=0.3, k=50': {'alpha': 0.3, 'k': 50}, 'alpha=0.7, k=50': {'alpha': 0.7, 'k': 50}}
    """
    points = [dict(zip(parameters, values, strict=True)) for values in product(*parameters.values())]
    named = {", ".join(f"{name}={_shown(value)}" for name, value in point.items()): point for point in points}
    if not 1 <= len(points) <= MOST:
        raise BadValueError(f"a sweep is of 1 to {MOST:,} variants, this one has {len(points):,}; give fewer values")
    if len(named) < len(points):
        raise BadValueError("two variants of the sweep have the same arguments; give each value once")
    return named


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value!r}"
