"""Learning which sources are worth asking, from questions whose relevant documents are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sage_nb.errors import BadValueError
from sage_nb.models.registry import DEFAULT_ENCODER
from sage_nb.records.disk import replace
from sage_nb.records.plain import pack
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.given import check_share
from sage_nb.retrieval.multi_source import MultiSource
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.resources import MODELS
from sage_nb.retrieval.routes import Floats, Routes, fitted
from sage_nb.retrieval.stage import Stage

Qrels = Mapping[str, Mapping[str, int]]


def learn_routes(
    pipe: Stage, queries: object, qrels: Qrels, path: str | Path, *, least: float = 0.0, spread: float = 0.1
) -> Routes:
    """Which of the sources of `pipe`, a `multi_source(…)`, find what is relevant, learned and written to `path`.

    Each source is asked each question that `qrels` judge; what it finds is its share of the grades of relevant
    documents. A ridge regression over questions' vectors (the bundled encoder's) then tells the share of any question:
    sources expected to find less than `least` of what the best does are not asked, and the weight of the others falls
    from 1 by `spread` at the most. It need not help: measure it with other questions than these. Over nine collections
    of medical questions, learned from 250, a spread of 0.1 left nDCG@10 as good (0.892 to 0.896), one of 0.5 cost 0.05;
    with least=0.1 four of the nine were asked, for 0.03.

    Raises BadValueError where `pipe` has no sources, or none of the questions has a relevant document that was found.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.multi_source import multi_source
    >>> def stars(text):
    ...     return [Document("sun", "The sun is a star.")]
    >>> def plants(text):
    ...     return [Document("oak", "The oak is a tree.")]
    >>> asked = {"q1": "how hot is the sun?", "q2": "how tall is an oak?", "q3": "which star is near?"}
    >>> with TemporaryDirectory() as folder:
    ...     pipe = multi_source({"stars": stars, "plants": plants})
    ...     routes = learn_routes(pipe, asked, {"q1": {"sun": 1}, "q2": {"oak": 1}, "q3": {"sun": 1}}, f"{folder}/r")
    ...     weights = routes.weigh("how hot is a star?")
    >>> weights["stars"] > weights["plants"]
    True
    """
    if not isinstance(pipe, MultiSource):
        raise BadValueError(f"learn_routes() takes a multi_source(…), got {pipe!r:.80}")
    check_share(least, "learn_routes()", "least=")
    check_share(spread, "learn_routes()", "spread=")
    asked = [query for query in as_queries(queries) if any(grade > 0 for grade in qrels.get(query.id, {}).values())]
    if not asked:
        raise BadValueError("none of these questions has a relevant document in the qrels; check that their ids agree")
    found = np.stack([_shares(part.run(asked).results, qrels) for part in pipe.parts], axis=1)
    if not found.any():
        raise BadValueError("no source found any relevant document, so there is nothing to learn; check the ids")
    encoder = MODELS.encoder(DEFAULT_ENCODER)
    vectors = np.asarray(encoder.encode([query.text for query in asked]), np.float64)
    facts: dict[str, Any] = {
        "encoder": DEFAULT_ENCODER,
        "fingerprint": encoder.fingerprint,
        "names": list(pipe.names),
        "weights": fitted(vectors, found),
        "least": float(least),
        "spread": float(spread),
    }
    replace(Path(path), pack(facts))
    return Routes(str(path))


def _shares(results: Sequence[Result], qrels: Qrels) -> Floats:
    """Of each question the share of its relevant grades that was found; of one that failed, none."""
    return np.array([_share(result.query, {hit.document.id for hit in result.hits}, qrels) for result in results])


def _share(query: Query, found: set[str], qrels: Qrels) -> float:
    grades = {name: grade for name, grade in qrels[query.id].items() if grade > 0}
    return sum(grade for name, grade in grades.items() if name in found) / sum(grades.values())
