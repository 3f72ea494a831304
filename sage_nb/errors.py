"""Every error this package raises on purpose: few, real classes, each with a way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from typing_extensions import Self


class SageError(Exception):
    """What went wrong, in one sentence, and how to mend it."""

    def _render_traceback_(self) -> list[str]:
        """IPython calls this: a cell shows the sentence, not the stack of internals."""
        return [f"{type(self).__name__}: {self}"]


class BadValueError(SageError, ValueError):
    """An argument outside its range, or of the wrong type."""


class UnknownNameError(SageError, LookupError):
    """A name that no registry, folder or namespace holds."""

    @classmethod
    def of(cls, kind: str, given: str, known: Iterable[str]) -> Self:
        """The error for `given`, with the nearest known name.

        >>> print(UnknownNameError.of("fusion rule", "rff", {"rrf", "minmax"}))
        unknown fusion rule 'rff'; did you mean 'rrf'? (known: minmax, rrf)
        """
        names = sorted(known)
        near = get_close_matches(given, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return cls(f"unknown {kind} {given!r}{hint} (known: {', '.join(names) or 'none'})")


class MissingExtraError(SageError, ImportError):
    """An optional dependency that a feature needs and this environment lacks."""

    @classmethod
    def of(cls, feature: str, module: str, extra: str) -> Self:
        """The error for `module`, with the command that installs it.

        >>> print(MissingExtraError.of("reading a PDF", "pypdf", "pdf"))
        reading a PDF needs 'pypdf'; run: pip install 'sage-nb[pdf]'
        """
        return cls(f"{feature} needs {module!r}; run: pip install 'sage-nb[{extra}]'")


class ModelError(SageError):
    """A model that cannot be had, or does not fit what it is used for."""


class GeneratorError(SageError):
    """A generator of text that cannot be reached, fails, or gives nothing."""


class CollectionError(SageError):
    """A collection on disk that is damaged, too new, locked, or not there."""
