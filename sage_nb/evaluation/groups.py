"""Groups to train a reranker with: a question, passages, and what the mixture without it says of each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sage_nb.records.values import Document, Query, Result
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.rerank import rerank

DEPTH = 30  # candidates of a question
FIRST, MORE = 3, 4  # of them in its group: the best, and some of the others by chance
SCALE = 2.5  # the mixture is a mean of standard scores; their sum is as sharp as a softmax wants it
AMPLE = 1e6  # ms a question: with a budget the mixture is without the cross-encoder, which shall not learn from itself
STRANGE = 1.0  # how much less than the worst candidate a passage by chance is worth


@dataclass(frozen=True)
class Labelled:
    """A question, the document that answers it, and how much more than others of equal score that is worth."""

    question: str
    document: str
    trust: float


@dataclass(frozen=True)
class Group:
    """What `sage_nb.models.train_reranker` reads a line of."""

    question: str
    passages: tuple[str, ...]
    targets: tuple[float, ...]


def groups(book: Collection, labelled: Sequence[Labelled], seed: int = 0) -> Iterator[Group]:
    """A group for each question: the passage that answers it, near ones, and one that has nothing to do with it.

    Targets are the scores of `rerank()` without its cross-encoder, `trust` added for the one that answers: so the model
    learns to rank as the others do, and better where a person knew better (distillation with hard negatives that are
    soft: what the teacher likes is not called wrong).
    """
    documents = {document.id: document for document in book.documents()}
    strangers, chance = sorted(documents), random.Random(seed)
    pipe = book.hybrid(DEPTH) >> rerank(k=DEPTH, budget=AMPLE)
    run = pipe.run([Query(str(at), each.question) for at, each in enumerate(labelled)])
    for each, result in zip(labelled, run, strict=True):
        yield _group(each, result, documents, documents[chance.choice(strangers)], chance)


def _group(
    each: Labelled, result: Result, documents: dict[str, Document], stranger: Document, chance: random.Random
) -> Group:
    scores = {hit.document.id: SCALE * hit.score for hit in result}
    is_strange = stranger.id not in scores and stranger.id != each.document
    least = min(scores.values(), default=0.0)
    own = scores.pop(each.document, least) + each.trust
    others = list(scores)
    chosen = others[:FIRST] + chance.sample(others[FIRST:], min(MORE, len(others[FIRST:])))
    targets = {each.document: own, **{name: scores[name] for name in chosen}}
    if is_strange:
        targets[stranger.id] = least - STRANGE
    passages = tuple(documents[name].text for name in targets)
    return Group(each.question, passages, tuple(round(target, 3) for target in targets.values()))
