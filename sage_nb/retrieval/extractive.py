"""Extractive answers: the sentences of the passages that answer best, word for word. No model writes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from sage_nb.index.analysis import get_analyzer
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records.values import Answer, Hit, Result
from sage_nb.retrieval.citations import citation, kept
from sage_nb.retrieval.compress import Sentence, sentences_of
from sage_nb.retrieval.given import check_whole
from sage_nb.retrieval.near import near_duplicates
from sage_nb.retrieval.pairing import Pairing
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.vectors import Embedding
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import Context

LONGEST = 96  # tokens of a sentence; what is longer (a listing, a table) is taken in pieces
RANKED = 0.1  # what the encoder's score gains in the first passage; measured: 0.2 to 0.4 are no better
LIKE = 0.7  # sentences this alike, by their shingles, say the same: the better one is taken


@stage("extractive")
@dataclass(frozen=True, repr=False)
class Extractive:
    """Answers with the best sentences of the passages, with exact citations; the default, since it needs no LLM.

    A sentence is scored by the cross-encoder `model` (a folder or a hub name). Without a name by the bundled encoder:
    cosine of question and sentence, plus the share of the question's words (stemmed) in the sentence, plus a tenth of
    1 / the passage's rank. The answer's `by` says which.

    With BM25's first 5 passages and that sum, the two sentences of a short answer hold the gold answer for 89 % of 119
    questions of XQuAD and 70 % of 73 of COVID-QA, of those where any of the passages does; their first alone for 80 %
    and 59 %.

    >>> Extractive(sentences=3)
    Extractive(sentences=3)
    >>> Extractive(sentences=3).fingerprint == Extractive().fingerprint  # the same weights score
    True
    """

    model: str | None = None
    sentences: int | None = None

    def __post_init__(self) -> None:
        if self.sentences is not None:
            check_whole(self.sentences, "sentences= of Extractive()")

    def __repr__(self) -> str:
        given = {"model": self.model, "sentences": self.sentences}
        return f"Extractive({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not None)})"

    @property
    def fingerprint(self) -> str:
        """What scores: its weights and its precision."""
        return MODELS.reranker_fingerprint(self.model) if self.model else MODELS.encoder_fingerprint()


class Limits(NamedTuple):
    """Of an answer: sentences, tokens or None for any number, whether each is a point of a list and has its [n]."""

    sentences: int
    tokens: int | None
    points: bool
    cite: bool


class Extracting:
    """The running half of `Extractive`."""

    def __init__(self, extractive: Extractive, limits: Limits, stage: str) -> None:
        self._limits = limits
        self._pairing = Pairing(extractive.model, stage) if extractive.model else None
        self._embedding = Embedding(DEFAULT_ENCODER, stage)
        scorer = f"the reranker {extractive.model!r}" if extractive.model else "the bundled encoder and shared words"
        self._by = f"Extractive ({scorer})"

    def open(self, context: Context, /) -> None:
        """Load the model that scores."""
        (self._pairing or self._embedding).open(context)

    def close(self) -> None:
        """Models stay loaded for others."""

    def replied(self, batch: Sequence[tuple[Result, Sequence[Hit]]]) -> list[Result]:
        """Each result with its answer from these of its hits; all sentences of a batch are scored together."""
        longest = min(LONGEST, self._limits.tokens or LONGEST)
        found = [[each for n, hit in enumerate(hits) for each in _sentences(hit, n, longest)] for _, hits in batch]
        asked = [
            (result.query.text, _text(hits, each))
            for (result, hits), own in zip(batch, found, strict=True)
            for each in own
        ]
        scores = iter(self._scores(asked))
        favour = 0.0 if self._pairing else RANKED
        return [
            self._replied(result, hits, _by_score(own, [next(scores) + favour / (each.place + 1) for each in own]))
            for (result, hits), own in zip(batch, found, strict=True)
        ]

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        if self._pairing:
            return self._pairing.scored(pairs)
        vectors = self._embedding.vectors([text for pair in pairs for text in pair])
        cosines = (vectors[::2] * vectors[1::2]).sum(axis=1).tolist()
        return [cosine + _shared(*pair) for cosine, pair in zip(cosines, pairs, strict=True)]

    def _replied(self, result: Result, hits: Sequence[Hit], best: Sequence[Sentence]) -> Result:
        citations = [citation(hits[each.place], (each.start, each.end)) for each in self._chosen(hits, best)]
        if not citations:
            nothing = "the passages have no sentence to answer with"
            return msgspec.structs.replace(result, notes=(*result.notes, nothing))
        cite, points = self._limits.cite, self._limits.points
        said = [" ".join(each.quote.split()) + f" [{each.number}]" * cite for each in citations]
        text = "\n".join(f"- {each}" for each in said) if points else " ".join(said)
        return msgspec.structs.replace(result, answer=Answer(text, tuple(citations) if cite else (), by=self._by))

    def _chosen(self, hits: Sequence[Hit], best: Sequence[Sentence]) -> list[Sentence]:
        """The first of the best that fit and say something new; those of one passage stand together, in its order."""
        first = near_duplicates([_text(hits, each) for each in best], LIKE)
        left = self._limits.tokens
        taken: list[Sentence] = []
        for at, each in enumerate(best):
            fits = left is None or each.tokens <= left
            if fits and first[at] == at and not any(_overlap(hits, each, other) for other in taken):
                taken.append(each)
                left = None if left is None else left - each.tokens
            if len(taken) == self._limits.sentences:
                break
        places = list(dict.fromkeys(each.place for each in taken))
        return sorted(taken, key=lambda each: (places.index(each.place), each.start))


def _sentences(hit: Hit, place: int, longest: int) -> list[Sentence]:
    """Of what is read of a hit: all but headings and questions, which answer nothing, unless there is nothing else."""
    every, telling = [], []
    for each in sentences_of(msgspec.structs.replace(hit, spans=kept(hit)), place, longest):
        text = hit.document.text[each.start : each.end]
        if any(map(str.isalnum, text)):
            every.append(each)
            if not text.startswith("#") and not text.endswith("?"):
                telling.append(each)
    return telling or every


def _by_score(found: Sequence[Sentence], scores: Sequence[float]) -> list[Sentence]:
    """The best first, ties to the earlier."""
    return [each for _, each in sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])]


def _overlap(hits: Sequence[Hit], one: Sentence, other: Sentence) -> bool:
    """Whether they have characters of a document in common, as in passages that were cut with an overlap."""
    first, second = (citation(hits[each.place], (each.start, each.end)) for each in (one, other))
    same = hits[one.place].collection == hits[other.place].collection and first.document == second.document
    return same and first.start < second.end and second.start < first.end


def _text(hits: Sequence[Hit], sentence: Sentence) -> str:
    return hits[sentence.place].document.text[sentence.start : sentence.end]


def _shared(question: str, text: str) -> float:
    """The share of a question's words that a text has."""
    words = set(get_analyzer("english")(question))
    return len(words & set(get_analyzer("english")(text))) / max(1, len(words))
