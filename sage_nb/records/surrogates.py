"""Lone surrogates: characters of a Python text that no file can hold and no tokenizer takes."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""`text` with each lone surrogate as "?": one character for one, so that offsets hold.

    >>> encodable("a\udc80b")
    'a?b'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
