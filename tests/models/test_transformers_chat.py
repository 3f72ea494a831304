"""The local chat model, on a real if untrained one."""

from __future__ import annotations

import threading
import time

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, GeneratorError, ModelError
from sage_nb.models.transformers_chat import TransformersChat
from sage_nb.models.weights import bundled_folder
from tests.models.tiny_chat import WORDS, tiny_chat

TALKS = [[sage.Message("system", "w1"), sage.Message("user", f"w{n} w{n + 1}")] for n in range(4)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_chat(tmp_path_factory.mktemp("chat"))


def test_it_says_what_the_library_s_own_generate_says(model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer("<system> w1 <user> w0 w1 <assistant>", return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        made = AutoModelForCausalLM.from_pretrained(model).eval().generate(**ids, max_new_tokens=7, do_sample=False)
    expected = tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert set(expected.split()) <= set(WORDS)
    written = TransformersChat(model, max_tokens=7).opened().write(TALKS[:1])
    assert written[0].split() == expected.split()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_together_and_streamed_is_as_one_by_one(model, temperature):
    writer = TransformersChat(model, temperature=temperature, max_tokens=8).opened()
    together = writer.write(TALKS)
    assert together == [writer.write([talk])[0] for talk in TALKS]
    assert together == ["".join(writer.stream(talk)) for talk in TALKS]
    assert len(list(writer.stream(TALKS[0]))) > 1


def test_another_seed_draws_other_words_and_nobody_else_s_luck_changes(model):
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    texts = {TransformersChat(model, 1.5, 8, seed).opened().write(TALKS[:1])[0] for seed in range(4)}
    assert len(texts) > 1
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_stream_that_nobody_reads_on_ends_its_thread_at_once(model):
    before = threading.active_count()
    writer = TransformersChat(model, max_tokens=100).opened()
    whole = len(writer.write(TALKS[2:3])[0].split())
    assert whole > 50
    steps = []

    def slowly(*_):
        steps.append(time.sleep(0.03))

    hook = writer._model.register_forward_hook(slowly)
    try:
        pieces = writer.stream(TALKS[2])
        next(pieces)
        pieces.close()
    finally:
        hook.remove()
    assert threading.active_count() == before
    assert len(steps) < whole


def test_a_conversation_that_is_too_long_is_told_with_the_numbers(model):
    long = [sage.Message("user", "w1 " * 100)]
    writer = TransformersChat(model, max_tokens=50).opened()
    with pytest.raises(GeneratorError, match=r"reads 128 tokens, 50 of them its own .*given 102; give it fewer pass"):
        writer.write([long])
    first, second = writer.attempts([long, TALKS[0]])
    assert isinstance(first, GeneratorError)
    assert isinstance(second, str)


def test_what_is_no_chat_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="has no chat template; name one that is made for chat"):
        TransformersChat(tiny_chat(tmp_path / "bare", template=None)).opened()
    with pytest.raises(ModelError, match="is neither a folder nor in the local hub cache"):
        TransformersChat("no/such-model").opened()
    strict = "{{ raise_exception('no system role') }}"
    with pytest.raises(GeneratorError, match="refuses the conversation: no system role; change its roles"):
        TransformersChat(tiny_chat(tmp_path / "strict", template=strict)).opened().write(TALKS[:1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no .safetensors weights"):
        TransformersChat(str(tmp_path / "empty")).opened()
    with pytest.raises(ModelError, match="has no chat template|is no model that writes text"):
        TransformersChat(str(bundled_folder())).opened()


def test_its_identity_is_its_weights_its_template_and_its_arguments(model, tmp_path):
    same = TransformersChat(tiny_chat(tmp_path / "same"))
    assert TransformersChat(model).fingerprint == same.fingerprint
    others = [
        TransformersChat(tiny_chat(tmp_path / "weights", seed=1)),
        TransformersChat(tiny_chat(tmp_path / "template", template="{{ messages }}")),
        TransformersChat(model, temperature=1.0),
        TransformersChat(model).limited(3),
        TransformersChat(model, seed=2),
    ]
    assert len({same.fingerprint, *(each.fingerprint for each in others)}) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": ""}, "TransformersChat needs the folder or hub name of a model, got ''"),
        ({"temperature": -0.1}, "temperature must be a number of 0 or more, got -0.1"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number of 1 or more, got 1.5"),
        ({"seed": "x"}, "seed must be a whole number, got 'x'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given, said):
    with pytest.raises(BadValueError, match=said):
        TransformersChat(**{"model": "m", **given})
