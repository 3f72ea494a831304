"""What an answer cites: parsed, found in the passages to the character, and checked against them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from sage_nb.index.analysis import get_analyzer
from sage_nb.index.dense import Vectors
from sage_nb.records.sentences import Span, sentences
from sage_nb.records.values import Citation, Hit
from sage_nb.retrieval.joined import is_joined, originals

REFUSAL = "The passages do not answer this."  # what the package's prompts ask for where it is so
SUPPORTED = 0.45  # see `Checking`
READ = 6_000  # characters of a passage that are read: beyond, a prompt would be all one document

_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_CITED = re.compile(r"(?:\[|【)\s*(\d{1,3}(?:\s*[-–,;]\s*\d{1,3})*)\s*(?:\]|】)")  # noqa: RUF001  as models write it
_POINT = re.compile(r"^\s*(?:[-*•#]+|\d{1,3}[.)])\s+")
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


def kept(hit: Hit) -> tuple[Span, ...]:
    """The parts of a hit's text that are read: those that a refining stage has left, of these the first characters."""
    left, spans = READ, []
    for start, end in hit.spans or ((0, len(hit.document.text)),):
        spans.append((start, min(end, start + left)))
        left -= end - start
        if left <= 0:
            break
    return tuple(spans)


def read(hit: Hit) -> str:
    """The text of these parts.

    >>> from sage_nb.records.values import Document
    >>> read(Hit(Document("d", "Rays scatter. It rains."), 1, 0.5, spans=((14, 23),)))
    'It rains.'
    """
    return " … ".join(hit.document.text[start:end] for start, end in kept(hit))


def citation(hit: Hit, span: Span) -> Citation:
    """The characters `span` of a hit's text, in the document that it was cut from if it is a passage of one.

    >>> from sage_nb.records.values import Document
    >>> passage = Document("book#3", "It rains.", parent="book", meta={"start": 700, "end": 709})
    >>> citation(Hit(passage, 2, 0.5), (3, 8))
    Citation(document='book', start=703, end=708, number=2, quote='rains')
    """
    document, (start, end) = hit.document, span
    if places := originals(document, start, end) if is_joined(document) else ():
        longest = max(places, key=lambda place: place.end - place.start)
        return msgspec.structs.replace(longest, number=hit.rank)
    quote, name, offset = document.text[start:end], document.id, 0
    begun = document.meta.get("start")
    cut = document.id.rpartition("#")[0] == document.parent != "" and isinstance(begun, int)
    if cut and document.meta.get("end") == int(begun or 0) + len(document.text):
        name, offset = document.parent, int(begun or 0)
    return Citation(name, offset + start, offset + end, hit.rank, quote)


class _Mark(NamedTuple):
    """Characters of a draft that cite a passage; one that there is not has its number with a minus."""

    start: int
    end: int
    number: int


@dataclass(frozen=True)
class Claim:
    """A sentence of an answer: its characters, its words without marks, the numbers of the passages that it cites.

    `invented` says that it cites one that there is not.
    """

    span: Span
    words: str
    numbers: tuple[int, ...]
    invented: bool = False


@dataclass(frozen=True)
class Draft:
    """What a generator wrote, its citations as [n] each; those of no passage are [?], their numbers `invented`."""

    text: str
    claims: tuple[Claim, ...]
    invented: tuple[int, ...] = ()

    @property
    def declines(self) -> bool:
        """Whether it only says that the passages do not answer."""
        return len(self.claims) == 1 and self.claims[0].words == REFUSAL

    @classmethod
    def of(cls, written: str, passages: int) -> Draft:
        """Parsed: [1, 2], [1-3] and 【1】 count as well; what stands in `code` is none.

        >>> draft = Draft.of("Rays scatter [1, 2]. Light `a[1]` bends [7].", passages=2)
        >>> draft.text, draft.invented
        ('Rays scatter [1][2]. Light `a[1]` bends [?].', (7,))
        >>> [(claim.words, claim.numbers) for claim in draft.claims]
        [('Rays scatter.', (1, 2)), ('Light `a[1]` bends.', ())]
        """
        text, marks = "", []
        for at, part in enumerate(_CODE.split(written.strip())):
            end = 0
            for match in _CITED.finditer(part) if at % 2 == 0 else ():
                text += part[end : match.start()]
                end = match.end()
                for number in dict.fromkeys(n if 1 <= n <= passages else -n for n in _numbers(match[1])):
                    mark = f"[{number}]" if number > 0 else "[?]"
                    marks.append(_Mark(len(text), len(text) + len(mark), number))
                    text += mark
            text += part[end:]
        invented = dict.fromkeys(-mark.number for mark in marks if mark.number <= 0)
        return cls(text, tuple(_claims(text, marks)), tuple(invented))


@dataclass(frozen=True)
class Checked:
    """Which places support a draft's claims, and the characters of those that none does."""

    citations: tuple[Citation, ...] = ()
    unsupported: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Attribution:
    """What a draft's passages say for it: of its claims those that what they cite supports, and that any passage does.

    Of its citations, one for each passage that a claim cites, those that say something for the claim: that support it
    alone, or without which the others would not.
    """

    claims: int = 0
    attributed: int = 0
    faithful: int = 0
    citations: int = 0
    supporting: int = 0


