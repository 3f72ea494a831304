"""What a pipeline can be built of in a form: kinds of stages in groups, and a field for each of their arguments.

The fields are read off the stages' own dataclasses, by the types of their arguments: a stage that learns a new argument
has it in its form. An argument that is neither a number, nor a text, nor one of ours has no field: it is kept as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from sage_nb.index.analysis import ANALYZERS
from sage_nb.index.bm25 import VARIANTS
from sage_nb.models.generator import GENERATORS
from sage_nb.retrieval.answer import STYLES
from sage_nb.retrieval.context import EXPANSIONS
from sage_nb.retrieval.descent import POOLS
from sage_nb.retrieval.fusion import FUSIONS
from sage_nb.retrieval.hierarchical import LEVELS
from sage_nb.retrieval.lexical import ENGINES
from sage_nb.retrieval.merging import POOLED
from sage_nb.retrieval.source import Source
from sage_nb.retrieval.yaml import kinds

GROUPS: Mapping[str, tuple[str, ...]] = {  # in the order of a pipeline
    "expand": ("hyde", "rm3", "prf", "multi_query", "decompose", "iterative"),
    "search": ("lexical", "dense", "hybrid", "hierarchical", "fused", "multi_source"),
    "rerank": ("rerank", "llm_rerank", "mmr"),
    "refine": ("dedup", "min_score", "calibrate", "compress", "cut", "reorder"),
    "answer": ("answer",),
}
GROUP_OF = {kind: group for group, held in GROUPS.items() for kind in held}
FEEDBACK = ("rm3", "prf")  # expand by what a first search has found, for a second one
WRAPPING = ("multi_query", "decompose", "iterative")  # ask a whole pipeline several questions

PIPES = {  # the argument that holds the pipelines which a stage puts together
    "fused": "parts",
    "multi_source": "parts",
    "multi_query": "pipe",
    "decompose": "pipe",
    "iterative": "pipe",
    "weighted": "stage",
}
SEVERAL = ("fused", "multi_source")
OF_BRANCHES = {"fused": ("weights",), "multi_source": ("names", "weights", "quotas")}  # arguments with one for each

SAID = {
    "answer": "a text with citations",
    "calibrate": "scores as chances",
    "compress": "the sentences that count",
    "cut": "the first of them",
    "decompose": "ask the simpler questions in it",
    "dedup": "without near-duplicates",
    "dense": "by cosine of vectors",
    "fused": "several searches, one ranking",
    "hierarchical": "documents first, then passages",
    "hybrid": "BM25 and vectors",
    "hyde": "by a made-up answer",
    "iterative": "ask in rounds",
    "lexical": "by BM25",
    "llm_rerank": "by a generator's grades",
    "min_score": "without low scores",
    "mmr": "hits that differ",
    "multi_query": "ask in several wordings",
    "multi_source": "sources asked at the same time",
    "prf": "move the vector to what is found",
    "reorder": "the best first and last",
    "rerank": "by a model",
    "rm3": "add terms of what is found",
    "weighted": "scores times a weight",
}
NAMES = {  # what is not called as in YAML
    "cut": "%",
    "fused": "fuse",
    "generator": "own function",
    "extractive": "Extractive",
    "openai_chat": "OpenAIChat",
    "transformers_chat": "TransformersChat",
    "routes": "Routes",
    "weighted": "weight",
    "then": "pipeline",
}
HELP = {
    "api_key_env": "the environment variable that holds the key",
    "b": "how much long passages are held down, 0 to 1",
    "base_url": "the address of a server that speaks OpenAI's protocol",
    "budget": "milliseconds that a question may take",
    "cite": "name the passages by [n], and check them",
    "diversity": "0: as ranked, 1: as different as can be",
    "docs": "hits to learn from",
    "expand": "more text for each hit",
    "fusion": "how rankings become one",
    "k": "hits that are kept",
    "k1": "how soon a term's repetitions count no more",
    "least": "the lowest score that stays",
    "max_rounds": "rounds at the most",
    "max_tokens": "tokens of the text, at the most",
    "merge": "the share of a group's passages from which on they are one hit",
    "model": "a folder, a hub name, or what the server calls it",
    "n": "texts to be written",
    "near": "likeness from which on hits of two sources are one",
    "prompt": "a prompt's name, or a file",
    "rule": "how rankings become one",
    "temperature": "0: the likeliest text each time",
    "terms": "terms that are added",
    "threshold": "likeness from which on texts are near-duplicates",
    "timeout": "seconds",
    "tokens": "tokens that are kept",
    "top": "hits that are looked at; the others stay behind them",
    "weight": "how much its word counts",
}
FIRST = frozenset(  # what is shown before anything is opened
    {"base_url", "called", "diversity", "docs", "fusion", "generator", "intercept", "k", "least", "max_rounds", "model"}
    | {"n", "name", "path", "rule", "slope", "source", "style", "terms", "threshold", "tokens", "weight"}
)

CHOICES: Mapping[str, Callable[[], Iterable[str | None]]] = {
    "analyzer": lambda: ("", *ANALYZERS),
    "called": lambda: GENERATORS,
    "engine": lambda: ENGINES,
    "expand": lambda: EXPANSIONS,
    "fusion": lambda: FUSIONS,
    "levels": lambda: (", ".join(LEVELS), ", ".join(LEVELS[::2]), ", ".join(LEVELS[1:])),
    "on_error": lambda: ("degrade", "fail"),
    "pool": lambda: POOLS,
    "rule": lambda: FUSIONS,
    "style": lambda: STYLES,
    "variant": lambda: VARIANTS,
}
WRITERS = ("openai_chat", "transformers_chat", "generator")
VALUES = {  # arguments that are themselves something with arguments
    "ask": WRITERS,
    "coarse": ("lexical", "dense", "hybrid"),
    "fine": ("lexical", "dense", "hybrid"),
    "generator": WRITERS,
    "route": ("routes",),
}
BY_DEFAULT = ("coarse", "fine")  # what goes without saying depends on the collection: None says that
STARTS = {  # what a new stage has where its class has no default
    "base_url": "http://localhost:11434/v1",
    "k": 10,
    "least": 0.0,
    "weight": 1.0,
    "path": "",
    "model": "",
}
WORDS = {bool: "flag", int: "whole", float: "number", str: "text"}


@dataclass(frozen=True)
class Field:
    """An argument, as a form shows it: a control, what stands in it at first, what may be chosen."""

    name: str
    control: str
    default: Any = None
    optional: bool = False
    choices: tuple[Any, ...] = ()
    first: bool = False
    help: str = ""

    @property
    def plain(self) -> Mapping[str, Any]:
        """As JavaScript reads it."""
        return asdict(self)


EACH: Mapping[str, tuple[Field, ...]] = {  # what each of the pipelines has that a stage puts together
    "fused": (Field("weight", "number", 1.0, first=True, help=HELP["weight"]),),
    "multi_source": (
        Field("name", "text", "source", first=True, help="what its hits call it"),
        Field("weight", "number", 1.0, first=True, help=HELP["weight"]),
        Field("at least", "whole", 0, help="hits of it among those kept"),
        Field("at most", "whole", None, optional=True, help="hits of it among those kept"),
    ),
}


def kind_of(value: object) -> str | None:
    """What a form calls a stage, a generator or an answerer of ours; None for one's own.

    >>> from sage_nb.retrieval.rerank import rerank
    >>> kind_of(rerank(k=3)), kind_of(len)
    ('rerank', None)
    """
    return next((name for name, kind in _ours() if kind is type(value)), None)


def fields_of(kind: str) -> tuple[Field, ...]:
    """A field for each argument of a kind of stage but those that hold its pipelines.

    >>> [(field.name, field.control, field.default) for field in fields_of("rerank")][:2]
    [('k', 'whole', 10), ('model', 'text', None)]
    """
    made = kinds()[kind]
    hints = get_type_hints(made)
    beside = {PIPES.get(kind), *OF_BRANCHES.get(kind, ())}
    given = [each for each in dataclasses.fields(made) if each.name not in beside]
    return tuple(_field(kind, each.name, hints[each.name], each.default) for each in given)


def alike(kind: str) -> tuple[str, ...]:
    """The kinds that may stand in its place.

    >>> alike("multi_source"), alike("rm3")
    (('fused', 'multi_source'), ('rm3', 'prf'))
    """
    apart = (SEVERAL, WRAPPING, FEEDBACK)
    held = next((each for each in (*apart, GROUPS.get(GROUP_OF.get(kind, ""), (kind,))) if kind in each), (kind,))
    return held if held in apart else tuple(each for each in held if not any(each in other for other in apart))


def catalogue() -> dict[str, Any]:
    """All of it as plain data, for JavaScript to draw by."""
    return {
        "groups": {group: list(held) for group, held in GROUPS.items()},
        "kinds": {
            kind: {
                "name": NAMES.get(kind, kind),
                "group": GROUP_OF.get(kind, ""),
                "said": SAID.get(kind, ""),
                "fields": [field.plain for field in fields_of(kind)] if kind != "then" else [],
                "each": [field.plain for field in EACH.get(kind, ())],
                "several": kind in SEVERAL,
                "alike": list(alike(kind)),
            }
            for kind, _ in _ours()
        },
    }


def _ours() -> list[tuple[str, type]]:
    return [(name, kind) for name, kind in kinds().items() if kind.__module__.startswith("sage_nb.")]


def _field(kind: str, name: str, hint: Any, default: Any) -> Field:
    several = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    optional = type(None) in several or name in BY_DEFAULT or default is None
    control = _control(name, [each for each in several if each is not type(None)])
    choices = tuple(CHOICES[name]()) if name in CHOICES else ()
    if (kind, name) == ("multi_source", "fusion"):
        choices = (POOLED, *choices)
    if name in VALUES:
        choices = (*(("extractive",) if kind == "answer" else ()), *VALUES[name])
    start: Any = STARTS.get(name) if default is MISSING else default
    if control == "list":
        start = ", ".join(start)
    plain = start if control not in ("kept", "value", "source", "numbers") else None
    shown = name in FIRST and not (kind == "rerank" and name == "model")
    return Field(name, control, plain, optional, choices, shown, HELP.get(name, ""))


def _control(name: str, several: list[Any]) -> str:
    if name in VALUES:
        return "value"
    if name in CHOICES:
        return "list" if name == "levels" else "choice"
    kind = several[0] if len(several) == 1 else None
    if kind is Source:
        return "source"
    if get_origin(kind) is tuple and get_args(kind) == (float, ...):
        return "numbers"
    return WORDS.get(kind, "kept") if isinstance(kind, type) else "kept"
