"""The law of the cell cache: whatever is edited, what a cell gives is what it would give without a cache."""

from __future__ import annotations

import linecache
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.models.registry import CROSS_ENCODERS, Models
from sage_nb.retrieval import described, identity, path, recall
from sage_nb.retrieval.recall import Cell
from sage_nb.runtime.cellcache.code import ALL, Fingerprinted, code_fingerprint
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.fingerprint import fingerprint

WORDS = ["window", "barrier", "stream", "record", "state", "timer", "source", "sink"]
QUESTIONS = [f"{one} {other}" for one in WORDS[:4] for other in WORDS[4:]]
FILES = count()

CODE = """
ALLOWED = {allowed}

def shortened(text):
    return text[:{letters}]

def bounded(least):
    def keep(result, depth={depth}):
        if shortened(result.query.text) in ALLOWED and len(result.hits) {sign} least:
            return result.top(depth)
        return result.top(2 * depth)
    return keep

keep = bounded({least})
"""


@dataclass(frozen=True)
class Code:
    """What one's own function is made of."""

    allowed: tuple[str, ...] = ("win", "bar")
    letters: int = 3
    depth: int = 2
    least: int = 1
    sign: str = ">"

    def function(self):
        """As a notebook's cell would define it, with its source at hand."""
        text = CODE.format(**{name: getattr(self, name) for name in self.__dataclass_fields__})
        name = f"<cell {next(FILES)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        namespace = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), namespace)  # noqa: S102  the test's own text
        return namespace["keep"]


@dataclass(frozen=True)
class Notebook:
    """All that a person may edit."""

    documents: int = 40
    k: int = 8
    variant: str = "lucene"
    only: str | None = None
    second: int | None = None
    weight: float = 1.0
    code: Code | None = Code()
    scorer: int = 1
    best: int | None = 4
    cut: int | None = None

    def pipeline(self, folder):
        """The pipeline over the collection in `folder`, brought to what it should hold."""
        book = sage.Collection(folder + "/book", encoder=None)
        wanted = {f"d{n}": f"{WORDS[n % 8]} {WORDS[n // 8 % 8]} {WORDS[n // 3 % 8]}" for n in range(self.documents)}
        gone = [each.id for each in book.documents() if each.id not in wanted]
        book.delete(*gone)
        book.add([sage.Document(n, text, source=text[0]) for n, text in wanted.items()], progress=False)
        view = book if self.only is None else book.where(source=self.only)
        stage = view.lexical(self.k, variant=self.variant)
        if self.second is not None:
            stage = stage + self.weight * view.lexical(self.second, variant="l")
        if self.code is not None:
            stage = stage >> self.code.function()
        if self.best is not None:
            stage = stage >> sage.rerank(self.best, model="scorer")
        return stage if self.cut is None else stage % self.cut


class Scorer:
    """A model whose weights are a number."""

    truncated = 0

    def __init__(self, weights):
        self.name, self.weights, self.fingerprint = "scorer", weights, str(weights)

    def score(self, pairs):
        return np.array([(len(p) * self.weights + sum(map(ord, q))) % 11 for q, p in pairs], np.float32)


def answers(notebook, folder, cache=None):
    """What the pipeline gives, with a cell's cache or without."""
    CROSS_ENCODERS["scorer"] = lambda: Scorer(notebook.scorer)
    resources = {} if cache is None else {Cell: Cell("law", cache)}
    env = LocalEnvironment("law", resources={**resources, Models: Models()})
    return notebook.pipeline(folder).run(QUESTIONS, env=env).results


def holds(*notebooks):
    """Whether the law holds over these states of a notebook, one after the other."""
    with TemporaryDirectory() as folder:
        cache = CellCache(Path(folder) / "cache")
        try:
            return all(answers(each, folder, cache) == answers(each, folder) for each in notebooks)
        finally:
            cache.close()


