"""On actors several sources answer as they do here, also where one of them is down."""

from __future__ import annotations

import sage_nb as sage
from sage_nb.runtime.ray.environment import RayEnvironment

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox")


def found(text):
    return [(sage.Document("web", f"{text} on the web, far from any hill"), 0.5)]


def down(text):
    raise ConnectionError("refused")


def test_sources_answer_record_for_record_as_here(cluster, tmp_path):
    first, second = (
        sage.Collection(tmp_path / "first", encoder=None),
        sage.Collection(tmp_path / "second", encoder=None),
    )
    for at, each in enumerate((first, second)):
        texts = (f"The {WORDS[(n + at) % 6]} met the {WORDS[n // 6 % 6]} at hill {n}." for n in range(40))
        each.add([sage.Document(f"{at}-{n}", text) for n, text in enumerate(texts)], progress=False)
    sources = {"first": first.lexical(8), "second": second.lexical(8), "web": found, "down": down}
    pipe = sage.multi_source(sources, route=lambda text: ["first", "web"] if "eel" in text else list(sources))
    questions = [f"{one} and {other}" for one in WORDS for other in WORDS[:2]]
    here, there = pipe.run(questions).results, pipe.run(questions, env=RayEnvironment("asked")).results
    assert there == here
    assert [bool(result.missing) for result in here] == ["eel" not in each for each in questions]
    assert all(result.hits for result in here)
