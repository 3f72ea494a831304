"""Late interaction: a passage answers a question as well as its tokens answer each token of the question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.inference import Floats


class LateInteraction:
    """Scores pairs by the vectors of their tokens: for each of the question's, its cosine to the passage's nearest.

    The mean of these (MaxSim; ColBERT: Khattab & Zaharia, SIGIR 2020), from -1 to 1. The vectors are an encoder's own,
    not trained for this: on short passages they rank better than its cosine of whole texts all the same.

    >>> from sage_nb.models.registry import Models
    >>> model = Models().cross_encoder("late-interaction")
    >>> near, far = model.score([("who holds the lock?", "A thread holds it."), ("who holds the lock?", "It rains.")])
    >>> bool(near > far)
    True
    """

    name = "late-interaction"

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.fingerprint = encoder.fingerprint
        self._encoder = encoder

    @property
    def truncated(self) -> int:
        """How many texts so far were cut to the encoder's limit."""
        return self._encoder.truncated

    def score(self, pairs: Sequence[tuple[str, str]], /) -> Floats:
        """N (question, passage) pairs to (n,) float32; each text is encoded once. -1 where one has no token."""
        questions, passages = (self._encoded([pair[side] for pair in pairs]) for side in (0, 1))
        scores = [nearest(questions[question], passages[passage]) for question, passage in pairs]
        return np.array(scores, np.float32)

    def _encoded(self, texts: Sequence[str]) -> dict[str, Floats]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self._encoder.tokens(distinct), strict=True))


def nearest(question: Floats, passage: Floats) -> float:
    """The mean over the question's tokens (rows of length 1) of the greatest cosine to one of the passage's.

    >>> one, other = np.eye(2, dtype=np.float32)
    >>> nearest(np.array([one, other]), np.array([one]))
    0.5
    """
    if not len(question) or not len(passage):
        return -1.0
    return float((question @ passage.T).max(axis=1).mean())
