"""What each stage of a run did, in numbers read off the job's own metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from sage_nb.retrieval.ranking import CACHED, COMPUTED, TOOK
from sage_nb.retrieval.scores import ITEMS_KNOWN, PAIRS
from sage_nb.runtime.context import MODEL_CALLS
from sage_nb.runtime.metrics import JobMetrics, OperatorMetrics

SERVING = ("gather", "flatmap", "head", "tail")  # kinds of operators that are no stages, nor parts of one's own
OURS = ("questions", "answers", "cache", "keep", "dead-letters", "dead-letters-sink")  # no stages, but what serves them

StageCounts = TypedDict(
    "StageCounts",
    {
        "in": int,
        "out": int,
        "cached": int,
        "computed": int,
        "filtered": int,
        "dead_lettered": int,
        "model_calls": int,
        "items_known": int,
        "pairs_scored": int,
        "seconds": float,
        "took": float,
    },
)


def stages_of(metrics: JobMetrics) -> Mapping[str, StageCounts]:
    """By stage, in the order of the graph, over all subtasks.

    `cached` and `computed` are questions whose result was found and made; `model_calls` are texts and pairs that a
    model was given, `pairs_scored` those of them that a reranker was given; `items_known` are those of which a cache
    held what it says; `seconds` are the operator's own and its model's, `took` those of them that its function took for
    what was computed.
    """
    found: dict[str, StageCounts] = {}
    for each in metrics.operators:
        if each.uid not in OURS and each.kind not in SERVING:
            found[each.uid] = _added(found.get(each.uid), each)
    return found


def _added(sofar: StageCounts | None, each: OperatorMetrics) -> StageCounts:
    before: StageCounts = sofar or {
        "in": 0,
        "out": 0,
        "cached": 0,
        "computed": 0,
        "filtered": 0,
        "dead_lettered": 0,
        "model_calls": 0,
        "items_known": 0,
        "pairs_scored": 0,
        "seconds": 0.0,
        "took": 0.0,
    }
    return {
        "in": before["in"] + each.received,
        "out": before["out"] + each.emitted,
        "cached": before["cached"] + int(each.own.get(CACHED, 0)),
        "computed": before["computed"] + int(each.own.get(COMPUTED, 0)),
        "filtered": before["filtered"] + each.filtered,
        "dead_lettered": before["dead_lettered"] + each.dead_letters,
        "model_calls": before["model_calls"] + int(each.own.get(MODEL_CALLS, 0)),
        "items_known": before["items_known"] + int(each.own.get(ITEMS_KNOWN, 0)),
        "pairs_scored": before["pairs_scored"] + int(each.own.get(PAIRS, 0)),
        "seconds": before["seconds"] + each.self_s + each.model_s,
        "took": before["took"] + each.own.get(TOOK, each.self_s + each.model_s),
    }
