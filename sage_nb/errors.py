"""Every error this package raises on purpose: few, real classes, each with a way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from typing_extensions import Self


class SageError(Exception):
    """What went wrong, in one sentence, and how to mend it.

    >>> try:
    ...     raise ModelError("there is no model 'e6' here; give a folder, or the name of one that is")
    ... except SageError as error:
    ...     print(error)
    there is no model 'e6' here; give a folder, or the name of one that is
    """

    def _render_traceback_(self) -> list[str]:
        """IPython calls this: a cell shows the sentence, not the stack of internals."""
        return [f"{type(self).__name__}: {self}"]


class BadValueError(SageError, ValueError):
    """An argument outside its range, or of the wrong type.

    >>> from sage_nb.records.chunk import chunk
    >>> chunk(0)
    Traceback (most recent call last):
    sage_nb.errors.BadValueError: size=0 must be a whole number of tokens, 1 or more
    """


class UnknownNameError(SageError, LookupError):
    """A name that no registry, folder or namespace holds.

    >>> from sage_nb.retrieval.fusion import get_fusion
    >>> get_fusion("rff")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sage_nb.errors.UnknownNameError: unknown fusion rule 'rff'; did you mean 'rrf'? (known: borda, ...)
    """

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
    """An optional dependency that a feature needs and this environment lacks.

    >>> try:
    ...     raise MissingExtraError.of("reading a PDF", "pypdf", "pdf")
    ... except ImportError as error:
    ...     print(error)
    reading a PDF needs 'pypdf'; run: pip install 'sage-nb[pdf]'
    """

    @classmethod
    def of(cls, feature: str, module: str, extra: str) -> Self:
        """The error for `module`, with the command that installs it.

        >>> print(MissingExtraError.of("reading a PDF", "pypdf", "pdf"))
        reading a PDF needs 'pypdf'; run: pip install 'sage-nb[pdf]'
        """
        return cls(f"{feature} needs {module!r}; run: pip install 'sage-nb[{extra}]'")


class ModelError(SageError):
    """A model that cannot be had, or does not fit what it is used for.

    >>> from sage_nb.models.registry import Models
    >>> Models().encoder("no/such-model")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sage_nb.errors.ModelError: the model 'no/such-model' is neither a folder nor in the local hub cache...
    """


class GeneratorError(SageError):
    """A generator of text that cannot be reached, fails, or gives nothing.

    >>> from sage_nb.models.generator import Message, as_generator, generator
    >>> mute = generator("mute")(lambda conversation: " ")
    >>> as_generator("mute").opened().write([[Message("user", "Who is there?")]])
    Traceback (most recent call last):
    sage_nb.errors.GeneratorError: the generator 'mute' gave no text; look at its prompt and its limit of tokens
    """


class CollectionError(SageError):
    """A collection on disk that is damaged, too new, locked, or not there.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.retrieval.collection import Collection
    >>> with TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     _ = Path(folder, "MANIFEST").write_text("{}")
    ...     Collection(folder)
    Traceback (most recent call last):
    sage_nb.errors.CollectionError: ...MANIFEST is not the MANIFEST of a sage_nb collection; name another folder
    """
