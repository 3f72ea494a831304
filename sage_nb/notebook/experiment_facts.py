"""An experiment as its view draws it: plain values, made without a widget."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from sage_nb.evaluation import report
from sage_nb.evaluation.comparison import Comparison
from sage_nb.evaluation.experiment import Experiment
from sage_nb.evaluation.pareto import pareto
from sage_nb.evaluation.sweep import Sweep
from sage_nb.notebook.building.spoken import expression, unsaid
from sage_nb.records import markup
from sage_nb.records.values import Hit

COST = "ms per question"  # that quality is drawn against
BARS = 1_000  # questions that are drawn; of more, the best and the worst
HITS = 10  # of each ranking that are shown at first
EXCERPT = 160  # characters of a passage
RANGES = "below each mean: the interval that holds it with 95 % confidence (bootstrap over the questions)"
Plain = dict[str, Any]


def facts_of(experiment: Experiment) -> Plain:
    """What the whole of it is drawn by: measures, costs, parameters, and what is said above and below the table."""
    return {
        "summary": report.caption(experiment),
        "notes": [*report.notes(experiment), RANGES],
        "measures": list(experiment.measures),
        "costs": list(report.cost_names(experiment)),
        "cost": COST,
        "parameters": parameters_of(experiment),
    }


def parameters_of(experiment: Experiment) -> list[Plain]:
    """Of a sweep: each parameter with its values as words, and as numbers where all of them are."""
    found = []
    for name, values in experiment.parameters.items() if isinstance(experiment, Sweep) else ():
        numeric = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values)
        labels = [markup.shortened(str(each), 40) for each in values]
        found.append({"name": name, "labels": labels, "numbers": [float(each) for each in values] if numeric else None})
    return found


def rows_of(experiment: Experiment) -> list[Plain]:
    """A row for each pipeline: its point of the sweep (places in the parameters' values), scores and costs."""
    means = experiment.means
    fronts = {measure: front_of(experiment, measure) for measure in experiment.measures}
    return [
        {
            "name": name,
            "baseline": name == experiment.baseline,
            "pipeline": markup.shortened(repr(experiment.pipelines[name]), 500),
            "point": _point(experiment, name),
            "scores": {
                measure: {
                    "mean": round(means[name][measure], 6),
                    "low": round(experiment.intervals[name][measure][0], 6),
                    "high": round(experiment.intervals[name][measure][1], 6),
                    "front": name in fronts[measure],
                    **_verdict(experiment, name, measure),
                }
                for measure in experiment.measures
            },
            "costs": {cost: finite(value) for cost, value in experiment.costs[name].items()},
        }
        for name in experiment.names
    ]


def front_of(experiment: Experiment, measure: str) -> list[str]:
    """The pipelines that no other beats both in the measure and in time, the quickest first; where times are known."""
    means = experiment.means
    times = {name: finite(each[COST]) for name, each in experiment.costs.items()}
    return pareto({name: (time, means[name][measure]) for name, time in times.items() if time is not None})


def compared(experiment: Experiment, name: str, measure: str) -> Plain:
    """A bar for each question, [id, text, value, label]: the difference from the baseline, or the baseline's value."""
    values, baseline = experiment.values[name][measure], experiment.baseline
    alone = baseline is None or baseline == name
    before = dict.fromkeys(values, 0.0) if alone else experiment.values[str(baseline)][measure]
    gains = sorted(((round(values[each] - before[each], 6), each) for each in values), key=lambda it: (-it[0], it[1]))
    shown, notes = gains, []
    if len(gains) > BARS:
        shown = [*gains[: BARS // 2], *gains[-BARS // 2 :]]
        notes = [f"the {BARS // 2} best and the {BARS // 2} worst of {len(gains):,} questions"]
    title = f"{measure} of {name}" if alone else f"{measure} of {name} less that of {baseline}"
    against = _against(experiment, name, measure)
    tally = [f"{against.wins} won, {against.ties} tied, {against.losses} lost", _chance(against)] if against else []
    texts = {each: markup.shortened(experiment.questions[each].text) for _, each in shown}
    bars = [[each, texts[each], gain, f"{gain:.3f}" if alone else f"{gain:+.3f}"] for gain, each in shown]
    return {"title": title, "note": " · ".join([title, *tally, *notes]), "bars": bars}


def opened(experiment: Experiment, name: str, measure: str, question: str, depth: int = HITS) -> Plain:
    """A question with the first `depth` hits of the baseline, if there is one, and of a pipeline, side by side."""
    query = experiment.questions[question]
    names = list(dict.fromkeys([experiment.baseline or name, name]))
    results = [experiment.runs[each].answer(query) for each in names]
    first = {hit.document.id: hit.rank for hit in reversed(results[0].hits)}
    grades = experiment.qrels.get(question, {})
    return {
        "id": question,
        "text": query.text,
        "rankings": [
            {
                "name": each,
                "value": _value(experiment.values[each][measure].get(question), measure),
                "answer": result.answer.marked if result.answer else "",
                "found": " · ".join([f"{len(result.hits):,} hits", *result.remarks]),
                "hits": [_hit(hit, query.text, grades, first if place else None) for hit in result.hits[:depth]],
            }
            for place, (each, result) in enumerate(zip(names, results, strict=True))
        ],
        "more": any(len(result.hits) > depth for result in results),
    }


def cell_of(experiment: Experiment, name: str, names: Mapping[str, Any]) -> tuple[str, str]:
    """The pipeline as a cell, in the notebook's `names`, and why that would make another one; "" where it does not."""
    word = re.sub(r"\W+", "_", name).strip("_") or "pipe"
    pipeline = experiment.pipelines[name]
    said = expression(pipeline, names)
    first = f"%%sage {word if word.isidentifier() else f'pipe_{word}'}"
    return f"{first}\n{said}", unsaid(said, pipeline, names)


def finite(value: float) -> float | None:
    """A number that JSON knows, or None."""
    return value if math.isfinite(value) else None


def _value(value: float | None, measure: str) -> str:
    """A question's value, where the measure judges it.

    >>> _value(0.5, "RR"), _value(None, "EM")
    ('RR 0.500', 'no EM')
    """
    return f"no {measure}" if value is None else f"{measure} {value:.3f}"


def _point(experiment: Experiment, name: str) -> list[int]:
    """By what they are printed as, which tells 1 from True: no two values of a sweep are printed alike."""
    if not isinstance(experiment, Sweep):
        return []
    point = experiment.points[name]
    return [[*map(repr, values)].index(repr(point[each])) for each, values in experiment.parameters.items()]


def _verdict(experiment: Experiment, name: str, measure: str) -> Plain:
    """The mark of significance, and in words what it rests on."""
    against = _against(experiment, name, measure)
    said = f"{against.difference:+.4f} from {experiment.baseline}, {_chance(against)}" if against else ""
    return {"mark": against.mark if against else "", "said": said}


def _against(experiment: Experiment, name: str, measure: str) -> Comparison | None:
    return experiment.comparisons.get(name, {}).get(measure)


def _chance(against: Comparison) -> str:
    return "p < 0.001" if against.corrected < 0.001 else f"p = {against.corrected:.3f}"


def _hit(hit: Hit, question: str, grades: Mapping[str, int], before: Mapping[str, int] | None) -> Plain:
    words = markup.words_of(question)
    text = markup.excerpt(hit.text, words, EXCERPT)
    return {
        "rank": hit.rank,
        "title": markup.shortened(hit.document.title or hit.document.id),
        "source": markup.shortened(hit.document.source),
        "text": text,
        "pieces": [list(each) for each in markup.places(text, words)],
        "grade": grades.get(hit.document.id),
        "move": "" if before is None else _move(before.get(hit.document.id), hit.rank),
    }


def _move(before: int | None, after: int) -> str:
    """As an arrow: up where it stands nearer to the top than the baseline has it.

    >>> _move(None, 1), _move(2, 2), _move(9, 2), _move(1, 2)
    ('new', '', '↑ from 9', '↓ from 1')
    """
    if before is None:
        return "new"
    return "" if before == after else f"{'↑' if after < before else '↓'} from {before}"
