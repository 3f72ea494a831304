"""What was read of an installed package is kept, and read anew when that may have changed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sage_nb.corpora.pydocs import pydocs

WORKING = '\n\ndef work():\n    """{}"""\n'
SAID = [("tool.work", "Do it."), ("tool.work", "Do more.")]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "pydocs"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A folder that installers fill."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("sage_nb.corpora.harvested.LIBRARIES", (str(folder),))
    return folder


def install(library, says, code=""):
    (library / "tool.py").write_text(code + WORKING.format(says))


def said(package="tool"):
    return [(document.id, document.text.partition("\n\n")[2]) for document in pydocs([package])]


@pytest.fixture
def no_children(monkeypatch):
    """From now on nothing can be imported in a process of its own."""

    def forbid():
        monkeypatch.setattr(sys, "executable", "/nowhere/python")

    return forbid


@pytest.mark.parametrize("package", ["json", "itertools", "numpy.linalg"])
def test_an_installed_package_is_imported_once(package, no_children):
    first = list(pydocs([package]))
    no_children()
    assert list(pydocs([package])) == first != []


def test_a_child_is_needed_where_nothing_is_kept(no_children):
    no_children()
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        list(pydocs(["json"]))


def test_what_is_installed_later_is_read(library, no_children):
    install(library, "Do it.")
    assert said() == SAID[:1]
    install(library, "Do more.")
    assert said() == SAID[1:], "the file is another one"
    (library / "other-1.0.dist-info").mkdir()
    no_children()
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        said()


def test_ones_own_package_is_read_by_each_pass(tmp_path, monkeypatch, home):
    monkeypatch.syspath_prepend(tmp_path)
    for says, expected in zip(["Do it.", "Do more."], SAID, strict=True):
        install(tmp_path, says)
        assert said() == [expected]
    assert not home.exists()


@pytest.mark.parametrize(
    ("code", "kept"),
    [("import nowhere_at_all", True), ("import json.nowhere", True), ("raise OSError('today')", False)],
)
def test_what_may_be_found_another_time_is_looked_for_again(library, home, code, kept):
    (library / "tool").mkdir()
    (library / "tool" / "__init__.py").write_text(WORKING.format("Do it."))
    (library / "tool" / "part.py").write_text(code)
    for _ in range(2):
        with pytest.warns(UserWarning, match="'tool' is in without 1 module or name that raised, the first 'tool.par"):
            assert said() == SAID[:1]
        assert (home / "tool").exists() is kept


def test_a_package_that_cannot_be_imported_is_not_kept(library, home):
    install(library, "Do it.", "import nowhere_at_all\n")
    with pytest.warns(UserWarning, match="'tool' is not .fully. in: ModuleNotFoundError"):
        assert said() == []
    assert not (home / "tool").exists()


@pytest.mark.parametrize("content", [b"", b"notes", b"SNB\x01\x93"])
def test_a_damaged_file_is_made_anew(library, home, content):
    install(library, "Do it.")
    said()
    whole = (home / "tool").read_bytes()
    (home / "tool").write_bytes(content)
    assert said() == SAID[:1]
    assert (home / "tool").read_bytes() == whole


def test_a_home_that_takes_nothing_is_no_hindrance(library, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "file"))
    install(library, "Do it.")
    assert said() == said() == SAID[:1]


def test_a_text_that_cannot_be_written_is_no_hindrance(library, home):
    (library / "tool.py").write_text('def work():\n    """Half of a letter: \\ud800"""\n')
    assert said() == said() == [("tool.work", "Half of a letter: \ud800")]
    assert not (home / "tool").exists()


def test_it_is_kept_for_another_process(library, tmp_path):
    install(library, "Do it.")
    script = (
        "import sys; from sage_nb.corpora import pydocs; sys.executable *= len(sys.argv[1]); list(pydocs(['json']))"
    )
    for executables in ("1", ""):  # the second has none to start a child with
        run = subprocess.run([sys.executable, "-c", script, executables], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
