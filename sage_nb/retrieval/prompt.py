"""Prompts are files: what a generator is told, with places for what changes from question to question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal, cast

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.models.generator import Message

FOLDER = Path(__file__).with_name("prompts")
_HEADING = re.compile(r"^\[(system|user|assistant)\][ \t]*$", re.MULTILINE)


@dataclass(frozen=True, repr=False)
class Prompt:
    """The text of a template: `[system]`, `[user]` and `[assistant]` on lines of their own, below each its message.

    `$name` is a place to fill, `$$` a dollar; lines above the first heading are remarks.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if not self._parts():
            raise BadValueError(f"the prompt {self.name!r} has no message; put one below a line that reads [user]")

    def __repr__(self) -> str:
        return self.text

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001  IPython's signature
        """The text, as it is in the file."""
        printer.text("…" if cycle else self.text)

    @property
    def places(self) -> frozenset[str]:
        """The names to be filled in."""
        found = Template.pattern.finditer("".join(text for _, text in self._parts()))
        return frozenset(name for match in found if (name := match["named"] or match["braced"]))

    def checked(self, *needed: str) -> Prompt:
        """Itself, where it has places for these and no others; else BadValueError."""
        for name in sorted(self.places ^ set(needed)):
            why = f"lacks ${name}" if name in needed else f"has a place ${name} that nothing fills"
            raise BadValueError(f"the prompt {self.name!r} {why}; its places are {_listed(needed)} ($$ is a dollar)")
        return self

    def filled(self, **values: str) -> tuple[Message, ...]:
        r"""The messages, with these values in their places; a dollar in a value is a dollar.

        >>> prompt = Prompt("mine", "[user]\nPlease: $question")
        >>> prompt.filled(question="what costs $5?")
        (Message(role='user', content='Please: what costs $5?'),)
        """
        return tuple(Message(cast(Any, role), Template(text).substitute(values)) for role, text in self._parts())

    def _parts(self) -> list[tuple[Literal["system", "user", "assistant"], str]]:
        _, *rest = _HEADING.split(self.text)
        parts = zip(rest[::2], rest[1::2], strict=True)
        return [(cast(Any, role), text.strip()) for role, text in parts if text.strip()]


def prompt(name: str) -> Prompt:
    """The prompt called `name`, as stages use it; or that of a file of one's own, for their `prompt=`.

    Raises UnknownNameError where there is none, BadValueError for a file that is no prompt.

    >>> prompt("answer").filled(question="Who?", passages="[1] Ray.", style="In a word.")[1].role
    'user'
    """
    path = FOLDER / f"{name}.txt"
    if not re.fullmatch(r"\w+", name) or not path.is_file():
        path = Path(name)
    try:
        return Prompt(name, path.read_text(encoding="utf8"))
    except UnicodeDecodeError as error:
        raise BadValueError(f"the prompt {name!r} is no text in UTF-8; write it as such") from error
    except (OSError, ValueError) as error:
        known = [each.stem for each in FOLDER.glob("*.txt")]
        raise UnknownNameError.of("prompt (and no such file)", name, known) from error


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"${name}" for name in names)
