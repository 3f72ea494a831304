"""Text to index terms. An analyzer is named in the collection's MANIFEST: queries are cut as documents were."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

from sage_nb.errors import MissingExtraError, UnknownNameError

Analyzer = Callable[[str], list[str]]

# Lucene's classic English list (StopAnalyzer), also bm25s's "en".
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)
_WORD = re.compile(r"\b\w\w+\b")

ANALYZERS: dict[str, Callable[[], Analyzer]] = {}


def analyzer(name: str) -> Callable[[Callable[[], Analyzer]], Callable[[], Analyzer]]:
    """Register the factory of an analyzer under `name`."""

    def register(factory: Callable[[], Analyzer]) -> Callable[[], Analyzer]:
        ANALYZERS[name] = factory
        return factory

    return register


@cache
def get_analyzer(name: str) -> Analyzer:
    """The analyzer called `name`, made once.

    >>> get_analyzer("english")("The threads are waiting on a lock")
    ['thread', 'wait', 'lock']
    """
    if name not in ANALYZERS:
        raise UnknownNameError.of("analyzer", name, ANALYZERS)
    return ANALYZERS[name]()


@analyzer("plain")
def plain() -> Analyzer:
    """Lower-cased words of two or more letters, nothing else."""
    return lambda text: _WORD.findall(text.lower())


@analyzer("english")
def english() -> Analyzer:
    """Lower-cased words, without stop words, Snowball-stemmed (Porter2, by PyStemmer)."""
    import Stemmer

    # One stemmer a call would be safe, but slow; the cache keeps the stemmer itself from being shared by threads
    # in mid-word, because CPython runs `stemWord` under its lock.
    stem = lru_cache(maxsize=1 << 17)(Stemmer.Stemmer("english").stemWord)
    return lambda text: [stem(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


@analyzer("chinese")
def chinese() -> Analyzer:
    """Chinese by jieba's search cut, other scripts as words; single characters stay."""
    try:
        import jieba
    except ImportError as missing:
        raise MissingExtraError.of("the Chinese analyzer", "jieba", "chinese") from missing
    jieba.setLogLevel("ERROR")  # it prints where its dictionary was found
    return lambda text: [word for word in jieba.lcut_for_search(text.lower()) if word.strip() and word[0].isalnum()]
