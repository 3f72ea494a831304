"""How an experiment is shown and written: text, HTML, LaTeX, a DataFrame, TREC runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from sage_nb.errors import BadValueError
from sage_nb.records import markup
from sage_nb.records.columns import text_table
from sage_nb.records.markup import Html

if TYPE_CHECKING:
    import pandas as pd

    from sage_nb.evaluation.experiment import Experiment

CACHED = "cached"  # in the place of a time that is not known
ARROWS = {"▲": r"$^{\uparrow}$", "▼": r"$^{\downarrow}$", "": ""}
_LATEX = re.compile(r"[\\{}$&#^_%~]")
_SPELLED = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
_UNSAFE = re.compile(r"[^\w.@+-]+")


def text(of: Experiment) -> str:
    """The table in a terminal, with what it is of above, and what a reader should know below."""
    header = ["pipeline", *(f"{measure}  " for measure in of.measures), *cost_names(of)]
    rows = [
        [
            markup.shortened(name, 40),
            *(f"{of.means[name][measure]:.4f} {_mark(of, name, measure) or ' '}" for measure in of.measures),
            *costs(of, name),
        ]
        for name in of.names
    ]
    return "\n".join([caption(of), text_table(header, rows), *notes(of)])


def html(of: Experiment) -> str:
    """The table in a notebook: the best of each measure bold, intervals below; expressions and p under the pointer."""
    best = _best(of)
    rows: list[list[str | float | Html]] = [
        [
            Html(f"<span title='{_safe(repr(of.pipelines[name]))}'>{_safe(name)}</span>"),
            *(_cell(of, name, measure, bold=name in best[measure]) for measure in of.measures),
            *(Html(_safe(each), number=True) for each in costs(of, name)),
        ]
        for name in of.names
    ]
    below = "".join(f"<div class='sage-quiet mathjax_ignore'>{_safe(each)}</div>" for each in notes(of))
    return markup.table(["pipeline", *of.measures, *cost_names(of)], rows, caption(of)) + below


def latex(of: Experiment) -> str:
    r"""A booktabs table: `\uparrow` and `\downarrow` mark what is significant."""
    best = _best(of)
    lines = [
        f"% {caption(of)}",
        *(f"% {each}" for each in notes(of)),
        rf"\begin{{tabular}}{{l{'r' * len(of.measures)}}}",
        r"\toprule",
        " & ".join(["pipeline", *map(_spelled, of.measures)]) + r" \\",
        r"\midrule",
    ]
    for name in of.names:
        figures = []
        for measure in of.measures:
            mean = f"{of.means[name][measure]:.4f}"
            shown = rf"\textbf{{{mean}}}" if name in best[measure] else mean
            figures.append(f"{shown}{ARROWS[_mark(of, name, measure)]}")
        lines.append(" & ".join([_spelled(name), *figures]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def frame(of: Experiment) -> pd.DataFrame:
    """A row a pipeline: each measure's mean, the ends of its interval, p as corrected where it is tested; its costs."""
    import pandas as pd

    rows = []
    for name in of.names:
        row: dict[str, object] = {"pipeline": name}
        for measure in of.measures:
            low, high = of.intervals[name][measure]
            row |= {measure: of.means[name][measure], f"{measure} low": low, f"{measure} high": high}
            if of.comparisons:
                against = of.comparisons.get(name, {}).get(measure)
                row[f"{measure} p"] = None if against is None else against.corrected
        rows.append(row | dict(of.costs[name]))
    return pd.DataFrame(rows)


def frame_by_question(of: Experiment) -> pd.DataFrame:
    """A row a pipeline and question, with the value of each measure, where it judges that question."""
    import pandas as pd

    rows = [
        {"pipeline": name, "qid": qid, "query": query.text, **{m: of.values[name][m].get(qid) for m in of.measures}}
        for name in of.names
        for qid, query in of.questions.items()
    ]
    return pd.DataFrame(rows)


def trec(of: Experiment, folder: Path) -> Path:
    """A run file a pipeline, by its name with what a path or a column cannot hold made dashes."""
    words = {name: _UNSAFE.sub("-", name) for name in of.names}
    if len(set(words.values())) < len(words):
        raise BadValueError(
            f"two pipelines would be written to one file; give names that differ in letters: {list(words)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, word in words.items():
        of.runs[name].to_trec(folder / f"{word}.run", tag=word)
    return folder


def caption(of: Experiment) -> str:
    """What was compared, and at which expense."""
    pipelines = f"{len(of.names)} pipeline{'s' * (len(of.names) != 1)}"
    return f"{pipelines}, {of.stages_asked} stages asked, {of.stages_run} run · {len(of.questions):,} questions"


def notes(of: Experiment) -> Iterator[str]:
    """What the marks mean, and what a reader should know."""
    if of.baseline is not None and of.comparisons:
        test = {"randomisation": "paired randomisation test", "t": "paired t-test"}[of.test]
        corrected = ", Holm-corrected" if of.correction else ", not corrected for several comparisons"
        yield f"▲ ▼: better or worse than {of.baseline} by more than chance (p < 0.05, {test}{corrected})"
    yield from of.remarks


def costs(of: Experiment, name: str) -> list[str]:
    """The cost columns' cells."""
    return [figure(value) for value in (of.costs[name][each] for each in cost_names(of))]


def cost_names(of: Experiment) -> Sequence[str]:
    """The cost columns: the time, and what is not 0 everywhere."""
    first = next(iter(of.costs.values()))
    return [each for at, each in enumerate(first) if not at or any(cost[each] for cost in of.costs.values())]


def figure(value: float) -> str:
    """A cost as it is read: a count in full, a measured time by its first three digits.

    >>> figure(21000), figure(1183.4), figure(11.94), figure(0.5), figure(float("nan"))
    ('21,000', '1,180', '11.9', '0.5', 'cached')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if isnan(value):
        return CACHED
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _cell(of: Experiment, name: str, measure: str, *, bold: bool) -> Html:
    mean = f"{of.means[name][measure]:.4f}"
    low, high = of.intervals[name][measure]
    against = of.comparisons.get(name, {}).get(measure)
    told = (
        ""
        if against is None
        else (
            f"{against.difference:+.4f}, p = {against.p:.2g}, corrected {against.corrected:.2g}; "
            f"{against.wins} won, {against.ties} tied, {against.losses} lost"
        )
    )
    shown = f"<b>{mean}</b>" if bold else mean
    mark = _mark(of, name, measure)
    return Html(
        f"<span title='{told}'>{shown}{f' {mark}' * bool(mark)}</span>"
        f"<div class='sage-quiet mathjax_ignore'>{low:.3f} – {high:.3f}</div>",  # noqa: RUF001  a range
        number=True,
    )


def _mark(of: Experiment, name: str, measure: str) -> str:
    against = of.comparisons.get(name, {}).get(measure)
    return "" if against is None else against.mark


def _best(of: Experiment) -> dict[str, set[str]]:
    """The pipelines with the greatest mean of each measure, as far as four digits tell; none where all are equal."""
    found = {}
    for measure in of.measures:
        rounded = {name: round(of.means[name][measure], 4) for name in of.names}
        top = {name for name, mean in rounded.items() if mean == max(rounded.values())}
        found[measure] = top if len(top) < len(rounded) else set()
    return found


def _safe(said: str) -> str:
    return markup.escape(said).text


def _spelled(said: str) -> str:
    return _LATEX.sub(lambda each: _SPELLED.get(each[0], f"\\{each[0]}"), said)
