"""Documents as a collection can keep them: fields of the right type, text that can be written."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.records.rows import FIELDS
from sage_nb.records.surrogates import encodable
from sage_nb.records.values import Document, Scalar


def sound(document: Document) -> Document:
    r"""`document` with lone surrogates, which no file can hold, as "?"; nearly always the document itself.

    Raises BadValueError for an id that is empty, a field that is no text, meta that is no plain data.

    >>> sound(Document("d", "half \ud800")).text
    'half ?'
    """
    for name in FIELDS:
        if not isinstance(value := getattr(document, name), str):
            raise BadValueError(f"the {name} of {_named(document)} must be a text, got {_shown(value)}; make it a str")
    if not document.id.strip() or encodable(document.id) != document.id:
        raise BadValueError(f"a document cannot have the id {document.id!r}; give it a name of characters that print")
    texts = {name: encodable(getattr(document, name)) for name in FIELDS}
    meta = _sound_meta(document)
    if meta == document.meta and all(texts[name] == getattr(document, name) for name in FIELDS):
        return document
    return msgspec.structs.replace(document, **texts, meta=meta)


def _sound_meta(document: Document) -> dict[str, Scalar]:
    if not isinstance(document.meta, Mapping):
        raise BadValueError(
            f"the meta of {_named(document)} must be a mapping, got {_shown(document.meta)}; write meta={{'n': 1}}"
        )
    for key, value in document.meta.items():
        fits = isinstance(value, Scalar) and (not isinstance(value, int) or -(1 << 63) <= value < 1 << 63)
        if not isinstance(key, str) or not fits:
            raise BadValueError(
                f"the meta {key!r} of {_named(document)} must be a text, a number of 64 bits, a bool or None, "
                f"got {_shown(value)}; write it as one of these"
            )
    return {encodable(key): encodable(v) if isinstance(v, str) else v for key, v in document.meta.items()}


def _named(document: Document) -> str:
    return f"document {document.id!r:.60}"


def _shown(value: object) -> str:
    return f"{value!r:.40} ({type(value).__name__})"
