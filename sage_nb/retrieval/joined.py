"""Passages put together to one text, of which every character is known where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from sage_nb.records.values import Citation, Document, Scalar

PARTS = "parts"  # in the meta of a joined document: JSON of its `Part`s


class Part(msgspec.Struct, frozen=True, array_like=True):
    """`length` characters from `start` of a joined text: those of a `passage`, and from `begin` of its `document`."""

    passage: str
    start: int
    document: str
    begin: int
    length: int


def joined(passages: Sequence[Document], whole: Document) -> Document:
    r"""`whole` with the text of all `passages`, in this order, for its own.

    What two passages of one document have in common stands once; between others is an empty line. Where all follow
    each other the text is the document's from `start` to `end`, up to the kind of white space between passages.

    >>> ab = [
    ...     Document(f"d#{n}", t, parent="d", meta={"start": s, "end": s + len(t)})
    ...     for n, t, s in [(0, "It rains", 0), (1, "rains hard.", 3)]
    ... ]
    >>> joined(ab, Document("d", "")).text
    'It rains hard.'
    """
    text, parts = "", list[Part]()
    for number, passage in enumerate(passages):
        before = passages[number - 1] if number else None
        gap = _gap(before, passage) if before else 0
        text += "" if before is None else "\n\n" if gap is None else _white(gap)
        begin = max(0, -(gap or 0))
        if (length := len(passage.text) - begin) > 0:
            document, offset = (passage.parent, _number(passage, "start")) if _is_cut(passage) else (passage.id, 0)
            parts.append(Part(passage.id, len(text), document, offset + begin, length))
            text += passage.text[begin:]
    meta: dict[str, Scalar] = {name: v for name, v in whole.meta.items() if name not in ("start", "end")}
    if all(_gap(*pair) is not None for pair in pairwise(passages)) and _is_cut(passages[0]):
        meta |= {"start": passages[0].meta["start"], "end": passages[-1].meta["end"]}
    meta[PARTS] = msgspec.json.encode(parts).decode()
    return msgspec.structs.replace(whole, text=text, meta=meta)


def parent_of(passages: Sequence[Document], name: str, parent: str) -> Document:
    """The document called `name` that some passages make: what is the same in all of them, and their texts."""
    first, *others = passages
    same = {field: value for field, value in first.meta.items() if all(o.meta.get(field) == value for o in others)}
    title, source = (_same([getattr(each, field) for each in passages]) for field in ("title", "source"))
    meta = {field: value for field, value in same.items() if field != "parent"}
    return joined(passages, Document(name, "", title, source, parent, meta))


def originals(document: Document, start: int, end: int) -> tuple[Citation, ...]:
    """Where the characters `start` to `end` of a merged or widened hit's text stand in the documents it is made of.

    These are the documents as they were added. Of any other hit it is the place itself.

    >>> both = joined([Document("a", "Rays scatter."), Document("b", "Light bends.")], Document("p", ""))
    >>> [(place.document, place.quote) for place in originals(both, 5, 20)]
    [('a', 'scatter.'), ('b', 'Light')]
    """
    if not is_joined(document):
        return (Citation(document.id, start, end, quote=document.text[start:end]),)
    found: list[tuple[str, int, int, int]] = []  # a document, how far on a place in it is, first and last here
    for part in _parts(document):
        first, last = max(start, part.start), min(end, part.start + part.length)
        shift = part.begin - part.start
        if first >= last:
            continue
        if found and found[-1][:2] == (part.document, shift):  # the next passage of the same, in one run of text
            first = found.pop()[2]
        found.append((part.document, shift, first, last))
    return tuple(Citation(n, a + by, b + by, quote=document.text[a:b]) for n, by, a, b in found)


def is_joined(document: Document) -> bool:
    """Whether its text is that of several passages."""
    return PARTS in document.meta


def passages_in(document: Document) -> list[str]:
    """The ids of the passages whose text a joined document has; none for any other."""
    return [part.passage for part in _parts(document)] if is_joined(document) else []


def _parts(document: Document) -> list[Part]:
    return msgspec.json.decode(str(document.meta[PARTS]), type=list[Part])


def _gap(before: Document, after: Document) -> int | None:
    """Characters between two passages that follow each other in one document, negative where they overlap."""
    follow = (
        before.parent == after.parent and _is_cut(before) and _is_cut(after) and _place(after) == _place(before) + 1
    )
    return _number(after, "start") - _number(before, "end") if follow else None


def _is_cut(passage: Document) -> bool:
    """Whether a chunker made it."""
    places = all(type(passage.meta.get(name)) is int for name in ("start", "end"))
    return places and passage.id.removeprefix(f"{passage.parent}#").isdecimal()


def _place(passage: Document) -> int:
    return int(passage.id.rpartition("#")[2])


def _number(passage: Document, name: str) -> int:
    return int(passage.meta[name] or 0)


def _white(gap: int) -> str:
    return " " * gap if gap < 2 else "\n\n" + " " * (gap - 2)


def _same(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else ""
