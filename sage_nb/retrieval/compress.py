"""Compress a ranking to a budget of tokens: the sentences that are nearest to the question, as spans of their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from sage_nb.index.dense import Vectors
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records.chunk import Chunker, count_tokens
from sage_nb.records.sentences import Span, sentences
from sage_nb.records.values import Document, Hit, Result
from sage_nb.retrieval.given import check_whole
from sage_nb.retrieval.ranking import Retrieving, placed
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.vectors import ByEncoder, Embedding
from sage_nb.retrieval.yaml import stage

LONGEST = 128  # tokens of what is kept or left as a whole: a longer sentence, or a listing, is cut


class Sentence(NamedTuple):
    """Characters of the text of the hit at `place`, within the span `part` that was kept of it so far."""

    place: int
    part: int
    start: int
    end: int
    tokens: int

    def follows(self, before: Sentence) -> bool:
        """Whether only space is between it and the sentence before it."""
        return (self.place, self.part) == (before.place, before.part)


@stage("compress")
@dataclass(frozen=True, repr=False)
class Compress(ByEncoder):
    """The sentences nearest to the question that together have `tokens` tokens at the most."""

    tokens: int = 1000
    encoder: str = DEFAULT_ENCODER

    def __post_init__(self) -> None:
        check_whole(self.tokens, "tokens= of compress()")

    def __repr__(self) -> str:
        encoder = "" if self.encoder == DEFAULT_ENCODER else f", encoder={self.encoder!r}"
        return f"compress(tokens={self.tokens}{encoder})"

    @property
    def keeps_scores(self) -> bool:
        """Yes."""
        return True

    def function(self) -> Retrieving:
        """A `Compressing`."""
        return Compressing(self)


class Compressing(Embedding):
    """The running half of `Compress`."""

    def __init__(self, stage: Compress) -> None:
        super().__init__(stage.encoder, repr(stage))
        self.stage = stage

    def map_batch(self, batch: Sequence[Result], /) -> list[Result]:
        """The questions, and the sentences of all their hits, are encoded together."""
        found = [self._sentences(result) for result in batch]
        texts = [
            [result.query.text, *(result.hits[each.place].document.text[each.start : each.end] for each in sentences)]
            for result, sentences in zip(batch, found, strict=True)
        ]
        vectors = self.vectors([text for each in texts for text in each])
        split = np.split(vectors, np.cumsum([len(each) for each in texts])[:-1])
        return [self._compressed(*each) for each in zip(batch, found, split, strict=True)]

    def _sentences(self, result: Result) -> list[Sentence]:
        longest = min(LONGEST, self.stage.tokens)
        return [each for place, hit in enumerate(result.hits) for each in sentences_of(hit, place, longest)]

    def _compressed(self, result: Result, found: Sequence[Sentence], vectors: Vectors) -> Result:
        kept = nearest(found, (vectors[1:] @ vectors[0]).tolist(), self.stage.tokens)
        spans = spans_of(found, kept)
        cut = {found[at].place for at in set(range(len(found))) - set(kept)}
        hits = [
            (msgspec.structs.replace(hit, spans=spans[place] if place in cut else hit.spans), hit.score)
            for place, hit in enumerate(result.hits)
            if place in spans
        ]
        said = f"compress: {len(kept)} of {len(found)} sentences, of {len(hits)} of {len(result.hits)} hits"
        notes = (*result.notes, said) if cut else result.notes
        return placed(msgspec.structs.replace(result, notes=notes), "compress", hits)


def compress(tokens: int = 1000, *, encoder: str = DEFAULT_ENCODER) -> Stage:
    """Only the sentences that are most like the question, as many as `tokens` tokens hold, in their places.

    A sentence's worth is cos(question, sentence) by the encoder: the extractive compression of Xu, Shi & Choi, "RECOMP:
    Improving Retrieval-Augmented LMs with Compression and Selective Augmentation", ICLR 2024, without its training. The
    best are taken, whatever hit they are of, passing over those that no longer fit; a hit of which none is taken is
    left out, the others keep their order. `Hit.spans` are what is kept, in characters of the document's own text, for
    citations; `Hit.text` reads it. Tokens are the default encoder's, of texts without titles.

    >>> compress(tokens=500)
    compress(tokens=500)
    """
    return Compress(tokens, encoder)


def nearest(found: Sequence[Sentence], likeness: Sequence[float], tokens: int) -> list[int]:
    """The places of the sentences to keep: the best that fit, ties to the earlier; a gap in a text costs a token.

    >>> texts = [Sentence(0, 0, 0, 9, 4), Sentence(0, 0, 10, 19, 4), Sentence(0, 0, 20, 29, 4), Sentence(1, 0, 0, 9, 3)]
    >>> nearest(texts, [0.9, 0.1, 0.8, 0.7], tokens=8), nearest(texts, [0.9, 0.1, 0.8, 0.7], tokens=9)
    ([0, 3], [0, 2])
    """
    kept: set[int] = set()
    hits: set[int] = set()
    for at in sorted(range(len(found)), key=lambda at: (-likeness[at], at)):
        beside = [each for each in (at - 1, at + 1) if each in kept and found[at].follows(found[each])]
        cost = found[at].tokens + (1 - len(beside) if found[at].place in hits else 0)
        if cost <= tokens:
            tokens -= cost
            kept.add(at)
            hits.add(found[at].place)
    return sorted(kept)


def spans_of(found: Sequence[Sentence], kept: Sequence[int]) -> dict[int, tuple[Span, ...]]:
    """By the place of the hit, what is kept of its text; sentences that follow each other are one span.

    >>> texts = [Sentence(0, 0, 0, 9, 4), Sentence(0, 0, 10, 19, 4), Sentence(0, 0, 20, 29, 4), Sentence(1, 0, 0, 9, 3)]
    >>> spans_of(texts, [0, 1, 3])
    {0: ((0, 19),), 1: ((0, 9),)}
    """
    spans: dict[int, list[Span]] = {}
    for before, at in pairwise([-2, *kept]):
        own = spans.setdefault(found[at].place, [])
        joined = at == before + 1 and found[at].follows(found[before])
        start = own.pop()[0] if joined else found[at].start
        own.append((start, found[at].end))
    return {place: tuple(each) for place, each in spans.items()}


def sentences_of(hit: Hit, place: int, longest: int) -> Iterator[Sentence]:
    """The sentences of what is kept of a hit's text, those of more than `longest` tokens in pieces."""
    text = hit.document.text
    for part, (first, last) in enumerate(hit.spans or ((0, len(text)),)):
        for start, end in sentences(text[first:last]):
            for begin, stop, tokens in _pieces(text[first + start : first + end], longest):
                yield Sentence(place, part, first + start + begin, first + start + stop, tokens)


def _pieces(sentence: str, longest: int) -> Iterator[tuple[int, int, int]]:
    tokens = count_tokens(sentence)
    if tokens <= longest:
        yield 0, len(sentence), tokens
        return
    for piece in Chunker(longest, 0).split(Document("", sentence)):
        yield int(piece.meta["start"] or 0), int(piece.meta["end"] or 0), count_tokens(piece.text)
