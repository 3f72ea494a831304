"""What the hits of several sources can be compared by: words, vectors of one model, a reranker's scores, ranks.

The rule `pooled` ranks the hits of all sources together, as if they came from one collection:

- sources of one kind by what that kind goes by: cosines of one encoder as they are, words by a yardstick of all
  collections (see `yardstick.py`), a hybrid's by both; so do pipelines that end with the same reranker;
- sources of several kinds by words and, besides, each by its own: cosines or a reranker's scores among the sources
  that have them from the same model, else the place in the source's own ranking, 1 - (rank - 1) / hits.

Each is scaled to 0 … 1 over all hits, and they are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sage_nb.errors import SageError
from sage_nb.records.values import Hit
from sage_nb.retrieval.changes import Told, leaves
from sage_nb.retrieval.dense import Dense
from sage_nb.retrieval.lexical import Lexical
from sage_nb.retrieval.rerank import Rerank
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.stage import Cut, Fused, Scale
from sage_nb.retrieval.yardstick import scaled

WORDS, RANKS = ("words", ""), ("ranks", "")


class Evidence(NamedTuple):
    """What speaks for a source's hits.

    `step` is the step whose scores compare with those of other sources by the same `model`, "" for none; `words` says
    that words speak for them, `ranks` that its own ranking tells more than these.
    """

    step: str = ""
    model: str = ""
    words: bool = True
    ranks: bool = True


def evidence_of(stage: Told) -> Evidence:
    """Read off a pipeline: BM25 and cosine alone or fused, what ends with a reranker; else only words and ranks."""
    steps = [each for each in stage.steps if not isinstance(each, (Cut, Scale))]
    if steps and isinstance(steps[-1], Rerank):
        return Evidence("rerank", str(steps[-1].model), words=False, ranks=False)
    held = [each for each in leaves(stage) if not isinstance(each, (Cut, Scale, Fused))]
    if not all(isinstance(each, (Lexical, Dense)) for each in held):
        return Evidence()
    models = {_model(each) for each in held if isinstance(each, Dense)}
    words = any(isinstance(each, Lexical) for each in held)
    if len(models) > 1 or "" in models:
        return Evidence()
    return Evidence("dense" if models else "", "".join(models), words, ranks=False)


def _model(stage: Dense) -> str:
    """The encoder's name and weights; "" where the collection cannot tell."""
    try:
        settings = COLLECTIONS.folder(stage.source.path).snapshot().manifest.settings
    except SageError:
        return ""
    return f"{settings.encoder} {settings.encoder_fingerprint}".strip()


class Candidate(NamedTuple):
    """A hit of one of the sources; those of one `group` say nearly the same."""

    hit: Hit
    source: int
    group: int


def pooled(
    candidates: Sequence[Candidate], kinds: Sequence[Evidence], words: Sequence[float], weights: Sequence[float]
) -> dict[int, float]:
    """A score for each group; `words` are the yardstick's scores of the candidates, the others are of the sources."""
    alike = len(set(kinds)) == 1
    given: dict[tuple[str, str], dict[int, float]] = {}
    sizes = [sum(each.source == source for each in candidates) for source in range(len(kinds))]
    for at, (hit, source, _) in enumerate(candidates):
        kind = kinds[source]
        if kind.words or not alike:
            given.setdefault(WORDS, {})[at] = words[at]
        if (score := _step(hit, kind.step)) is not None:
            given.setdefault((kind.step, kind.model), {})[at] = score
        elif kind.ranks or not (alike or kind.step):
            given.setdefault(RANKS, {})[at] = 1 - (hit.rank - 1) / sizes[source]
    totals: dict[int, float] = {}
    for by, values in given.items():
        _add(totals, candidates, values if by == RANKS else scaled(values), weights)
    return totals


def needs_words(kinds: Sequence[Evidence]) -> bool:
    """Whether `pooled` looks at the words."""
    return len(set(kinds)) > 1 or any(kind.words for kind in kinds)


def _step(hit: Hit, name: str) -> float | None:
    """The score of the last step of that name."""
    return next((step.score for step in reversed(hit.steps) if name and step.stage == name), None)


def _add(
    totals: dict[int, float], candidates: Sequence[Candidate], values: Mapping[int, float], weights: Sequence[float]
) -> None:
    """Of each group the best of its candidates, weighed by its source."""
    best: dict[int, float] = {each.group: 0.0 for each in candidates} if not totals else {}
    for at, value in values.items():
        group = candidates[at].group
        best[group] = max(best.get(group, 0.0), weights[candidates[at].source] * value)
    for group, value in best.items():
        totals[group] = totals.get(group, 0.0) + value
