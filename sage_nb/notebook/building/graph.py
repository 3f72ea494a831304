"""The boxes and arrows of a pipeline: what a question goes through, as it would run."""

from __future__ import annotations

from typing import Any

from sage_nb.notebook.display import short
from sage_nb.records.drawing import LETTERS, Arrow, Box
from sage_nb.retrieval.given import printed
from sage_nb.retrieval.iterative import Iterative

QUESTION = "question"
SMALL = 28  # letters of the line below a title


def graph_of(pipeline: Any) -> tuple[list[Box], list[Arrow]]:
    """A box for the question and for each step; where pipelines are put together, each leads to the box that does so.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> boxes, arrows = graph_of(rerank(k=3) % 1)
    >>> [(box.title, box.below) for box in boxes], [(arrow.tail, arrow.head) for arrow in arrows]
    ([('question', ''), ('rerank', 'k=3'), ('% 1', '')], [('question', '1'), ('1', '2')])
    """
    drawn = _Drawn([Box(QUESTION, QUESTION)], [])
    drawn.chain(pipeline, QUESTION)
    return drawn.boxes, drawn.arrows


class _Drawn:
    """A graph while it grows."""

    def __init__(self, boxes: list[Box], arrows: list[Arrow]) -> None:
        self.boxes, self.arrows = boxes, arrows

    def chain(self, pipeline: Any, tail: str) -> str:
        """Draw the steps behind `tail`; the last of them."""
        for step in pipeline.steps:
            tail = self._step(step, tail)
        return tail

    def _step(self, step: Any, tail: str) -> str:
        first = len(self.boxes)
        ends = [(self.chain(part, tail), said) for part, said in zip(step.branches, _labels(step), strict=True)]
        own = str(len(self.boxes))
        self.boxes.append(Box(own, *told(step.label)))
        self.arrows += [Arrow(end, own, said) for end, said in ends or [(tail, "")]]
        if isinstance(step, Iterative):
            self.arrows.append(Arrow(own, str(first), back=True))
        return own


def told(label: str) -> tuple[str, str]:
    """A step's title, and its arguments as the line below.

    >>> told("Collection('book').where(year=3).lexical(k=5)")
    ('book.lexical', 'filtered, k=5')
    """
    text = short(label)
    opened = _opened(text)
    if not opened:
        return text, ""
    first, dot, rest = text[:opened].partition(".")
    between, _, last = rest.rpartition(".")
    below = f"{'filtered, ' if between else ''}{text[opened + 1 : -1]}"
    return f"{first}{dot}{last}", below if len(below) <= SMALL else f"{below[: SMALL - 1]}…"


def _opened(text: str) -> int:
    """Where the bracket opens that the text ends with; 0 where it ends with none."""
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if not depth:
            return at if text[at] == "(" else 0
    return 0


def _labels(step: Any) -> list[str]:
    """What stands at the arrow from each branch: its name, its weight where that is not 1."""
    count = len(step.branches)
    weights = getattr(step, "weights", ()) or (1.0,) * count
    names = getattr(step, "names", ("",) * count)
    return [
        " ".join(each for each in ("" if weight == 1 else f"weight {printed(weight)}", name[:LETTERS]) if each)
        for name, weight in zip(names, weights, strict=True)
    ]
