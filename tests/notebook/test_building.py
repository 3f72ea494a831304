"""A pipeline is a form, a form a pipeline, and the cell says it: nothing is lost on the way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

import sage_nb as sage
from sage_nb.notebook.building.draft import Draft
from sage_nb.notebook.building.form import Held, chain_of, stage_of
from sage_nb.notebook.building.spoken import expression, unsaid
from sage_nb.notebook.cell import pipeline_of
from tests.notebook.building import WORDS, pipelines


@pytest.fixture
def books(tmp_path, monkeypatch):
    """Three collections: one with a name in the notebook, one in its home, one at a path."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    return [sage.Collection("book"), sage.Collection("papers", encoder=None), sage.Collection(tmp_path / "else where")]


@pytest.fixture
def names(books):
    return {"book": books[0], "recent": books[0].where(year__ge=2000, source__in=["a", 'b"']), **WORDS}


def test_every_pipeline_is_its_form(books):
    @given(pipelines(books))
    def law(pipeline):
        held = Held()
        chain = chain_of(pipeline, held)
        assert stage_of(json.loads(json.dumps(chain)), held) == pipeline

    law()


def test_builder_to_cell_to_builder_is_the_identity(books, names):
    @settings(max_examples=300)
    @given(pipelines(books))
    def law(pipeline):
        draft = Draft([], pipeline)
        text = expression(draft.stage(), names)
        assert unsaid(text, pipeline, names) == ""
        again = Draft([], pipeline_of(text, dict(names)))
        assert again.stage() == pipeline
        assert again.chain == draft.chain

    law()
