"""An experiment's plots as SVG, for where no JavaScript runs; what they show stands in the table as well."""

from __future__ import annotations

from math import isfinite

from sage_nb.evaluation.experiment import Experiment
from sage_nb.evaluation.report import figure
from sage_nb.evaluation.sweep import Sweep
from sage_nb.notebook.experiment_facts import COST, front_of, parameters_of
from sage_nb.records.plot import Series, plot


def pictures(experiment: Experiment, measure: str) -> str:
    """The sweep, where it is one, then quality against time."""
    sweep = _sweep(experiment, measure) if isinstance(experiment, Sweep) else ""
    return sweep + _front(experiment, measure)


def _sweep(sweep: Sweep, measure: str) -> str:
    """Lines over the first parameter of numbers, one for each value of the next; of the others the best variant's."""
    varied = {each["name"]: each for each in parameters_of(sweep) if len(each["labels"]) > 1}
    across = next((name for name, each in varied.items() if each["numbers"]), None)
    if across is None:
        return ""
    means, best = sweep.means, sweep.points[sweep.best(measure)]
    by = next((name for name in varied if name != across), None)
    lines: dict[str, list[tuple[float, float, str]]] = {}
    for name, point in sweep.points.items():
        if all(point[each] == best[each] for each in best if each not in (across, by)):
            mean = means[name][measure]
            label = f"{by}={point[by]}" if by else ""
            lines.setdefault(label, []).append((float(point[across]), mean, f"{name}: {mean:.4f}"))
    series = [Series(tuple(sorted(points)), label) for label, points in lines.items()]
    return plot(series, (across, measure), f"{measure} by {across}")


def _front(experiment: Experiment, measure: str) -> str:
    best, means = front_of(experiment, measure), experiment.means
    if not best:
        return ""

    def spot(name: str) -> tuple[float, float, str]:
        cost, mean = experiment.costs[name][COST], means[name][measure]
        return cost, mean, f"{name}: {mean:.4f}, {figure(cost)} {COST}"

    others = [name for name in experiment.names if name not in best and isfinite(experiment.costs[name][COST])]
    series = [
        Series(tuple(spot(name) for name in others), joined=False, hollow=True),
        Series(tuple(map(spot, best))),
        *(Series((spot(name),), name, joined=False) for name in best),
    ]
    return plot(series, (COST, measure), f"{measure} against {COST}", alike=True)
