"""What a cell shows: static HTML, with a text of the same facts for a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from sage_nb.records import markup
from sage_nb.records.values import Result
from sage_nb.retrieval.run import Run

QUESTIONS = 5


@dataclass(frozen=True)
class RunView:
    """The first questions of a run with their `top` hits."""

    run: Run
    top: int = 5

    def __repr__(self) -> str:
        lines = [repr(self.run)]
        for result in self.run.results[:QUESTIONS]:
            lines.append(f"? {markup.shortened(result.query.text)}")
            lines.extend(
                f"  {h.rank}. {h.document.title or h.document.id}  {h.score:.4g}" for h in result.hits[: self.top]
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A caption with the run's facts, then a table a question."""
        run = self.run
        facts = f"{run.done} questions · {run.ms_per_question:.3g} ms each · {run.pipeline}"
        tables = "".join(_question(result.top(self.top)) for result in run.results[:QUESTIONS])
        more = (
            f"<div class='sage-quiet'>… and {len(run) - QUESTIONS} more questions</div>" if len(run) > QUESTIONS else ""
        )
        return f"<div class='sage-quiet'>{markup.escape(facts).text}</div>{tables}{more}"


def _question(result: Result) -> str:
    return f"<div style='margin-top:.8em'>{result._repr_html_()}</div>"
