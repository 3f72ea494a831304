"""What holds of every stage that takes a ranking: how it prints, ships, is written, batched and cached."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import sage_nb as sage
from sage_nb.models.registry import Models
from sage_nb.notebook.cell import vocabulary
from sage_nb.retrieval.ranking import ranked
from sage_nb.retrieval.recall import Cell
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.runtime.cellcache.store import CellCache
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.function import MapFunction

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
QUESTIONS = [sage.Query(f"q{n}", f"{one} and {WORDS[n]}") for n, one in enumerate(WORDS[:0:-1])]
QUESTIONS += [sage.Query("nobody", "unheard of")]


def documents(count=40):
    """Of two sentences each, about a few animals."""
    return [
        sage.Document(
            f"d{n}",
            f"The {WORDS[n % 8]} met the {WORDS[n // 8 % 8]}. Later the {WORDS[3 * n % 8]} came, {n % 5} times.",
            title=f"Tale {n}",
        )
        for n in range(count)
    ]


def animals(folder):
    """A collection of them."""
    book = sage.Collection(str(folder / "animals"), encoder=None)
    book.add(documents(), progress=False)
    return book


class Giving(MapFunction):
    def __init__(self, hits):
        self.hits = hits

    def map(self, value):
        scored = [(sage.Hit(sage.Document(name, text), 0, 0.0, (), "c"), score) for name, text, score in self.hits]
        return ranked(value, "given", scored)


@dataclass(frozen=True)
class Given(Operation):
    """The same hits for every question: (id, text, score)."""

    hits: tuple[tuple[str, str, float], ...]

    def function(self):
        return Giving(self.hits)


def given(*hits):
    """A stage that finds them; hits without a score have their place's."""
    return Given(tuple((*hit, float(len(hits) - n))[:3] for n, hit in enumerate(hits)))


def ids(result):
    """Of its hits, in their order."""
    return [hit.document.id for hit in result.hits]


def check_value(pipe):
    """It prints itself back, is written as YAML and read, and ships."""
    assert eval(repr(pipe), vocabulary()) == pipe  # noqa: S307
    assert Stage.from_yaml(pipe.to_yaml()) == pipe
    assert pickle.loads(pickle.dumps(pipe)) == pipe  # noqa: S301
    assert hash(pipe) == hash(pickle.loads(pickle.dumps(pipe)))  # noqa: S301


def check_batched(pipe):
    """Many questions at once are answered as each alone; the provenance of every hit ends with its score and rank."""
    many = pipe.run(QUESTIONS).results
    assert many == [pipe.run([question]).results[0] for question in QUESTIONS]
    for result in many:
        assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
        assert all((hit.steps[-1].rank, hit.steps[-1].score) == (hit.rank, hit.score) for hit in result.hits)
    return many


def run_cached(pipe, cache, questions=QUESTIONS, **resources):
    """Its run with a cell's cache."""
    env = LocalEnvironment("law", resources={Cell: Cell("law", cache), Models: Models(), **resources})
    run = pipe.run(questions, env=env)
    run.job.wait()
    return run


def check_cached(folder, pipe):
    """A second run gives the first one's results, which are those without a cache, and computes nothing."""
    cache = CellCache(folder / "cache")
    try:
        first, second = (run_cached(pipe, cache) for _ in range(2))
        assert first.results == second.results == pipe.run(QUESTIONS).results
        assert sum(stage["computed"] for stage in second.stages.values()) == 0
        assert sum(stage["computed"] for stage in first.stages.values()) > 0
    finally:
        cache.close()


def check_laws(folder, stage):
    """All of these, of a stage behind a retriever."""
    pipe = animals(folder).lexical(20) >> stage
    check_value(pipe)
    found = check_batched(pipe)
    check_cached(folder, pipe)
    assert not found[-1].hits, "what ranks nothing stays so"
    return found
