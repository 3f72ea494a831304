"""Routes learned from judged questions lead other questions of their kind to where the answers lie."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError
from sage_nb.records.plain import pack

STARS = ("sun", "moon", "comet", "planet", "galaxy", "nebula")
PLANTS = ("oak", "moss", "fern", "rose", "tulip", "maple")


def stars(text):
    return [sage.Document(each, f"About a {each} in the sky.") for each in STARS if each in text] or [
        sage.Document("sky", "The sky is wide.")
    ]


def plants(text):
    return [sage.Document(each, f"About a {each} in the garden.") for each in PLANTS if each in text] or [
        sage.Document("garden", "The garden is small.")
    ]


PIPE = sage.multi_source({"stars": stars, "plants": plants})
ASKED = {f"q-{each}": f"how old is a {each}?" for each in (*STARS[:4], *PLANTS[:4])}
QRELS = {name: {name.removeprefix("q-"): 1} for name in ASKED}


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    return sage.learn_routes(PIPE, ASKED, QRELS, tmp_path_factory.mktemp("routes") / "learned", least=0.3)


def test_questions_it_has_not_seen_are_led_to_the_source_that_knows(routes):
    for question, source in [("how far is a galaxy?", "stars"), ("how green is a maple?", "plants")]:
        weights = routes.weigh(question)
        assert max(weights, key=weights.get) == source
        assert max(weights.values()) == 1.0
    routed = sage.multi_source({"stars": stars, "plants": plants}, route=routes)
    far, green = routed.run(["how far is a galaxy?", "how green is a maple?"]).results
    assert far.hits[0].document.id == "galaxy"
    assert green.hits[0].document.id == "maple"


def test_judged_the_other_way_it_leads_the_other_way(tmp_path):
    only = {name: grades for name, grades in QRELS.items() if name.removeprefix("q-") in PLANTS}
    routes = sage.learn_routes(PIPE, ASKED, only, tmp_path / "plants")
    weights = routes.weigh("how far is a galaxy?")
    assert weights["plants"] > weights["stars"]


def test_it_prints_back_and_lies_in_yaml_and_counts_by_its_content(tmp_path, routes):
    book = sage.Collection(tmp_path / "book", encoder=None)
    pipe = sage.multi_source({"stars": book.lexical(3), "plants": book.lexical(2)}, route=routes)
    names = {"Collection": sage.Collection, "multi_source": sage.multi_source, "Routes": sage.Routes}
    assert eval(repr(pipe), names) == pipe  # noqa: S307  our own repr
    assert sage.Pipeline.from_yaml(pipe.to_yaml()) == pipe
    before = routes.identity()
    sage.learn_routes(PIPE, ASKED, QRELS, routes.path, least=0.2)
    assert routes.identity() != before
    sage.learn_routes(PIPE, ASKED, QRELS, routes.path, least=0.3)
    assert routes.identity() == before


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"pipe": sage.fuse}, r"learn_routes\(\) takes a multi_source"),
        ({"qrels": {}}, "none of these questions has a relevant document in the qrels"),
        ({"qrels": {"q-sun": {"elsewhere": 1}}}, "no source found any relevant document"),
        ({"least": 2}, r"learn_routes\(\) needs least=, a number from 0 to 1, got 2"),
        ({"spread": "half"}, r"learn_routes\(\) needs spread=, a number from 0 to 1, got 'half'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, changed, why):
    given = {"pipe": PIPE, "queries": ASKED, "qrels": QRELS, "path": tmp_path / "routes"} | changed
    with pytest.raises(BadValueError, match=why):
        sage.learn_routes(**given)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read .No such file or directory.; write them with learn_routes"),
        (b"nonsense", "damaged|no data|not"),
        (pack({"a": 1}), "holds no routes; write them with learn_routes"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, why):
    path = tmp_path / "routes"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadValueError, match=why):
        sage.Routes(str(path)).weigh("sun")


def test_routes_to_sources_of_other_names_fail_the_question(routes):
    (result,) = sage.multi_source({"sky": stars, "garden": plants}, route=routes).run(["how old is a moon?"]).results
    assert "unknown source that the route names" in result.error
