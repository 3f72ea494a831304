"""Pipelines as YAML: what is written is read back as it was, and nothing else gets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.retrieval.yaml import from_yaml, to_yaml


def view(home):
    return sage.Collection(home / "book", encoder=None)


LEAVES = ("lexical", "dense", "hybrid")


@st.composite
def pipelines(draw, book):
    """Any expression of the algebra."""
    source = book if draw(st.booleans()) else book.where(year__ge=draw(st.integers(1990, 2030)), source__in=["a", "b"])
    kind = draw(st.sampled_from(LEAVES))
    stage = getattr(source, kind)(k=draw(st.integers(1, 200)))
    for _ in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["rerank", "cut", "weighted", "plus", "or", "fuse"])):
            case "rerank":
                stage = stage >> sage.rerank(draw(st.integers(1, 20)), model=draw(st.sampled_from([None, "x/y"])))
            case "cut":
                stage = stage % draw(st.integers(1, 20))
            case "weighted":
                stage = draw(st.sampled_from([0.5, 2.0])) * stage
            case "plus":
                stage = stage + book.lexical(k=draw(st.integers(1, 5)), variant="plus", k1=0.9)
            case "or":
                stage = stage | book.dense(3)
            case "fuse":
                stage = sage.fuse(stage, book.lexical(4), by="zscore", weights=(0.3, 0.7))
    return stage


def test_what_is_written_is_read_back(tmp_path):
    book = view(tmp_path)

    @given(pipelines(book))
    def law(stage):
        assert from_yaml(to_yaml(stage)) == stage

    law()


def test_it_is_legible(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    stage = sage.Collection("book", encoder=None).where(source="numpy").hybrid(k=100) >> sage.rerank(k=10)
    assert to_yaml(stage) == (
        "sage_nb: 1\npipeline:\n  then:\n    first:\n      hybrid:\n        source:\n          collection:\n"
        "            name: book\n            where:\n            - where\n            - - source\n              - eq\n"
        "              - numpy\n        weights:\n        - 1.0\n        - 1.0\n    second:\n      rerank: {}\n"
    )


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("!!python/object/apply:os.system ['true']", BadValueError, "not the YAML of a pipeline: could not determine"),
        ("a: [", BadValueError, "this is not the YAML of a pipeline"),
        ("- 1", BadValueError, r"holds 'sage_nb' and 'pipeline', got \[1\]"),
        ("{sage_nb: 2, pipeline: {}}", BadValueError, "the pipeline is of format 2, this sage_nb reads 1; upgrade"),
        ("{sage_nb: 1, pipeline: {rernk: {}}}", UnknownNameError, "unknown stage 'rernk'; did you mean 'rerank'"),
        ("{sage_nb: 1, pipeline: {rerank: {kk: 1}}}", UnknownNameError, "unknown argument of 'rerank' 'kk'"),
        ("{sage_nb: 1, pipeline: {rerank: {k: 0}}}", BadValueError, r"rerank\(\) needs k, a whole number of 1 or more"),
        ("{sage_nb: 1, pipeline: {rerank: 3}}", BadValueError, "the arguments of 'rerank' at pipeline must be named"),
        (
            "{sage_nb: 1, pipeline: {rerank: {}, cut: {}}}",
            BadValueError,
            "must be one stage with its arguments, got re",
        ),
        ("{sage_nb: 1, pipeline: {cut: {}}}", BadValueError, "'cut' at pipeline does not take these arguments"),
        (
            "{sage_nb: 1, pipeline: {dense: {source: {collection: {}}}}}",
            BadValueError,
            "has a name and perhaps a where",
        ),
        (
            "{sage_nb: 1, pipeline: {dense: {source: 3}}}",
            BadValueError,
            "source of 'dense' at pipeline must be a Source, got 3",
        ),
    ],
)
def test_bad_yaml_is_refused_in_a_sentence(text, error, said):
    with pytest.raises(error, match=said):
        from_yaml(text)


def test_code_is_not_written(tmp_path):
    with pytest.raises(BadValueError, match="cannot be written as YAML; build it of registered stages"):
        to_yaml(view(tmp_path).lexical(3) >> (lambda result: result))
