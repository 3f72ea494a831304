"""Generators: conversations to texts. One is a value; what writes for it, a `Writer`, is opened where it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from sage_nb.errors import BadValueError, GeneratorError, SageError, UnknownNameError


class Message(msgspec.Struct, frozen=True):
    """What one side of a conversation said.

    >>> Message("user", "Who are you?").role
    'user'
    """

    role: Literal["system", "user", "assistant"]
    content: str


Conversation = Sequence[Message]
Written = str | Iterable[str]  # a text, or its pieces in order


class Writer(Protocol):
    """Writes what comes next in conversations."""

    def write(self, conversations: Sequence[Conversation], /) -> list[str]:
        """One text for each; raises the GeneratorError of the first that failed."""
        ...

    def attempts(self, conversations: Sequence[Conversation], /) -> list[str | GeneratorError]:
        """One text for each, or why there is none: who can do without one asks so, and loses no other."""
        ...

    def stream(self, conversation: Conversation, /) -> Iterator[str]:
        """The pieces of one text, as they come; raises GeneratorError, perhaps after some."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


@dataclass(frozen=True, repr=False)
class Generator(ABC):
    """Something that writes, described: it prints, compares, ships and is written as YAML; it holds no secret.

    >>> class Repeating(Writing):
    ...     def stream(self, conversation):
    ...         yield conversation[-1].content
    >>> @dataclass(frozen=True, repr=False)
    ... class Parrot(Generator):
    ...     max_tokens: int = 20
    ...     name, fingerprint = "parrot", "1"
    ...
    ...     def opened(self):
    ...         return Repeating()
    >>> parrot = Parrot()
    >>> parrot.opened().write([[Message("user", "Who is there?")]])
    ['Who is there?']
    >>> parrot.limited(5), parrot.at_once, parrot.code, parrot.name, parrot.fingerprint
    (Parrot(max_tokens=5), 1, None, 'parrot', '1')
    """

    def __repr__(self) -> str:
        given = [
            (each.name, getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) != each.default
        ]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"

    @property
    @abstractmethod
    def name(self) -> str:
        """What a sentence about it calls it."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What its words depend on: equal for equal words."""

    @property
    def code(self) -> Callable[..., Any] | None:
        """The function of one's own that writes for it, on which its words depend as well; None where there is none."""
        return None

    @property
    def at_once(self) -> int:
        """How many texts it is worth asking for together."""
        return 1

    def limited(self, max_tokens: int) -> Generator:
        """The same, with texts of at most so many tokens; BadValueError where it has no such limit."""
        check_tokens(max_tokens)
        if not any(each.name == "max_tokens" for each in fields(self)):
            raise BadValueError(f"the generator {self.name!r} sets its own limit; leave max_tokens out")
        fewer: Any = {"max_tokens": max_tokens}
        return replace(self, **fewer)

    @abstractmethod
    def opened(self) -> Writer:
        """Connect or load, where it runs; raises GeneratorError, or MissingExtraError, where that cannot be done."""


class Writing(ABC):
    """A `Writer` that has only to write one text; it keeps nothing open."""

    @abstractmethod
    def stream(self, conversation: Conversation, /) -> Iterator[str]:
        """The pieces of one text."""

    def attempts(self, conversations: Sequence[Conversation], /) -> list[str | GeneratorError]:
        """One after the other."""
        return [self._attempt(each) for each in conversations]

    def write(self, conversations: Sequence[Conversation], /) -> list[str]:
        """Those texts, or the first error."""
        texts = []
        for made in self.attempts(conversations):
            if isinstance(made, GeneratorError):
                raise made
            texts.append(made)
        return texts

    def close(self) -> None:  # noqa: B027  most have nothing open
        """Nothing."""

    def _attempt(self, conversation: Conversation) -> str | GeneratorError:
        try:
            return "".join(self.stream(conversation))
        except GeneratorError as error:
            return error


GENERATORS: dict[str, Callable[[Conversation], Written]] = {}
KINDS: dict[str, type[Generator]] = {}  # those that may be written as YAML, by the name they have there

