"""The cross-encoder that the package brings: small, loaded by the library alone."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from sage_nb.models.registry import Models
from sage_nb.models.weights import RERANKER, RERANKER_FOLDER

QUESTION = "how do I wait until a thread has ended?"
PASSAGES = [
    "Thread.join(): wait until the thread terminates. This blocks the calling thread.",
    "str.join(iterable): return a string which is the concatenation of the strings in iterable.",
    "The Danube rises in the Black Forest.",
]


def test_it_is_small_and_in_half_precision():
    assert sum(path.stat().st_size for path in RERANKER_FOLDER.iterdir()) < 50e6
    weights = load_file(RERANKER_FOLDER / "model.safetensors")
    assert {str(each.dtype) for each in weights.values()} == {"float16"}


def test_the_library_alone_loads_it_and_gives_the_scores_that_we_give():
    from sentence_transformers import CrossEncoder

    pairs = [(QUESTION, passage) for passage in PASSAGES]
    theirs = CrossEncoder(str(RERANKER_FOLDER), model_kwargs={"dtype": "float32"}).predict(pairs)
    ours = Models().cross_encoder(RERANKER).score(pairs)
    assert list(np.argsort(-theirs)) == [0, 1, 2]
    assert ours == pytest.approx(theirs, abs=0.2)  # bfloat16, where the CPU has it
