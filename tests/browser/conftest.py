"""One JupyterLab and one Chromium for all tests of this folder; a context, so a clean browser, for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.browser.lab import FLAGS, jupyterlab, opened

CHROMIUM = shutil.which("chromium")
WHERE_THERE_IS_ONE = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
SHOTS = Path(__file__).parent / "screenshots"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(
                pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
            )


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def notebook(lab, chromium, request):
    """Opens a notebook of the given cells; after the test no error may have come to the console."""
    contexts, made = [], []

    def open_notebook(*cells, width=1280, height=900, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, **options))
        made.append(opened(lab, contexts[-1], f"{request.node.name.replace('[', '-').rstrip(']')}-{len(made)}", cells))
        return made[-1]

    yield open_notebook
    SHOTS.mkdir(exist_ok=True)
    for number, each in enumerate(made):  # what a failed test saw last
        each.page.screenshot(path=SHOTS / f"{request.node.name}-end-{number}.png")
    errors = [error for each in made for error in each.errors]
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def shot(request):
    """Keeps a picture of a page or of a part of it, named by the test."""

    def take(part, name=""):
        SHOTS.mkdir(exist_ok=True)
        part.screenshot(path=SHOTS / f"{request.node.name}{name and '-'}{name}.png")

    return take
