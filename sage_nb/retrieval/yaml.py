"""Pipelines as YAML and back: names of registered stages with their arguments, and nothing that runs code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.models.generator import KINDS
from sage_nb.records.filters import Filter, from_plain
from sage_nb.retrieval.source import Source, locate

StageType = TypeVar("StageType", bound=type)

STAGES: dict[str, type] = {}
HOMES = (  # modules whose stages may be written and read
    "stage",
    "lexical",
    "dense",
    "hierarchical",
    "hybrid",
    "rerank",
    "answer",
    "calibrate",
    "compress",
    "llm_rerank",
    "mmr",
    "prf",
    "refine",
    "rm3",
    "expand",
    "iterative",
    "variants",
    "multi_source",
    "routes",
)
FORMAT = 1


def stage(name: str) -> Any:
    """Class decorator: a stage that may be written as YAML, under that name; its fields are its arguments.

    >>> from dataclasses import dataclass
    >>> from sage_nb.retrieval.stage import Operation
    >>> @stage("nothing")
    ... @dataclass(frozen=True)
    ... class Nothing(Operation):
    ...     words: int = 3
    ...
    ...     def function(self): ...
    >>> print(to_yaml(Nothing(words=5)), end="")
    sage_nb: 1
    pipeline:
      nothing:
        words: 5
    >>> from_yaml(to_yaml(Nothing(words=5)))
    Nothing(words=5)
    """

    def register(kind: StageType) -> StageType:
        STAGES[name] = kind
        return kind

    return register


def to_yaml(pipeline: object) -> str:
    """The pipeline as YAML.

    Raises BadValueError for a stage that is not registered, or an argument that is code.
    """
    return yaml.safe_dump({"sage_nb": FORMAT, "pipeline": _written(pipeline)}, sort_keys=False, allow_unicode=True)


def from_yaml(text: str) -> Any:
    """The pipeline that `to_yaml` wrote.

    Raises BadValueError for what is no such YAML (tags are refused), UnknownNameError for stages that are not known.
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadValueError(f"this is not the YAML of a pipeline: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict) or set(given) != {"sage_nb", "pipeline"}:
        raise BadValueError(f"the YAML of a pipeline holds 'sage_nb' and 'pipeline', got {given!r:.80}; see to_yaml()")
    if given["sage_nb"] != FORMAT:
        raise BadValueError(f"the pipeline is of format {given['sage_nb']!r}, this sage_nb reads {FORMAT}; upgrade it")
    return _read(given["pipeline"], "pipeline")


def kinds() -> dict[str, type]:
    """By name, what may be written: stages, and generators."""
    for home in HOMES:
        import_module(f"sage_nb.retrieval.{home}")
    return {**STAGES, **KINDS}


def _written(value: Any) -> Any:
    names = {kind: name for name, kind in kinds().items()}
    if type(value) in names:
        given = ((field, getattr(value, field.name)) for field in fields(value))
        return {names[type(value)]: {field.name: _written(each) for field, each in given if each != _default(field)}}
    match value:
        case Source():
            plain = value.name if locate(value.name) == locate(value.path) else value.path
            return {
                "collection": {"name": plain, **({} if value.only is None else {"where": _listed(value.only.plain)})}
            }
        case tuple():
            return [_written(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    raise BadValueError(
        f"{value!r:.60} ({type(value).__name__}) cannot be written as YAML; build it of registered stages"
    )


def _default(field: Any) -> Any:
    return MISSING if field.default is MISSING else field.default


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _read(value: Any, where: str) -> Any:
    match value:
        case list():
            return tuple(_read(each, f"{where}[{at}]") for at, each in enumerate(value))
        case dict():
            return _stage(value, where)
        case None | bool() | int() | float() | str():
            return value
    raise BadValueError(f"{where} is a {type(value).__name__}; the YAML of a pipeline holds plain data only")


def _stage(value: Mapping[Any, Any], where: str) -> Any:
    if len(value) != 1:
        raise BadValueError(f"{where} must be one stage with its arguments, got {', '.join(map(str, value)) or 'none'}")
    ((name, given),) = value.items()
    if not isinstance(given, dict):
        raise BadValueError(f"the arguments of {name!r} at {where} must be named, got {given!r:.60}")
    if name == "collection":
        return _source(given, where)
    kind = kinds().get(str(name))
    if kind is None:
        raise UnknownNameError.of("stage", str(name), STAGES)
    known = [field.name for field in fields(kind)]
    if unknown := set(given) - set(known):
        raise UnknownNameError.of(f"argument of {name!r}", str(min(unknown, key=str)), known)
    arguments = {each: _read(given[each], f"{where}.{name}.{each}") for each in given}
    hints = get_type_hints(kind)
    if wrong := [each for each, value in arguments.items() if not _fits(value, hints[each])]:
        wanted = getattr(hints[wrong[0]], "__name__", hints[wrong[0]])
        raise BadValueError(f"{wrong[0]} of {name!r} at {where} must be a {wanted}, got {arguments[wrong[0]]!r:.60}")
    try:
        return kind(**arguments)
    except SageError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise BadValueError(f"{name!r} at {where} does not take these arguments: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    kind = get_origin(hint) or hint
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return not isinstance(kind, type) or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool)))


def _source(given: Mapping[Any, Any], where: str) -> Source:
    if not isinstance(given.get("name"), str) or set(given) - {"name", "where"}:
        raise BadValueError(f"a collection at {where} has a name and perhaps a where, got {given!r:.60}")
    return Source(str(locate(given["name"])), _filter(given.get("where")))


def _filter(given: Any) -> Filter | None:
    return None if given is None else from_plain(_tupled(given))


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, Iterable) and not isinstance(value, str) else value
