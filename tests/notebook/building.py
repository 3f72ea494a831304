"""Pipelines of every kind there is, for tests that want any."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.stage import Operation
from sage_nb.stream.function import MapFunction


@sage.generator("parrot")
def parrot(conversation):
    return conversation[-1].content


def keep(result):
    return result


def wiki(text):
    return []


def route(text):
    return ["one"]


def enough(result):
    return True


@dataclass(frozen=True)
class Mine(Operation):
    """A stage of one's own."""

    depth: int = 3

    def function(self):
        return MapFunction()


WORDS = {"keep": keep, "wiki": wiki, "route": route, "enough": enough, "Mine": Mine}
GENERATORS = st.sampled_from(
    ["parrot", sage.OpenAIChat("http://localhost:1/v1", "m", seed=3), sage.TransformersChat("m/x", max_tokens=9)]
)
NUMBERS = st.floats(0.01, 1, allow_nan=False)
COUNTS = st.integers(1, 200)


def leaf(draw, books):
    """A retriever of one of these collections, perhaps of a part of it."""
    book = draw(st.sampled_from(books))
    if draw(st.booleans()):
        book = book.where(year__ge=draw(st.integers(1990, 2030)), source__in=["a", 'b"'])
    k = draw(COUNTS)
    match draw(st.sampled_from(["lexical", "dense", "hybrid", "hierarchical", "own"])):
        case "lexical":
            return book.lexical(k, variant=draw(st.sampled_from(["lucene", "plus"])), k1=draw(NUMBERS))
        case "dense":
            return book.dense(k)
        case "hybrid":
            return book.hybrid(k, fusion=draw(st.sampled_from(sorted(FUSIONS))), weights=(draw(NUMBERS), 1))
        case "hierarchical":
            levels = draw(st.sampled_from([("document", "passage"), ("document", "section", "passage")]))
            fine = draw(st.sampled_from([None, book.lexical(7), book.hybrid(4)]))
            return book.hierarchical(k, fine=fine, levels=levels, merge=draw(NUMBERS), expand=draw(EXPANSIONS))
    return Mine(k)


EXPANSIONS = st.sampled_from([None, "parent", "neighbours"])
TAILS = {
    "rerank": lambda d: sage.rerank(d(COUNTS), model=d(st.sampled_from([None, "x/y"])), top=d(st.none() | COUNTS)),
    "llm": lambda d: sage.llm_rerank(d(GENERATORS), d(COUNTS)),
    "mmr": lambda d: sage.mmr(d(COUNTS), d(NUMBERS)),
    "dedup": lambda d: sage.dedup(d(NUMBERS)),
    "min_score": lambda d: sage.min_score(d(st.floats(-1e3, 1e3))),
    "calibrate": lambda d: sage.calibrate(d(NUMBERS), d(NUMBERS)),
    "points": lambda d: sage.calibrate(points=((0.0, 0.1), (1.5, d(st.floats(0.1, 1))))),
    "compress": lambda d: sage.compress(d(COUNTS)),
    "reorder": lambda d: sage.reorder(),
    "answer": lambda d: sage.answer(d(GENERATORS), style=d(st.sampled_from(["short", "list"])), k=d(COUNTS)),
    "quote": lambda d: sage.answer(sage.Extractive(sentences=d(st.none() | COUNTS)), cite=d(st.booleans())),
    "keep": lambda d: keep,
    "mine": lambda d: Mine(d(COUNTS)),
}


@st.composite
def pipelines(draw, books):
    """Any pipeline over these collections, of stages with and without a form."""
    stage = leaf(draw, books)
    for _ in range(draw(st.integers(0, 6))):
        stage = grown(draw, stage, books) or stage
    return stage


def grown(draw, stage, books):
    """The pipeline with one thing more done; None where there is no such pipeline, a loop within a loop, say."""
    try:
        return _grown(draw, stage, leaf(draw, books))
    except BadValueError:
        return None


def _grown(draw, stage, other):
    match draw(st.sampled_from(["then", "operator", "fuse", "feedback", "ask", "several"])):
        case "then":
            return stage >> TAILS[draw(st.sampled_from(sorted(TAILS)))](draw)
        case "operator":
            sums = [stage + other, draw(NUMBERS) * stage + other, other + (other + stage), draw(NUMBERS) * stage]
            return draw(st.sampled_from([*sums, stage | other, other & stage, stage % draw(COUNTS)]))
        case "fuse":
            by = draw(st.sampled_from(["rrf", "rrf", "max", "zscore"]))
            return sage.fuse(stage, other, by=by, weights=draw(st.sampled_from([(), (1, 0.7)])))
        case "feedback":
            expanding = draw(st.sampled_from([sage.rm3(weight=draw(NUMBERS)), sage.prf(docs=2)]))
            return sage.hyde(draw(GENERATORS)) >> stage >> expanding >> other
        case "ask":
            asking = [sage.multi_query(stage, draw(GENERATORS)), sage.decompose(stage, draw(GENERATORS), n=2)]
            asking += [sage.iterative(stage, until=draw(st.sampled_from([None, enough])), ask=draw(GENERATORS))]
            return draw(st.sampled_from(asking))
    sources = {"one": stage, "two": other, "a 'third'": wiki}
    how = draw(st.sampled_from([{}, {"route": route}, {"route": sage.Routes("r")}, {"per_source": {"one": (1, 3)}}]))
    return sage.multi_source(sources, weights={"two": draw(NUMBERS)}, **how)
