"""Our BERT's forward gives what the library gives; and what is no plain BERT is left to the library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sage_nb.errors import ModelError
from sage_nb.models import bert
from sage_nb.models.bert import Bert
from sage_nb.models.cross_encoder import PairScorer
from sage_nb.models.device import Compute, cpu_has_bf16
from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.library import Library
from sage_nb.models.linear import FusedLinear, Linear, linear
from sage_nb.models.settings import SIGMOID, Settings
from sage_nb.models.threads import fixed_threads
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
        ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"tokenizer_class": None}),
        ("tokenizer_config.json", {"model_input_names": ["input_ids", "attention_mask"]}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("sentence_bert_config.json", {"tokenizer_args": {"do_lower_case": False}}),
        ("sentence_bert_config.json", {"config_args": {"hidden_act": "relu"}}),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("tokenizer.json", {"normalizer": {"type": "NFC"}}),
    ],
)
def test_what_is_no_plain_bert_is_not_taken_for_one(folder, name, changed):
    assert Settings.of(folder, "encoder") is not None
    told(folder, name, **changed)
    assert Settings.of(folder, "encoder") is None


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        (2, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}),
        (0, {"type": "custom_st.Transformer"}),
        (0, {"path": "0_Transformer"}),
    ],
)
def test_a_model_with_other_modules_is_not_taken_for_a_plain_one(folder, at, changed):
    modules = json.loads((folder / "modules.json").read_text())
    modules[at].update(changed)
    (folder / "modules.json").write_text(json.dumps(modules))
    assert Settings.of(folder, "encoder") is None


def test_a_tokenizer_that_keeps_case_does_so_only_where_it_is_told(folder):
    normalizer = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
    told(folder, "tokenizer.json", normalizer={**normalizer, "lowercase": False})
    told(folder, "tokenizer_config.json", do_lower_case=False)
    assert Settings.of(folder, "encoder") is not None
    (folder / "tokenizer_config.json").write_text("{}")  # the library takes it for one that does not
    assert Settings.of(folder, "encoder") is None


@pytest.mark.parametrize("name", ["layer_norm_eps", "max_position_embeddings", "num_attention_heads"])
def test_what_an_old_config_leaves_out_the_library_knows(folder, name):
    config = json.loads((folder / "config.json").read_text())
    del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    assert Settings.of(folder, "encoder") is None


def test_weights_with_an_adapter_are_left_to_the_library(folder):
    (folder / "adapter_config.json").write_text("{}")
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


def test_the_activation_told_beside_the_config_counts_more_than_the_one_in_it(tmp_path):
    folder = shutil.copytree(RERANKER_FOLDER, tmp_path / "model")
    told(folder, "config.json", sentence_transformers={"activation_fn": SIGMOID})
    assert Settings.of(folder, "cross-encoder").activation == "identity"
    told(folder, "config_sentence_transformers.json", activation_fn=None)
    assert Settings.of(folder, "cross-encoder").activation == "sigmoid"
    told(folder, "config.json", sentence_transformers=None)
    assert Settings.of(folder, "cross-encoder").activation == "sigmoid"


def test_means_are_the_same_where_torch_reduces_no_segments(monkeypatch):
    encoder = SentenceEncoder("x", bundled_folder(), FP32)
    vectors = encoder.encode(TEXTS)
    monkeypatch.setattr(bert, "SEGMENTED", ())
    np.testing.assert_allclose(encoder.encode(TEXTS), vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "takes"),
    [
        ((9, 0), "bfloat16", 64, True),
        ((8, 0), "float16", 32, True),
        ((7, 5), "float16", 32, False),  # as a T4, where flash attention raises an error
        ((9, 0), "bfloat16", 26, False),  # as TinyBERT's 312 numbers in 12 heads
        ((9, 0), "float32", 64, False),
    ],
)
def test_texts_of_any_length_are_only_asked_of_gpus_that_take_them(monkeypatch, capability, dtype, width, takes):
    import torch

    pytest.importorskip("torch.nn.attention.varlen")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert (bert._attention_of_any_length(Compute("cuda", dtype), width) is not None) == takes


def test_a_gpu_that_takes_rows_is_given_larger_batches(monkeypatch):
    network = Bert(bundled_folder(), Settings.of(bundled_folder(), "encoder"), FP32)
    lengths = [100] * 1_024
    assert max(len(rows) * 128 for rows in network.batches(lengths)) == bert.CPU_TOKENS
    monkeypatch.setattr(network, "_compute", Compute("mps", "float16"))
    assert max(len(rows) * 128 for rows in network.batches(lengths)) == bert.GPU_TOKENS


@pytest.mark.parametrize("texts", [2, 3, 40, 200])
def test_threads_get_as_much_each_and_compute_what_one_does(texts):
    lengths, words = [100] * texts, [f"{at} " + "word " * 97 for at in range(texts)]
    encoder = SentenceEncoder("x", bundled_folder(), FP32)
    network = Bert(bundled_folder(), Settings.of(bundled_folder(), "encoder"), FP32)
    with fixed_threads(1):
        alone = encoder.encode(words[:40])
    with fixed_threads(2):
        batches = list(network.batches(lengths))
        assert np.abs(encoder.encode(words[:40]) - alone).max() < 1e-6
    assert len(batches) % 2 == 0
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert sorted(text for rows in batches for row in rows for text in row) == list(range(texts))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_no_number_is_told_whatever_it_was_computed_in(folder, dtype):
    from safetensors.torch import load_file, save_file

    weights = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    weights["encoder.layer.0.attention.self.query.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the model gave NaN or infinity; try SAGE_DTYPE=float32, or look at"):
        SentenceEncoder("x", folder, Compute("cpu", dtype)).encode(["a"])
