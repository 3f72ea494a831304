"""On actors an experiment is what it is here: the same graph, the same values, what is shared computed once."""

from __future__ import annotations

from itertools import pairwise

import sage_nb as sage
from sage_nb.runtime.ray.environment import RayEnvironment

WORDS = ("ant", "bee", "cat", "dog")
QUESTIONS = {f"q{n}": f"{one} and {other}" for n, (one, other) in enumerate(pairwise(WORDS))}
QRELS = {name: {f"d{n}": 1} for n, name in enumerate(QUESTIONS)}


def test_values_and_counts_are_those_of_a_local_one(cluster, tmp_path):
    book = sage.Collection(tmp_path / "book", encoder=None)
    texts = [f"The {WORDS[n % 4]} met the {WORDS[(n // 4) % 4]} {n % 5} times." for n in range(40)]
    book.add([sage.Document(f"d{n}", text) for n, text in enumerate(texts)], progress=False)
    pipes = {
        "few": book.lexical(10) % 5,
        "fused": 0.3 * book.lexical(10) + 0.7 * book.lexical(20),
        "more": (book.lexical(10) % 5) + book.lexical(20),
    }
    here = sage.experiment(pipes, QUESTIONS, QRELS, baseline="few")
    there = sage.experiment(pipes, QUESTIONS, QRELS, baseline="few", env=RayEnvironment("compared"))
    assert there.values == here.values
    assert there.comparisons == here.comparisons
    assert (there.stages_asked, there.stages_run) == (here.stages_asked, here.stages_run) == (9, 5)
    for name, run in there.runs.items():
        assert {uid: each["computed"] for uid, each in run.stages.items()} == dict.fromkeys(here.runs[name].stages, 3)
        assert there.costs[name]["ms per question"] > 0
