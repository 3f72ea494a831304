"""What retrieval stages are given, checked: numbers of hits, weights, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat, cast

from sage_nb.errors import BadValueError
from sage_nb.stream.build import How


def check_k(k: object, where: str, name: str = "k") -> None:
    """Refuse a `k` (or what else its `name` is) that is no number of hits."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadValueError(f"{where} needs {name}, a whole number of 1 or more, got {k!r}")


def check_whole(value: object, where: str) -> None:
    """Refuse what is no whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadValueError(f"{where} must be a whole number of 1 or more, got {value!r}")


def check_number(value: object, where: str, *, above: float = float("-inf")) -> None:
    """Refuse what is no finite number greater than `above`."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not above < float(value) < float("inf"):  # type: ignore[arg-type]
        least = "" if above == float("-inf") else f" above {above:g}"
        raise BadValueError(f"{where} must be a finite number{least}, got {value!r}")


def check_weights(weights: Sequence[float], parts: int) -> tuple[float, ...]:
    """The weights as floats, all 1 where none are given; refused where they don't match the parts."""
    if any(isinstance(weight, str) or not isinstance(weight, SupportsFloat) for weight in weights):
        raise BadValueError(f"weights must be numbers, got {weights!r}; give one for each ranking")
    given = tuple(float(weight) for weight in weights) or (1.0,) * parts
    if len(given) != parts:
        raise BadValueError(f"{parts} rankings are fused and {len(given)} weights given; give one for each")
    if not all(0 <= weight < float("inf") for weight in given) or not any(given):
        raise BadValueError(f"weights must be 0 or more and finite, and not all 0, got {given}")
    return given


def unnamed(how: Mapping[str, Any]) -> How:
    """Options for each operator of several: all but the name and uid of one."""
    return cast(How, {name: value for name, value in how.items() if name not in ("name", "uid")})


def check_share(share: object, where: str, name: str) -> float:
    """A number from 0 to 1, as a float."""
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise BadValueError(f"{where} needs {name}, a number from 0 to 1, got {share!r}")
    return float(share)


def printed(number: float) -> str:
    """A number as short as it can be read back.

    >>> printed(2.0), printed(0.5), printed(0.123456789)
    ('2', '0.5', '0.123456789')
    """
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
