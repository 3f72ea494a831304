"""Chat with a model behind any server that speaks OpenAI's protocol: vLLM, Ollama, llama.cpp, OpenAI itself."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from sage_nb.errors import BadValueError, GeneratorError, MissingExtraError
from sage_nb.models.generator import Conversation, Generator, Writer, Writing, check_tokens, kind, not_nothing
from sage_nb.records.markup import shortened

if TYPE_CHECKING:
    import openai

Made = TypeVar("Made")

LONGEST_WAIT = 60.0  # seconds that a server may ask for before it is asked again
_BACK_OFF = wait_exponential_jitter(initial=0.5, max=8)
_SLOTS: dict[OpenAIChat, threading.BoundedSemaphore] = {}  # of this process, however many have opened an equal one


@kind("openai_chat")
@dataclass(frozen=True, repr=False)
class OpenAIChat(Generator):
    """A model that a server offers under `base_url`, such as http://localhost:11434/v1.

    Tokens are streamed. `timeout` is how many seconds the server may be silent; it is asked `retries` times again,
    after the wait that it names or a growing one, when it answers 408, 409, 429 or 5xx, cannot be reached, is silent or
    ends in the middle. `concurrency` is how many requests a process has under way. The key is read from the
    environment variable called `api_key_env`, where the stage runs; `temperature` None leaves it to the server.

    Raises BadValueError for arguments that make no sense; once opened, GeneratorError where the server gives nothing.

    >>> OpenAIChat("http://localhost:8000/v1", "qwen3", seed=7)
    OpenAIChat(base_url='http://localhost:8000/v1', model='qwen3', seed=7)
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    temperature: float | None = 0.0
    max_tokens: int = 512
    timeout: float = 60.0
    retries: int = 3
    concurrency: int = 4
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not isinstance(self.model, str) or not self.model.strip():
            raise BadValueError(f"OpenAIChat needs the name of a model that the server offers, got {self.model!r}")
        if self.api_key_env is not None and not str(self.api_key_env).isidentifier():
            raise BadValueError("api_key_env must be the name of an environment variable that holds the key, no key")
        if self.temperature is not None and not (_is_number(self.temperature) and self.temperature >= 0):
            raise BadValueError(f"temperature must be a number of 0 or more, or None, got {self.temperature!r}")
        check_tokens(self.max_tokens)
        if not _is_number(self.timeout) or not self.timeout > 0:
            raise BadValueError(f"timeout must be a number of seconds above 0, got {self.timeout!r}")
        for name, least in (("retries", 0), ("concurrency", 1)):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int) or given < least:
                raise BadValueError(f"{name} must be a whole number of {least} or more, got {given!r}")

    @property
    def name(self) -> str:
        """The model and its server."""
        return f"{self.model} at {self.base_url}"

    @property
    def fingerprint(self) -> str:
        """Server, model, temperature, limit and seed: not how patiently it is asked."""
        return repr((self.base_url, self.model, self.temperature, self.max_tokens, self.seed))

    @property
    def at_once(self) -> int:
        """As many as it has under way."""
        return self.concurrency

    def opened(self) -> Writer:
        """A client; the server is not asked yet.

        Raises MissingExtraError without the library `openai`, GeneratorError where the key is not in the environment.
        """
        try:
            import openai
        except ImportError as missing:
            raise MissingExtraError.of("OpenAIChat", "openai", "openai") from missing
        client = openai.OpenAI(
            base_url=self.base_url, api_key=self._key(), timeout=self.timeout, max_retries=0
        )  # it retries no cut stream: that is done here, for all alike
        return _Asking(self, client, _SLOTS.setdefault(self, threading.BoundedSemaphore(self.concurrency)))

    def _key(self) -> str:
        """Never the library's own guess: OPENAI_API_KEY is not for any server there is."""
        if self.api_key_env is None:
            return "none"
        if not os.environ.get(self.api_key_env):
            raise GeneratorError(
                f"the generator {self.name!r} wants its key in the environment variable {self.api_key_env!r}, "
                f"which is not set in the process that asks; set it there"
            )
        return os.environ[self.api_key_env]


class _PassingError(Exception):
    """What may be gone at the next try: a sentence, and the seconds to wait if the server named them."""

    def __init__(self, said: str, wait: float | None = None) -> None:
        super().__init__(said)
        self.wait = wait


