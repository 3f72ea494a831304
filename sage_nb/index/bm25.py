"""BM25's family: how much one posting is worth. Pure arithmetic; which documents, is for `lexical`.

The names follow Kamphuis, de Vries, Boytsov & Lin, "Which BM25 do you mean?", ECIR 2020. `okapi`, `l` and `plus` give
the scores of the library rank_bm25, whose BM25L multiplies by the term frequency once more than the paper does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError, UnknownNameError

Floats = npt.NDArray[np.float64]
Terms = Sequence[str] | Mapping[str, float]  # a question's: as they stand there, or each with its weight

OKAPI_FLOOR = 0.25  # rank_bm25's epsilon: a negative idf becomes this share of the mean idf


@dataclass(frozen=True)
class Statistics:
    """What BM25 must know of all documents: how many, how long on average (in terms), the mean idf (okapi only)."""

    documents: int
    average_length: float
    mean_idf: float = 0.0


@dataclass(frozen=True)
class Weighting:
    """A BM25 variant with its parameters.

    `lucene` and `robertson` are bm25s's (no factor k1 + 1); `okapi`, `l`, `plus` are rank_bm25's.
    """

    variant: str = "lucene"
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UnknownNameError.of("BM25 variant", self.variant, VARIANTS)
        numbers = all(isinstance(each, (int, float)) for each in (self.k1, self.b))
        if not (numbers and 0 <= self.k1 < math.inf and 0 <= self.b <= 1):
            raise BadValueError(f"BM25 needs finite k1 >= 0 and 0 <= b <= 1, got k1={self.k1!r} and b={self.b!r}")

    def idf(self, frequency: int, of: Statistics) -> float:
        """What a term that `frequency` documents hold is worth.

        >>> round(Weighting("lucene").idf(1, Statistics(10, 5.0)), 6) == round(math.log(1 + 9.5 / 1.5), 6)
        True
        """
        return VARIANTS[self.variant].idf(frequency, of)

    def weigh(self, tf: Floats, length: Floats, of: Statistics) -> Floats:
        """The share of the idf that each posting gets: shapes (n,) in, (n,) out."""
        norm = 1 - self.b + self.b * length / (of.average_length or 1.0)
        return VARIANTS[self.variant].weigh(tf, norm, self.k1)

    @property
    def absent(self) -> float:
        """The share of the idf that every document gets, even without the term (`plus` only)."""
        return VARIANTS[self.variant].absent


@dataclass(frozen=True)
class Variant:
    """One member of the family: `idf(df, statistics)`, `weigh(tf, norm, k1)`, and what an absent term gives."""

    idf: Callable[[int, Statistics], float]
    weigh: Callable[[Floats, Floats, float], Floats]
    absent: float = 0.0


def weights_of(terms: Terms) -> Mapping[str, float]:
    """How much each term of a question counts: as often as it stands there, or as it is weighed.

    >>> weights_of(["ray", "light", "ray"]) == {"ray": 2, "light": 1}, weights_of({"ray": 0.5})
    (True, {'ray': 0.5})
    """
    return terms if isinstance(terms, Mapping) else Counter(terms)


def okapi_idf(frequency: int, documents: int) -> float:
    """Robertson & Sparck Jones's weight, which is negative for terms that over half of the documents hold.

    >>> okapi_idf(1, 2)
    0.0
    """
    return math.log(documents - frequency + 0.5) - math.log(frequency + 0.5)


def _lucene_idf(frequency: int, of: Statistics) -> float:
    return math.log(1 + (of.documents - frequency + 0.5) / (frequency + 0.5))


def _robertson_idf(frequency: int, of: Statistics) -> float:
    return max(0.0, okapi_idf(frequency, of.documents))


def _floored_okapi_idf(frequency: int, of: Statistics) -> float:
    plain = okapi_idf(frequency, of.documents)
    return plain if plain >= 0 else OKAPI_FLOOR * of.mean_idf


def _saturate(tf: Floats, norm: Floats, k1: float) -> Floats:
    return tf / (tf + k1 * norm)


def _atire(tf: Floats, norm: Floats, k1: float) -> Floats:
    return (k1 + 1) * _saturate(tf, norm, k1)


def _long(tf: Floats, norm: Floats, k1: float) -> Floats:
    shifted = tf / norm + 0.5
    return tf * (k1 + 1) * shifted / (k1 + shifted)


VARIANTS = {
    "lucene": Variant(_lucene_idf, _saturate),
    "robertson": Variant(_robertson_idf, _saturate),
    "okapi": Variant(_floored_okapi_idf, _atire),
    "l": Variant(lambda frequency, of: math.log((of.documents + 1) / (frequency + 0.5)), _long),
    "plus": Variant(
        lambda frequency, of: math.log((of.documents + 1) / frequency),
        lambda tf, norm, k1: 1 + _atire(tf, norm, k1),
        absent=1.0,
    ),
}