class Checking:
    """Whether passages support what cites them.

    A claim's support is the mean of two numbers from 0 to 1: the share of its words (stemmed, without stop words) that
    stand in the passages that it cites, and the greatest cosine of it and one of their sentences by the encoder. From
    0.45 on it is supported, unless it has a figure that none of them has, or cites a passage that there is not. A claim
    that cites nothing is held against each passage. A sentence without words claims nothing.

    On 252 abstracts of PubMedQA, with the last sentence (their conclusion) as the claim, 83 % of the conclusions pass
    against the rest of their own abstract and 6 % against the most similar other (figures not counted; 78 % and 4 % of
    the 250 on which the threshold was chosen). It sees words, no logic: a "not" too many passes. English.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors]) -> None:
        self._encode = encode

    def check(self, drafts: Sequence[tuple[Draft, Sequence[Hit]]]) -> list[Checked]:
        """Each draft against its passages, the first of which is number 1."""
        texts = dict.fromkeys(text for draft, hits in drafts for text in _texts(draft, hits))
        vectors = dict(zip(texts, self._encode(list(texts)), strict=True))
        return [_checked(draft, [_Passage(hit, vectors) for hit in hits], vectors) for draft, hits in drafts]

    def attribute(self, drafts: Sequence[tuple[Draft, Sequence[Hit]]]) -> list[Attribution]:
        """How each draft stands to its passages."""
        texts = dict.fromkeys(text for draft, hits in drafts for text in _texts(draft, hits))
        vectors = dict(zip(texts, self._encode(list(texts)), strict=True))
        return [_attributed(draft, [_Passage(hit, vectors) for hit in hits], vectors) for draft, hits in drafts]


class _Passage:
    """A hit as it is held against claims."""

    def __init__(self, hit: Hit, vectors: dict[str, Vectors]) -> None:
        self._hit, self._spans = hit, _sentences(hit)
        self._vectors = [vectors[hit.document.text[start:end]] for start, end in self._spans]
        text = f"{hit.document.title}\n{read(hit)}"
        self.terms, self.figures = _terms(text), _figures(text)

    def nearest(self, vector: Vectors) -> tuple[float, Span]:
        """The greatest cosine with one of its sentences, and that sentence; the first of those that are alike."""
        cosines = [float(each @ vector) for each in self._vectors] or [0.0]
        at = int(np.argmax(cosines))
        return cosines[at], self._spans[at] if self._spans else (0, 0)

    def cited(self, vector: Vectors) -> Citation:
        """The place of that sentence."""
        return citation(self._hit, self.nearest(vector)[1])


def supports(claim: str, vector: Vectors, passages: Sequence[_Passage]) -> bool:
    """Whether these passages, taken together, do."""
    words, held = _terms(claim), {term for passage in passages for term in passage.terms}
    if not _figures(claim) <= {figure for passage in passages for figure in passage.figures}:
        return False
    cosine = max((passage.nearest(vector)[0] for passage in passages), default=0.0)
    return (len(words & held) / max(1, len(words)) + max(0.0, cosine)) / 2 >= SUPPORTED


def _checked(draft: Draft, passages: Sequence[_Passage], vectors: dict[str, Vectors]) -> Checked:
    citations: list[Citation] = []
    unsupported: list[Span] = []
    for claim in () if draft.declines else draft.claims:
        vector = vectors[claim.words]
        groups = [[passages[n - 1] for n in claim.numbers]] if claim.numbers else [[each] for each in passages]
        if claim.invented or not any(supports(claim.words, vector, group) for group in groups):
            unsupported.append(claim.span)
        else:
            citations.extend(passages[number - 1].cited(vector) for number in claim.numbers)
    return Checked(tuple(dict.fromkeys(citations)), tuple(unsupported))


def _attributed(draft: Draft, passages: Sequence[_Passage], vectors: dict[str, Vectors]) -> Attribution:
    attributed = faithful = supporting = 0
    for claim in draft.claims:

        def says(*numbers: int, claim: Claim = claim) -> bool:
            return supports(claim.words, vectors[claim.words], [passages[number - 1] for number in numbers])

        cited = bool(claim.numbers) and says(*claim.numbers)
        attributed += cited
        faithful += cited or any(says(number) for number in range(1, len(passages) + 1))
        for number in claim.numbers if cited else ():
            supporting += says(number) or not says(*(other for other in claim.numbers if other != number))
    citations = sum(len(claim.numbers) for claim in draft.claims) + len(draft.invented)
    return Attribution(len(draft.claims), attributed, faithful, citations, supporting)


def _texts(draft: Draft, hits: Sequence[Hit]) -> Iterable[str]:
    yield from (claim.words for claim in draft.claims)
    yield from (hit.document.text[start:end] for hit in hits for start, end in _sentences(hit))


def _sentences(hit: Hit) -> list[Span]:
    text = hit.document.text
    return [(a + start, a + end) for a, b in kept(hit) for start, end in sentences(text[a:b])]


def _claims(text: str, marks: Sequence[_Mark]) -> Iterable[Claim]:
    for start, end in sentences(text):
        own = [mark for mark in marks if start <= mark.start < end]
        edges = [start, *(edge for mark in own for edge in (mark.start, mark.end)), end]
        bare = [text[a:b].rstrip() if b < end else text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        words = _POINT.sub("", "".join(bare)).strip()
        numbers = tuple(dict.fromkeys(mark.number for mark in own if mark.number > 0))
        if re.search(r"\w", words):
            yield Claim((start, end), words, numbers, any(mark.number <= 0 for mark in own))


def _numbers(listed: str) -> list[int]:
    """Those of "1, 3-5"."""
    numbers: list[int] = []
    for first, last in re.findall(r"(\d+)(?:\s*[-–]\s*(\d+))?", listed):  # noqa: RUF001  as models write it
        least, most = sorted((int(first), int(last or first)))
        numbers.extend(range(least, most + 1))
    return numbers


def _terms(text: str) -> set[str]:
    return set(get_analyzer("english")(text))


def _figures(text: str) -> set[str]:
    """Its numbers, without marks between thousands."""
    return {re.sub(r",(?=\d{3}\b)", "", figure) for figure in _FIGURE.findall(text)}
