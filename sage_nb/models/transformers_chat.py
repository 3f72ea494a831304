"""Chat with a model in this process, by the transformers library: no server, nothing leaves the machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sage_nb.errors import BadValueError, GeneratorError, ModelError
from sage_nb.models.device import Compute, allotted_compute, choose_compute
from sage_nb.models.generator import Conversation, Generator, Writer, Writing, check_tokens, kind, not_nothing
from sage_nb.models.library import quietly
from sage_nb.models.weights import model_folder, weights_hash
from sage_nb.records.markup import shortened
from sage_nb.records.surrogates import encodable

_LOADING = threading.Lock()
_SPEAKING = threading.Lock()  # the luck that tokens are drawn by is the process's: one text at a time


@kind("transformers_chat")
@dataclass(frozen=True, repr=False)
class TransformersChat(Generator):
    """An instruct model with a chat template: a folder or a hub name, loaded once a process, safetensors only.

    `temperature` 0 takes the likeliest token each time; above 0 tokens are drawn with `seed`, anew for each text, so
    that the same conversation gets the same text. Runs where `rerank()` would: on a GPU if there is one.

    Raises BadValueError for arguments that make no sense; where it runs, ModelError for a model that cannot be had or
    has no chat template, GeneratorError for a conversation that is longer than it reads.

    >>> TransformersChat("HuggingFaceTB/SmolLM2-360M-Instruct", max_tokens=100)
    TransformersChat(model='HuggingFaceTB/SmolLM2-360M-Instruct', max_tokens=100)
    """

    model: str
    temperature: float = 0.0
    max_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise BadValueError(f"TransformersChat needs the folder or hub name of a model, got {self.model!r}")
        sound = isinstance(self.temperature, (int, float)) and not isinstance(self.temperature, bool)
        if not sound or not 0 <= self.temperature < float("inf"):
            raise BadValueError(f"temperature must be a number of 0 or more, got {self.temperature!r}")
        check_tokens(self.max_tokens)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise BadValueError(f"seed must be a whole number, got {self.seed!r}")

    @property
    def name(self) -> str:
        """The model."""
        return self.model

    @property
    def fingerprint(self) -> str:
        """Weights, settings beside them, precision and arguments; ModelError where the model is not at hand."""
        folder = model_folder(self.model)
        run = (choose_compute().dtype, self.temperature, self.max_tokens, self.seed)
        return repr((weights_hash(folder), _settings_hash(folder), *run))

    def opened(self) -> Writer:
        """The model, loaded."""
        folder = model_folder(self.model)
        with _LOADING:
            loaded = _loaded(self.model, folder, weights_hash(folder) + _settings_hash(folder), allotted_compute())
        return _Speaking(self, *loaded)


class _Speaking(Writing):
    """One conversation at a time: in a batch of several, padding would change the last digits, and so the words."""

    def __init__(self, chat: TransformersChat, model: Any, tokenizer: Any) -> None:
        self._chat, self._model, self._tokenizer = chat, model, tokenizer

    def stream(self, conversation: Conversation, /) -> Iterator[str]:
        """Its words as they are found, in a thread that ends when nobody reads on."""
        return not_nothing(self._chat.name, self._spoken(self._tokens(conversation)))

    def _tokens(self, conversation: Conversation) -> Any:
        from jinja2 import TemplateError

        messages = [{"role": each.role, "content": encodable(each.content)} for each in conversation]
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise GeneratorError(
                f"the generator {self._chat.name!r} refuses the conversation: {shortened(str(error))}; change its roles"
            ) from error
        tokens = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")
        count, reads = tokens["input_ids"].shape[1], getattr(self._model.config, "max_position_embeddings", None)
        if reads is not None and count + self._chat.max_tokens > reads:
            raise GeneratorError(
                f"the generator {self._chat.name!r} reads {reads} tokens, {self._chat.max_tokens} of them its own "
                f"(max_tokens=), and was given {count}; give it fewer passages (k=)"
            )
        return tokens.to(self._model.device)

    def _spoken(self, tokens: Any) -> Iterator[str]:
        from transformers import TextIteratorStreamer

        streamer: Any = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        unread = threading.Event()
        failures: list[Exception] = []
        arguments = (tokens, streamer, unread, failures)
        thread = threading.Thread(target=self._generate, args=arguments, name="sage-speaking", daemon=True)
        thread.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            unread.set()
            thread.join()
        for failure in failures:
            said = shortened(f"{type(failure).__name__}: {failure}")
            raise GeneratorError(f"the generator {self._chat.name!r} failed: {said}") from failure

    def _generate(self, tokens: Any, streamer: Any, unread: threading.Event, failures: list[Exception]) -> None:
        import torch
        from transformers import StoppingCriteriaList

        chat = self._chat
        drawn: dict[str, Any] = {"do_sample": False}
        if chat.temperature:
            drawn = {"do_sample": True, "temperature": float(chat.temperature)}
        try:
            with _SPEAKING, torch.inference_mode(), quietly(), torch.random.fork_rng():
                torch.manual_seed(chat.seed)
                self._model.generate(
                    **tokens,
                    **drawn,
                    max_new_tokens=chat.max_tokens,
                    pad_token_id=self._tokenizer.pad_token_id or 0,
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([lambda *_, **__: unread.is_set()]),
                )
        except (RuntimeError, ValueError, IndexError) as error:  # what torch and the library raise
            failures.append(error)
        finally:
            streamer.end()


@lru_cache(maxsize=1)
def _loaded(name: str, folder: Path, content: str, compute: Compute) -> tuple[Any, Any]:  # noqa: ARG001
    """Model and tokenizer; `content` is there for the cache: other weights are another model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quietly():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"{name!r} is no model that writes text: {shortened(str(error))}") from error
    if not tokenizer.chat_template:
        raise ModelError(f"the model {name!r} has no chat template; name one that is made for chat (an instruct model)")
    return model.to(compute.device, compute.torch_dtype).eval(), tokenizer


def _settings_hash(folder: Path) -> str:
    """Of the small files beside the weights: vocabulary, chat template, settings of generation."""
    digest = hashlib.sha256()
    for path in sorted(each for pattern in ("*.json", "*.jinja", "*.txt", "*.model") for each in folder.glob(pattern)):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()
