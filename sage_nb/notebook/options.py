"""What a cell's first line says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sage_nb.errors import BadValueError, UnknownNameError

RUNNERS = ("local", "ray")


@dataclass(frozen=True)
class CellOptions:
    """The options of a `%%sage` cell; `--help` of the magic says what each does."""

    name: str | None = None
    on: str | None = None
    env: str = "local"
    parallelism: int | Literal["auto"] = 1
    gpus: float = 0.0
    fresh: bool = False
    background: bool = False
    checkpoint_every: float = 0.0
    plan: bool = False
    top: int = 5

    def __post_init__(self) -> None:
        if self.name is not None and not self.name.isidentifier():
            raise BadValueError(f"%%sage cannot bind its result to {self.name!r}; give a Python name")
        if self.env not in RUNNERS:
            raise UnknownNameError.of("--env", str(self.env), RUNNERS)
        if self.parallelism != "auto" and self.parallelism < 1:
            raise BadValueError(f'--parallelism needs 1 or more, or "auto", got {self.parallelism!r}')
        if self.gpus < 0 or (self.gpus and self.env != "ray"):
            raise BadValueError(f"--gpus {self.gpus:g} needs --env ray, and a share of 0 or more for each operator")
        if self.checkpoint_every < 0:
            raise BadValueError(f"--checkpoint-every needs 0 seconds or more, got {self.checkpoint_every:g}")
        if self.top < 1:
            raise BadValueError(f"--top needs 1 or more, got {self.top}")
        if self.on is None and (self.plan or self.background):
            asked = "--plan" if self.plan else "--background"
            raise BadValueError(f"{asked} needs questions: name them with --on")

    @property
    def cell(self) -> str:
        """The name that its results are kept under."""
        return self.name or "cell"

    @property
    def how(self) -> dict[str, Any]:
        """Options for each operator of the pipeline."""
        return {"resources": {"num_gpus": self.gpus}} if self.gpus else {}


def parallelism(text: str) -> int | Literal["auto"]:
    """What `--parallelism` was given.

    >>> parallelism("4"), parallelism("auto")
    (4, 'auto')
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError as error:
        raise BadValueError(f'--parallelism takes a whole number or "auto", got {text!r}') from error


def unquoted(value: Any) -> Any:
    """What an option was given, without the quotes that IPython leaves around a value.

    >>> unquoted('"nDCG@10, R@100"'), unquoted("it's"), unquoted(3)
    ('nDCG@10, R@100', "it's", 3)
    """
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
