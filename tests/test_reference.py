"""Every public name is documented, by examples that run, and `make docs` shows it."""

from __future__ import annotations

import pytest

import sage_nb
from tests import reference


def test_every_public_name_and_member_is_documented_and_has_an_example_that_runs():
    assert [*reference.missing_names(), *reference.missing_members()] == []


@pytest.fixture
def _looked_at_anew():
    reference.examples_in.cache_clear()
    yield
    reference.examples_in.cache_clear()


@pytest.mark.usefixtures("_looked_at_anew")
def test_what_lacks_a_docstring_or_an_example_is_noticed(monkeypatch):
    monkeypatch.setattr(sage_nb, "__all__", ["fuse", "JsonlSink", "CallSink"])
    monkeypatch.setitem(sage_nb._HOME, "CallSink", "sage_nb.stream.sink")  # it has no example of its own
    monkeypatch.setattr(sage_nb.fuse, "__doc__", None)
    monkeypatch.setattr(sage_nb.JsonlSink, "told", lambda self: 1, raising=False)
    lacking = ["fuse has no docstring", "fuse has no example", "CallSink has no example"]
    assert list(reference.missing_names()) == lacking
    told = "sage_nb.stream.sink.JsonlSink.told has no"
    assert list(reference.missing_members()) == [f"{told} docstring", f"{told} example"]


def test_the_reference_is_built_without_a_warning_and_shows_every_name(tmp_path):
    pytest.importorskip("pdoc", reason="the dev extra has it: pip install -e '.[dev]'")
    reference.build(tmp_path)
    pages = {page.name: page.read_text(encoding="utf8") for page in tmp_path.glob("sage_nb.*.html")}
    for name in set(sage_nb.__all__) - {"corpora"}:
        room = ".".join(reference.home_of(name).split(".")[:2])
        assert f'id="{name}"' in pages[f"{room}.html"], name
    assert set(pages) == {f"{page.__name__}.html" for page in reference.rooms()}