class _Asking(Writing):
    def __init__(self, chat: OpenAIChat, client: openai.OpenAI, slots: threading.BoundedSemaphore) -> None:
        self._chat, self._client, self._slots = chat, client, slots

    def attempts(self, conversations: Any, /) -> list[str | GeneratorError]:
        """As many at once as the generator allows."""
        with ThreadPoolExecutor(self._chat.concurrency, thread_name_prefix="sage-asking") as pool:
            return list(pool.map(self._attempt, conversations))

    def stream(self, conversation: Conversation, /) -> Iterator[str]:
        """Asked again until the first piece has come; what is cut later is an error."""
        pieces = self._insistent(lambda: _begun(self._pieces(conversation)))
        with closing(pieces):
            try:
                yield from pieces
            except _PassingError as cut:
                raise GeneratorError(
                    f"the generator {self._chat.name!r} stopped in its text: {cut}; ask again"
                ) from cut

    def close(self) -> None:
        """Its connections."""
        self._client.close()

    def _attempt(self, conversation: Conversation) -> str | GeneratorError:
        """Asked again until all of it has come."""
        try:
            return self._insistent(lambda: "".join(self._pieces(conversation)))
        except GeneratorError as error:
            return error

    def _insistent(self, ask: Callable[[], Made]) -> Made:
        tries = Retrying(
            stop=stop_after_attempt(self._chat.retries + 1),
            wait=_wait,
            retry=retry_if_exception_type(_PassingError),
            reraise=True,
        )
        try:
            return tries(ask)
        except _PassingError as last:
            times = f"{tries.statistics['attempt_number']} times, at last" if self._chat.retries else "once"
            raise GeneratorError(f"the generator {self._chat.name!r} was asked {times}: {last}") from last

    def _pieces(self, conversation: Conversation) -> Iterator[str]:
        """The pieces of one answer to one request."""
        import openai

        with self._slots:
            try:
                yield from not_nothing(self._chat.name, self._received(conversation))
            except openai.APIStatusError as error:
                raise self._refused(error) from error
            except openai.APITimeoutError as error:
                raise _PassingError(f"it was silent for {self._chat.timeout:g} s (timeout=)") from error
            except openai.APIConnectionError as error:
                raise _PassingError(f"no connection, or one that was cut ({_cause(error)}); is it running?") from error
            except openai.APIError as error:
                raise _PassingError(f"it broke off with {shortened(error.message)!r}") from error
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                raise _PassingError(f"it sent what is no chat ({type(error).__name__})") from error

    def _received(self, conversation: Conversation) -> Iterator[str]:
        chat = self._chat
        options = {"temperature": chat.temperature, "max_tokens": chat.max_tokens, "seed": chat.seed}
        messages: Any = [{"role": each.role, "content": each.content} for each in conversation]
        given: Any = {name: value for name, value in options.items() if value is not None}
        finished = False
        with self._client.chat.completions.create(model=chat.model, messages=messages, stream=True, **given) as chunks:
            for chunk in chunks:
                for choice in chunk.choices or ():
                    finished = finished or choice.finish_reason is not None
                    if choice.delta is not None and choice.delta.content:
                        yield choice.delta.content
        if not finished:
            raise _PassingError("its answer ended before it was finished")

    def _refused(self, error: openai.APIStatusError) -> Exception:
        said = f"HTTP {error.status_code}: {shortened(error.message)}"
        wait = _asked_wait(error.response.headers)
        if error.status_code not in (408, 409, 429) and error.status_code < 500:
            return GeneratorError(f"the generator {self._chat.name!r} refused: {said}; look at model and api_key_env")
        if wait is not None and wait > LONGEST_WAIT:
            return GeneratorError(f"the generator {self._chat.name!r} wants to be left alone for {wait:g} s: {said}")
        return _PassingError(said, wait)


def _begun(pieces: Iterator[str]) -> Any:
    """The same pieces, the first of which has come."""
    first = next(pieces)

    def all_of_them() -> Iterator[str]:
        with closing(pieces):  # type: ignore[type-var]
            yield from chain((first,), pieces)

    return all_of_them()


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "wait", None)
    return _BACK_OFF(state) if asked is None else float(asked)


def _asked_wait(headers: Any) -> float | None:
    """Seconds that a `Retry-After` asks for: a number of them, or a date (RFC 9110, 10.2.3)."""
    asked = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked)) if math.isfinite(float(asked)) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _check_address(address: object) -> None:
    try:
        parts = urlsplit(str(address))
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and not parts.password
    except ValueError:
        sound = False
    if not isinstance(address, str) or not sound:
        raise BadValueError(
            "base_url must be a server's address without a password, such as 'http://localhost:11434/v1'"
        )


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return shortened(f"{type(error).__name__}: {error}", 100)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