CODES = st.builds(
    Code,
    allowed=st.sampled_from([("win", "bar"), ("win",), ("str", "rec", "bar")]),
    letters=st.sampled_from([3, 4]),
    depth=st.integers(1, 3),
    least=st.integers(0, 3),
    sign=st.sampled_from([">", "<", ">="]),
)
NOTEBOOKS = st.builds(
    Notebook,
    documents=st.sampled_from([30, 40, 41]),
    k=st.integers(1, 9),
    variant=st.sampled_from(["lucene", "plus", "okapi"]),
    only=st.sampled_from([None, "w", "s"]),
    second=st.sampled_from([None, 3, 7]),
    weight=st.sampled_from([1.0, 0.25, 4.0]),
    code=st.none() | CODES,
    scorer=st.integers(1, 3),
    best=st.none() | st.integers(1, 5),
    cut=st.none() | st.integers(1, 5),
)
FIELDS = list(Notebook.__dataclass_fields__)


@st.composite
def edited(draw):
    """A notebook, and what a few edits make of it."""
    states = [draw(NOTEBOOKS)]
    for _ in range(draw(st.integers(1, 4))):
        other = draw(NOTEBOOKS)
        names = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True))
        states.append(replace(states[-1], **{name: getattr(other, name) for name in names}))
    return states


@settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(edited())
def test_a_cached_result_is_the_fresh_one_whatever_was_edited(states):
    assert holds(*states)


WHOLE = Notebook()
EDITS = {  # an ingredient of the key: two states that differ in it only
    "k": (Notebook(code=None, best=None), Notebook(code=None, best=None, k=3)),
    "variant": (Notebook(code=None, best=None), Notebook(code=None, best=None, variant="plus")),
    "content": (Notebook(code=None, best=None), Notebook(code=None, best=None, documents=30)),
    "filter": (Notebook(code=None, best=None), Notebook(code=None, best=None, only="w")),
    "weights of a fusion": (
        Notebook(code=None, best=None, second=7),
        Notebook(code=None, best=None, second=7, weight=0.25),
    ),
    "parts of a fusion": (Notebook(code=None, best=None, second=7), Notebook(code=None, best=None, second=3)),
    "weights of a model": (WHOLE, Notebook(scorer=2)),
    "upstream": (WHOLE, Notebook(k=2)),
    "question": (WHOLE, WHOLE),
    "source": (Notebook(best=None), Notebook(best=None, code=Code(sign="<"))),
    "default": (Notebook(best=None), Notebook(best=None, code=Code(depth=1))),
    "closure": (Notebook(best=None), Notebook(best=None, code=Code(least=9))),
    "global": (Notebook(best=None), Notebook(best=None, code=Code(allowed=("win", "str")))),
    "calls": (Notebook(best=None), Notebook(best=None, code=Code(letters=2))),
}
FIELD_OF = {"k": "k", "variant": "variant", "weights of a fusion": "weights", "parts of a fusion": "parts"}


def without(monkeypatch, ingredient):
    """From now on keys lack that ingredient."""
    part_of = identity._part

    def part(value):
        if ingredient == "content" and isinstance(value, identity.Source):
            return Fingerprinted(fingerprint(("no content", repr(value.only))), {})
        if ingredient == "filter" and isinstance(value, identity.Source):
            return Fingerprinted(identity.content_of(value), {})
        return part_of(value)

    def identity_of(stage):
        found = identity.identity_of(stage)
        gone = {FIELD_OF.get(ingredient), "weights" if ingredient == "weights of a model" else None}
        parts = {name: digest for name, digest in found.parts.items() if name not in gone}
        return Fingerprinted(fingerprint(parts), parts)

    if ingredient in ALL:
        kept = ALL - {ingredient}
        monkeypatch.setattr(identity, "code_fingerprint", lambda value: code_fingerprint(value, ingredients=kept))
    elif ingredient == "upstream":
        monkeypatch.setattr(path, "fingerprint", lambda value: fingerprint(("nothing", value[1])))
    elif ingredient == "question":
        monkeypatch.setattr(recall, "fingerprint", lambda value: fingerprint((value[0], "any")))
    else:
        monkeypatch.setattr(identity, "_part", part)
        monkeypatch.setattr(described, "identity_of", identity_of)


@pytest.mark.parametrize("ingredient", EDITS)
def test_without_an_ingredient_of_the_key_the_law_fails(monkeypatch, ingredient):
    assert holds(*EDITS[ingredient])
    without(monkeypatch, ingredient)
    assert not holds(*EDITS[ingredient])
