"""What the results of a stage depend on, read off its fields: arguments, collections, other stages, one's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sage_nb.models.generator import Generator
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.source import Source
from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown, code_fingerprint
from sage_nb.stream.fingerprint import fingerprint

if TYPE_CHECKING:
    from sage_nb.retrieval.described import Described


def identity_of(stage: Described) -> Fingerprinted | Unknown:
    """The digest of everything that a stage's results depend on but the question, part by part.

    Unknown where a part is something whose content cannot be told.
    """
    parts: dict[str, str] = {}
    for name, value in [("kind", type(stage)), *_fields(stage), *stage.beside().items()]:
        found = _part(value)
        if isinstance(found, Unknown):
            return found
        told = found.parts if callable(value) and name != "kind" else {name: found.digest}
        parts.update({part if part not in parts else f"{name} {part}": digest for part, digest in told.items()})
    return Fingerprinted(fingerprint(parts), parts)


def digest_of(value: object) -> str:
    """Equal where what comes of a field of that value is equal; "" where that cannot be told."""
    found = _part(value)
    return "" if isinstance(found, Unknown) else found.digest


def generations_of(stage: Described) -> Mapping[str, int]:
    """How often each collection that a stage reads, itself or by a part of it, had been changed by now."""
    held: dict[str, int] = {}
    for each in parts_of(stage):
        if isinstance(each, Source):
            held[each.path] = COLLECTIONS.folder(each.path).snapshot().manifest.generation
        elif hasattr(each, "generations"):
            held.update(each.generations)
    return held


def folders_of(stage: Described) -> frozenset[str]:
    """The folder of each collection that a stage reads, itself or by a part of it."""
    held: set[str] = set()
    for each in parts_of(stage):
        if isinstance(each, Source):
            held.add(each.path)
        elif hasattr(each, "folders"):
            held |= each.folders
    return frozenset(held)


def parts_of(stage: Described) -> Iterator[Any]:
    """What a stage's fields hold, those of its tuples one by one."""
    for _, value in _fields(stage):
        yield from value if isinstance(value, tuple) else (value,)


def _fields(stage: Described) -> Iterator[tuple[str, Any]]:
    return ((field.name, getattr(stage, field.name)) for field in fields(stage))


def _part(value: Any) -> Fingerprinted | Unknown:
    if hasattr(value, "identity") and not isinstance(value, type):
        found: Fingerprinted | Unknown = value.identity()
        return found
    if isinstance(value, Source):
        return Fingerprinted(fingerprint((content_of(value), None if value.only is None else value.only.plain)), {})
    if isinstance(value, Generator):
        return _part((type(value), value.fingerprint, value.code))
    if isinstance(value, tuple):
        parts = [_part(each) for each in value]
        unknown = next((each for each in parts if isinstance(each, Unknown)), None)
        known = tuple(each.digest for each in parts if isinstance(each, Fingerprinted))
        return unknown or Fingerprinted(fingerprint(known), {})
    return code_fingerprint(value)


def content_of(source: Source) -> str:
    """Equal for equal content and settings of a collection, however it came about."""
    manifest = COLLECTIONS.folder(source.path).snapshot().manifest
    settings = {name: getattr(manifest.settings, name) for name in type(manifest.settings).__struct_fields__}
    return fingerprint((settings, manifest.content))
