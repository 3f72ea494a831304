"""The models' runners, on the real bundled encoder and a small real cross-encoder."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.errors import ModelError, UnknownNameError
from sage_nb.models.batching import in_halves, token_batches
from sage_nb.models.cross_encoder import PairScorer
from sage_nb.models.device import Compute, allotted_compute, choose_compute, cpu_has_bf16
from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.registry import Models
from sage_nb.models.weights import bundled_folder, checked

FP32 = Compute("cpu", "float32")


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder("bundled", bundled_folder(), FP32)


@pytest.fixture(scope="module")
def cross_encoder_folder(tmp_path_factory):
    """A real, if untrained, cross-encoder: two layers of width 32 over the bundled vocabulary."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    CrossEncoder(str(folder / "plain")).save_pretrained(str(folder / "whole"))
    return folder / "whole"


@given(st.lists(st.integers(1, 600), max_size=50), st.integers(1, 4000), st.integers(1, 20))
def test_batches_hold_each_text_once_within_the_budget(lengths, budget, most):
    batches = token_batches(lengths, budget, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget
        assert len(batch) <= most


def test_a_batch_too_large_for_the_memory_is_halved():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return [2 * item for item in batch]

    assert in_halves(run, list(range(10))) == [2 * n for n in range(10)]
    assert sizes == [10, 5, 2, 3, 5, 2, 3]


def test_one_text_too_large_for_the_memory_is_said():
    def run(batch):
        raise MemoryError

    with pytest.raises(ModelError, match=r"one text alone does not fit the memory .MemoryError.; use a smaller model"):
        in_halves(run, [1, 2])


def test_other_errors_are_not_taken_for_memory():
    def run(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_halves(run, [1, 2])


def test_vectors_do_not_depend_on_company(encoder):
    texts = ["short", "a somewhat longer text " * 20, "another", "the last of them " * 5]
    together = encoder.encode(texts)
    alone = np.vstack([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_vectors_are_those_of_the_library(encoder):
    from sentence_transformers import SentenceTransformer

    texts = ["a barrier aligns its inputs", "windows slide " * 30]
    plain = SentenceTransformer(str(bundled_folder()), device="cpu").encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(texts), plain, atol=1e-5)


def test_half_precision_keeps_directions(encoder):
    texts = ["a barrier aligns its inputs", "windows slide over the stream", ""]
    half = SentenceEncoder("bundled", bundled_folder(), Compute("cpu", "bfloat16")).encode(texts)
    assert (np.sum(half * encoder.encode(texts), axis=1) > 0.99).all()


def test_long_texts_are_cut_and_counted(encoder):
    before = encoder.truncated
    encoder.encode(["word " * 100, "word " * 100_000])
    assert encoder.truncated == before + 1


def test_nothing_to_encode_is_nothing(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_pair_scores_are_those_of_the_library(cross_encoder_folder):
    from sentence_transformers import CrossEncoder

    pairs = [("what is it", "it is a thing " * n) for n in (1, 200, 3, 40)]
    scorer = PairScorer("small", cross_encoder_folder, FP32)
    plain = CrossEncoder(str(cross_encoder_folder), device="cpu").predict(pairs)
    np.testing.assert_allclose(scorer.score(pairs), plain, atol=1e-5)
    assert scorer.truncated == 1
    assert scorer.score([]).shape == (0,)


def test_rerank_orders_by_the_cross_encoder(cross_encoder_folder, tmp_path):
    import sage_nb as sage

    collection = sage.Collection(tmp_path / "c", encoder=None)
    collection.add([sage.Document(f"d{n}", f"thread {'lock ' * n}") for n in range(6)], progress=False)
    pipe = collection.lexical(6) >> sage.rerank(3, model=str(cross_encoder_folder))
    hits = pipe.search("thread").hits
    scores = Models().cross_encoder(str(cross_encoder_folder)).score([("thread", hit.document.text) for hit in hits])
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], scores, atol=2e-2)
    assert set(hits[0].scores) == {"bm25", "rerank"}


def test_models_are_loaded_once():
    models = Models()
    assert models.encoder("bundled") is models.encoder("bundled")


def test_a_hub_name_out_of_reach_is_said_at_once():
    with pytest.raises(
        ModelError, match="'someone/some-model' is neither a folder nor in the local hub cache, and HF_H"
    ):
        Models().encoder("someone/some-model")


def test_tampered_weights_are_refused(tmp_path):
    shutil.copytree(bundled_folder(), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="model.safetensors has sha256 .* and not 53aa51172d14"):
        checked(tmp_path / "model")


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="holds no .safetensors weights; save the model with safe_serialization"):
        SentenceEncoder("old", tmp_path, FP32)


def test_a_gpu_that_is_not_there_is_said():
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="device 'cuda' was asked for and this machine has cpu; name one"):
            choose_compute("cuda", "float16")
    with pytest.raises(UnknownNameError, match="unknown dtype 'bfloat'; did you mean 'bfloat16'"):
        choose_compute("cpu", "bfloat")


def test_the_dtype_is_what_the_cpu_has(monkeypatch):
    monkeypatch.delenv("SAGE_DTYPE", raising=False)
    assert choose_compute("cpu").dtype == ("bfloat16" if cpu_has_bf16() else "float32")
    monkeypatch.setenv("SAGE_DTYPE", "float32")
    assert choose_compute("cpu") == FP32


@pytest.fixture
def gpu(monkeypatch):
    """A driver that says it has a GPU: its generation can be set, and the shares it was told to keep to are noted."""
    import torch

    told = SimpleNamespace(generation=9, shares=[])

    def keep_to(share, device=None):
        if not 0 <= share <= 1:
            raise ValueError(share)
        told.shares.append((share, device))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (told.generation, 0))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", keep_to)
    for name in ("SAGE_DEVICE", "SAGE_DTYPE", "SAGE_GPUS", "SAGE_GPU_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    return told


@pytest.mark.parametrize(("generation", "dtype"), [(9, "bfloat16"), (8, "bfloat16"), (7, "float16")])
def test_a_gpu_runs_models_in_the_half_precision_that_it_multiplies(gpu, generation, dtype):
    gpu.generation = generation
    assert allotted_compute() == Compute("cuda", dtype)


def test_a_process_with_a_share_of_a_gpu_keeps_to_it(gpu, monkeypatch):
    allotted_compute()
    assert gpu.shares == []
    monkeypatch.setenv("SAGE_GPU_FRACTION", "0.25")
    allotted_compute()
    monkeypatch.setenv("SAGE_DEVICE", "cuda:1")
    allotted_compute()
    assert gpu.shares == [(0.25, None), (0.25, "cuda:1")]


@pytest.mark.parametrize("given", ["half", "2"])
def test_a_share_that_is_none_is_refused(gpu, monkeypatch, given):
    monkeypatch.setenv("SAGE_GPU_FRACTION", given)
    with pytest.raises(ModelError, match=f"SAGE_GPU_FRACTION must be a number from 0 to 1, got '{given}'"):
        allotted_compute()


def test_a_gpu_that_was_asked_for_is_not_missed_where_there_is_one_or_the_cpu_was_named(gpu, monkeypatch, caplog):
    monkeypatch.setenv("SAGE_GPUS", "1")
    allotted_compute()
    monkeypatch.setenv("SAGE_DEVICE", "cpu")
    allotted_compute()
    assert caplog.records == []
