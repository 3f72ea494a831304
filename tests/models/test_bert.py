"""Our BERT's forward gives what the library gives; and what is no plain BERT is left to the library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sage_nb.models import bert
from sage_nb.models.bert import Bert
from sage_nb.models.cross_encoder import PairScorer
from sage_nb.models.device import Compute, cpu_has_bf16
from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.library import Library
from sage_nb.models.linear import FusedLinear, Linear, linear
from sage_nb.models.settings import Settings
from sage_nb.models.weights import RERANKER_FOLDER, bundled_folder

FP32 = Compute("cpu", "float32")
TEXTS = ["word " * count + "end" for count in (1, 2, 30, 31, 60, 90, 126, 200, 254, 400)] + ["", "naïve café 北京"]


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled encoder, to change."""
    return shutil.copytree(bundled_folder(), tmp_path / "model")


def told(folder, name, **changed):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def library(folder, texts):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, normalize_embeddings=True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_of_texts_of_any_length_are_the_librarys(folder, pooling):
    modes = {f"pooling_mode_{name}": name.startswith(pooling) for name in ("cls_token", "mean_tokens")}
    told(folder, "1_Pooling/config.json", **modes)
    settings = Settings.of(folder, "encoder")
    assert settings.pooling == pooling
    np.testing.assert_allclose(SentenceEncoder("x", folder, FP32).encode(TEXTS), library(folder, TEXTS), atol=1e-5)


def test_scores_of_pairs_of_any_length_are_the_librarys():
    from sentence_transformers import CrossEncoder

    pairs = [(question, passage) for question in ("what ends?", "word " * 300) for passage in TEXTS]
    plain = CrossEncoder(str(RERANKER_FOLDER), device="cpu", model_kwargs={"dtype": "float32"}).predict(pairs)
    np.testing.assert_allclose(PairScorer("x", RERANKER_FOLDER, FP32).score(pairs), plain, atol=1e-4)


def test_texts_of_a_row_do_not_see_each_other_and_would_without_the_mask(monkeypatch):
    encoder = SentenceEncoder("x", bundled_folder(), FP32)
    alone = np.vstack([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-5)
    masked = bert._attention_in_rows
    monkeypatch.setattr(bert, "_attention_in_rows", lambda mask, *asked: masked(mask.clone().zero_(), *asked))
    assert np.abs(encoder.encode(TEXTS) - alone).max() > 0.01


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU does not multiply bfloat16")
def test_fused_products_are_the_plain_ones():
    import torch

    compute = Compute("cpu", "bfloat16")
    torch.manual_seed(0)
    weight, bias, x, other = (torch.randn(*shape).bfloat16() for shape in ((96, 64), (96,), (50, 64), (50, 96)))
    fused, plain = linear(weight, bias, compute), Linear(weight, bias)
    assert isinstance(fused, FusedLinear)
    assert not isinstance(linear(weight.float(), bias.float(), FP32), FusedLinear)
    for ours, theirs in (
        (fused(x), plain(x)), (fused.gelu(x), plain.gelu(x)), (fused.plus(x, other), plain.plus(x, other)),
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.02)


def test_a_plain_bert_is_loaded_without_the_libraries_that_take_seconds_to_import():
    code = (
        "import sys; from sage_nb.models.registry import Models; models = Models(); models.encoder().encode(['a']); "
        "models.cross_encoder('sage-reranker').score([('a', 'b')]); "
        "print({'sentence_transformers', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("config.json", {"hidden_act": "gelu_new"}),
        ("config.json", {"position_embedding_type": "relative_key"}),
        ("config.json", {"model_type": "roberta"}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
        ("tokenizer.json", {"normalizer": {"type": "NFC"}}),
    ],
)
def test_what_is_no_plain_bert_is_not_taken_for_one(folder, name, changed):
    assert Settings.of(folder, "encoder") is not None
    told(folder, name, **changed)
    assert Settings.of(folder, "encoder") is None


def test_a_model_with_more_than_a_pooling_is_not_taken_for_a_plain_one(folder):
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules[:2], dense]))
    assert Settings.of(folder, "encoder") is None


def test_a_model_of_another_kind_is_run_by_the_library(folder, monkeypatch):
    told(folder, "config.json", hidden_act="relu")
    encoder = SentenceEncoder("x", folder, FP32)
    assert isinstance(encoder._batched._network, Library)
    texts = TEXTS[:6]
    np.testing.assert_allclose(encoder.encode(texts), library(folder, texts), atol=1e-5)
    assert [len(rows) for rows in encoder.tokens(["one two", ""])] == [2, 0]


def test_a_cross_encoder_of_another_kind_is_run_by_the_library(tmp_path):
    from sentence_transformers import CrossEncoder

    folder = shutil.copytree(RERANKER_FOLDER, tmp_path / "model")
    told(folder, "config.json", hidden_act="relu")
    scorer = PairScorer("x", folder, FP32)
    assert isinstance(scorer._batched._network, Library)
    pairs = [("what ends?", passage) for passage in TEXTS[:6]]
    plain = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": "float32"}).predict(pairs)
    np.testing.assert_allclose(scorer.score(pairs), plain, atol=1e-4)


def test_few_labels_and_known_activations_only():
    assert Settings.of(RERANKER_FOLDER, "cross-encoder").activation == "identity"
    assert Settings.of(RERANKER_FOLDER, "encoder") is None
    assert isinstance(SentenceEncoder("x", bundled_folder(), FP32)._batched._network, Bert)
