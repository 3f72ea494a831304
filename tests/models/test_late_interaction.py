"""Late interaction: the scores are those of its formula, on the encoder's own token vectors."""

from __future__ import annotations

import numpy as np

from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.registry import LATE_INTERACTION, Models
from sage_nb.models.weights import bundled_folder

PAIRS = [
    ("who holds the lock?", "A thread holds the lock until it leaves the block."),
    ("who holds the lock?", "It rains in Spain."),
    ("rain", "It rains in Spain."),
]


def by_hand(question, passage):
    """MaxSim in float32, text by text, with the library alone."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bundled_folder()), device="cpu")

    def vectors(text):
        found = model.encode(text, output_value="token_embeddings", convert_to_tensor=True).float()[1:-1]
        return torch.nn.functional.normalize(found, dim=1)

    return float((vectors(question) @ vectors(passage).T).max(dim=1).values.mean())


def test_scores_are_those_of_the_formula():
    scores = Models().cross_encoder(LATE_INTERACTION).score(PAIRS)
    np.testing.assert_allclose(scores, [by_hand(*pair) for pair in PAIRS], atol=0.02)  # it may run in bfloat16


def test_a_pair_has_the_same_score_whatever_it_comes_with():
    model = Models().cross_encoder(LATE_INTERACTION)
    together = model.score(PAIRS)
    np.testing.assert_allclose([model.score([pair])[0] for pair in PAIRS], together, atol=0.01)


def test_the_bundled_encoder_is_loaded_once_for_both(monkeypatch):
    loaded = []
    monkeypatch.setattr("sage_nb.models.registry.SentenceEncoder", _noted(loaded))
    models = Models()
    models.encoder()
    models.cross_encoder(LATE_INTERACTION)
    assert loaded == ["bundled"]


def _noted(loaded):
    class Noted(SentenceEncoder):
        def __init__(self, name, *given):
            loaded.append(name)
            super().__init__(name, *given)

    return Noted


def test_texts_without_a_token_are_no_answer_to_anything():
    model = Models().cross_encoder(LATE_INTERACTION)
    assert model.score([("", "x"), ("x", ""), ("", "")]).tolist() == [-1.0, -1.0, -1.0]
    assert model.score([]).shape == (0,)


def test_what_is_cut_is_counted():
    model = Models().cross_encoder(LATE_INTERACTION)
    before = model.truncated
    model.score([("x", "word " * 2000)])
    assert model.truncated == before + 1
