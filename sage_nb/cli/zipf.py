"""Documents and questions of made-up words, as often as words are: any number, the same each time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sage_nb.records.values import Document, Query

VOCABULARY, EXPONENT, SEED = 200_000, 1.07, 7
WORDS, ASKED = (20, 200), (2, 6)  # of a document, of a question
COMMON = 50  # words that are in nearly every document: nobody asks for them


class Zipf:
    """Texts in which the r-th word comes with a probability in proportion to r ** -1.07 (Zipf, 1949).

    >>> made = Zipf()
    >>> words = " ".join(document.text for document in made.documents(100, "d")).split()
    >>> words.count("w0") > words.count("w9") > words.count("w99")
    True
    >>> min(int(word[1:]) for word in made.questions(1)[0].text.split()) >= COMMON
    True
    >>> Zipf().documents(1, "d") == Zipf().documents(1, "d")
    True
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        shares = np.arange(1, VOCABULARY + 1) ** -EXPONENT
        self._below = np.cumsum(shares / shares.sum())
        self._below[-1] = 1.0  # whatever rounding made of it

    def documents(self, count: int, name: str) -> list[Document]:
        """So many more, with ids that begin with `name`."""
        return [Document(f"{name}{at}", text) for at, text in enumerate(self._texts(count, WORDS, 0.0))]

    def questions(self, count: int) -> list[Query]:
        """So many more, without the commonest words."""
        least = float(self._below[COMMON - 1])
        return [Query(f"q{at}", text) for at, text in enumerate(self._texts(count, ASKED, least))]

    def _texts(self, count: int, words: tuple[int, int], least: float) -> Iterator[str]:
        for length in self._random.integers(*words, size=count, endpoint=True):
            drawn = np.searchsorted(self._below, self._random.uniform(least, 1.0, length), "right")
            yield " ".join(f"w{rank}" for rank in drawn)