Function = TypeVar("Function", bound=Callable[[Conversation], Written])
Kind = TypeVar("Kind", bound=type[Generator])


def generator(name: str) -> Callable[[Function], Function]:
    """Register a function of one's own, from a conversation to a text (or its pieces), for `generator=name`.

    >>> @generator("parrot")
    ... def parrot(conversation):
    ...     return conversation[-1].content.upper()
    >>> as_generator("parrot").opened().write([[Message("user", "Who is there?")]])
    ['WHO IS THERE?']
    """

    def register(function: Function) -> Function:
        GENERATORS[name] = function
        return function

    return register


def kind(name: str) -> Callable[[Kind], Kind]:
    """Class decorator: a Generator that may be written as YAML under that name; its fields are its arguments."""

    def register(made: Kind) -> Kind:
        KINDS[name] = made
        return made

    return register


@kind("generator")
@dataclass(frozen=True, repr=False)
class Registered(Generator):
    """A registered function, by its name; it takes the function along to a process in which it is not registered."""

    called: str

    def __post_init__(self) -> None:
        if self.called not in GENERATORS:
            raise UnknownNameError.of("generator", self.called, GENERATORS)

    def __repr__(self) -> str:
        return repr(self.called)

    def __reduce__(self) -> tuple[Any, ...]:
        return _introduced, (self.called, GENERATORS[self.called])

    @property
    def name(self) -> str:
        """The one it is registered under."""
        return self.called

    @property
    def fingerprint(self) -> str:
        """Its name: the function counts beside it, as `code`."""
        return self.called

    @property
    def code(self) -> Callable[..., Any]:
        """The function."""
        return GENERATORS[self.called]

    def opened(self) -> Writer:
        """It, called once for each text."""
        return _Calling(self.called, GENERATORS[self.called])


class _Calling(Writing):
    def __init__(self, name: str, function: Callable[[Conversation], Written]) -> None:
        self._name, self._function = name, function

    def stream(self, conversation: Conversation, /) -> Iterator[str]:
        """What the function gives: a text whole, or piece by piece; GeneratorError where it fails."""
        try:
            made = self._function(conversation)
            pieces = [made] if isinstance(made, str) or not isinstance(made, Iterable) else made
            yield from not_nothing(self._name, pieces)
        except SageError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise GeneratorError(f"the generator {self._name!r} failed: {why}; look at its function") from error


def not_nothing(name: str, pieces: Iterable[object]) -> Iterator[str]:
    """These pieces of a text; GeneratorError where one is no text, or all together are blank.

    >>> list(not_nothing("parrot", ["Polly", " wants"]))
    ['Polly', ' wants']
    >>> list(not_nothing("parrot", [" "]))
    Traceback (most recent call last):
    sage_nb.errors.GeneratorError: the generator 'parrot' gave no text; look at its prompt and its limit of tokens
    """
    blank = True
    for piece in pieces:
        if not isinstance(piece, str):
            raise GeneratorError(f"the generator {name!r} gave a {type(piece).__name__}; return a text, or its pieces")
        blank = blank and not piece.strip()
        yield piece
    if blank:
        raise GeneratorError(f"the generator {name!r} gave no text; look at its prompt and its limit of tokens")


def check_tokens(max_tokens: object) -> None:
    """Refuse what is no number of tokens."""
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise BadValueError(f"max_tokens must be a whole number of 1 or more, got {max_tokens!r}")


def as_generator(given: object) -> Generator:
    """`given`, or the one registered under that name: what a stage takes as its `generator`.

    Raises UnknownNameError for an unknown name, BadValueError for what is neither.
    """
    if isinstance(given, Generator):
        return given
    if isinstance(given, str):
        return Registered(given)
    raise BadValueError(
        f"a generator is a Generator or the name of a registered one, got {given!r:.60}; "
        f"a function is registered by @sage.generator('name'), and given by that name"
    )


def _introduced(name: str, function: Callable[[Conversation], Written]) -> Registered:
    GENERATORS[name] = function
    return Registered(name)
