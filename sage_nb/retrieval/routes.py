"""Routes learned from judged questions: which sources are worth asking, read off a question's vector.

For each source a ridge regression tells, from the vector of a question, the share of what is relevant to it that the
source finds: w = (XᵀX + λI)⁻¹Xᵀy, of Hoerl & Kennard, "Ridge Regression", Technometrics 1970. Learning from past
questions which collections to ask is Voorhees, Gupta & Johnson-Laird, "Learning Collection Fusion Strategies", SIGIR
1995; they take the nearest questions' word for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_nb.errors import BadValueError, ModelError
from sage_nb.models.registry import Models
from sage_nb.records.plain import unpack
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.yaml import stage
from sage_nb.runtime.cellcache.code import Fingerprinted
from sage_nb.stream.fingerprint import fingerprint

Floats = npt.NDArray[np.float64]
Weights = Callable[[Sequence[str]], list[Mapping[str, float]]]

RIDGE = 1.0
FACTS = {"encoder", "fingerprint", "names", "weights", "least", "spread"}


@stage("routes")
@dataclass(frozen=True)
class Routes:
    """Routes that `learn_routes` wrote to the file at `path`: for `multi_source(…, route=Routes(path))`.

    >>> Routes("routes/medicine")
    Routes(path='routes/medicine')
    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.learn_routes import learn_routes
    >>> from sage_nb.retrieval.multi_source import multi_source
    >>> def stars(text):
    ...     return [Document("sun", "The sun is a star.")]
    >>> def plants(text):
    ...     return [Document("oak", "The oak is a tree.")]
    >>> asked, relevant = ["how hot is the sun?", "how tall is an oak?"], {"q1": {"sun": 1}, "q2": {"oak": 1}}
    >>> with TemporaryDirectory() as folder:
    ...     routes = learn_routes(multi_source({"stars": stars, "plants": plants}), asked, relevant, f"{folder}/routes")
    ...     sun, oak = routes.opened(MODELS)(["the sun", "an oak tree"])
    ...     routes.weigh("the sun") == sun, routes.identity() == Routes(routes.path).identity()
    (True, True)
    >>> sun["stars"] > sun["plants"], oak["plants"] > oak["stars"]
    (True, True)
    """

    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise BadValueError(f"Routes are read from a file, got the path {self.path!r}")

    def identity(self) -> Fingerprinted:
        """What the file holds."""
        return Fingerprinted(fingerprint(("routes", self._data())), {})

    def opened(self, models: Models) -> Weights:
        """What weighs the sources for questions.

        Raises BadValueError where the file is none of routes, ModelError where the encoder's weights have changed.
        """
        facts: Any = unpack(self._data())
        if not isinstance(facts, dict) or set(facts) != FACTS:
            raise BadValueError(f"{self.path!r} holds no routes; write them with learn_routes(…, path={self.path!r})")
        encoder = models.encoder(facts["encoder"])
        if encoder.fingerprint != facts["fingerprint"]:
            raise ModelError(
                f"the routes in {self.path!r} were learned with other weights of {encoder.name!r}; learn again"
            )

        def weights(texts: Sequence[str]) -> list[Mapping[str, float]]:
            if not texts:
                return []
            shares = _with_one(np.asarray(encoder.encode(texts), np.float64)) @ facts["weights"]
            return [
                dict(zip(facts["names"], each, strict=True))
                for each in weighed(shares, facts["least"], facts["spread"]).tolist()
            ]

        return weights

    def weigh(self, text: str) -> Mapping[str, float]:
        """How much the word of each source counts for a question; 0: it is not asked."""
        return self.opened(MODELS)([text])[0]

    def _data(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise BadValueError(
                f"the routes at {self.path!r} cannot be read ({error.strerror}); write them with learn_routes()"
            ) from error


def weighed(shares: Floats, least: float, spread: float) -> Floats:
    """Weights of sources, (questions, sources), from what each is expected to find: the best has 1.

    A source that is expected to find less than `least` of what the best does has 0; between them the weight falls by
    `spread` at the most.

    >>> weighed(np.array([[0.8, 0.4, 0.0]]), least=0.1, spread=0.5).tolist()
    [[1.0, 0.75, 0.0]]
    """
    held: Floats = np.clip(shares, 0.0, None)
    best = held.max(axis=1, keepdims=True)
    relative: Floats = np.divide(held, best, out=np.ones_like(held), where=best > 0)
    weights: Floats = np.where(relative >= least, 1 - spread * (1 - relative), 0.0)
    return weights


def fitted(vectors: Floats, found: Floats) -> Floats:
    """(dimension + 1, sources): from a question's vector, (n, dimension), to the shares found, (n, sources)."""
    wide = _with_one(vectors)
    penalty = RIDGE * np.eye(wide.shape[1])
    penalty[-1, -1] = 0.0  # the mean of a source is not held down
    return np.asarray(np.linalg.solve(wide.T @ wide + penalty, wide.T @ found), np.float64)


def _with_one(vectors: Floats) -> Floats:
    return np.hstack([vectors, np.ones((len(vectors), 1))])
