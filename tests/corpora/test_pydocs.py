"""The installed documentation, and packages that misbehave when imported."""

from __future__ import annotations

import sys
import warnings

import pytest

from sage_nb.corpora.pydocs import PyDocs, pydocs
from sage_nb.errors import UnknownNameError

KNOWN = [
    *("numpy.mean", "numpy.ndarray.sort", "numpy.linalg.solve", "numpy.add", "numpy.random.Generator.choice"),
    *("threading.Thread.join", "os.path.join", "os.getcwd", "builtins.str.split", "itertools.groupby", "re.sub"),
    *("collections.Counter.most_common", "subprocess.run", "pydoc_data.topics.with", "functools.lru_cache"),
    *("math.isclose", "json.dumps"),
]


@pytest.fixture(scope="module")
def documents():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of numpy hold modules for Windows only
        return list(pydocs(["stdlib", "numpy", "scipy"]))


def test_there_are_thousands_under_unique_ids(documents):
    assert len(documents) >= 4000
    assert len({document.id for document in documents}) == len(documents)
    assert {document.source for document in documents} == {"stdlib", "numpy", "scipy"}
    assert all(document.text.strip() and document.title == document.id for document in documents)


def test_well_known_names_are_there(documents):
    found = {document.id: document for document in documents}
    assert [name for name in KNOWN if name not in found] == []
    assert found["numpy.mean"].parent == "numpy"
    assert found["numpy.mean"].text.startswith("numpy.mean(a, axis=None")


def test_every_judged_name_is_a_document(documents):
    from pathlib import Path

    from sage_nb.records.trec import read_qrels, read_queries

    data = Path(__file__).parents[2] / "data" / "pydocs"
    qrels, queries = read_qrels(data / "qrels.tsv"), list(read_queries(data / "queries.jsonl"))
    names = {document.id for document in documents}
    judged = {name for grades in qrels.values() for name in grades}
    assert len(judged - names) <= 0.02 * len(judged), sorted(judged - names)  # other versions lack a few
    assert len(queries) >= 150
    assert {query.id for query in queries} == set(qrels)
    assert all(max(grades.values()) == 3 for grades in qrels.values())


def test_no_two_passes_differ(tmp_path, monkeypatch):
    passes = []
    for number in range(2):
        monkeypatch.setenv(
            "SAGE_HOME", str(tmp_path / str(number))
        )  # what the first has read is not kept for the second
        passes.append(list(pydocs(["json", "queue", "ftplib", "logging"])))
    first, second = passes
    assert first == second
    assert any("<object object>" in document.text for document in first), "addresses differ, and are left out"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages to be written; on the path of this process and of its children."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, code: str, **modules: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        for module, text in modules.items():
            (tmp_path / name / f"{module}.py").write_text(text)

    return write


DOCUMENTED = '\n\ndef work():\n    """Do it."""\n'


def test_a_noisy_import_is_not_heard(packages, capfd):
    packages("noisy", "import warnings\nprint('hello')\nwarnings.warn('loud')" + DOCUMENTED)
    assert [document.id for document in pydocs(["noisy"])] == ["noisy.work"]
    assert capfd.readouterr() == ("", "")
    assert "noisy" not in sys.modules


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("raising", "raise RuntimeError('not today')", "RuntimeError: not today"),
        ("leaving", "raise SystemExit(4)", "SystemExit: 4"),
        ("exiting", "import os\nos._exit(3)", "its import ended the process .exit code 3."),
        ("crashing", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "ended the process .signal SIGSEGV."),
    ],
)
def test_a_package_that_fails_is_reported_and_the_rest_goes_on(packages, name, code, reason):
    packages(name, code)
    packages("good", DOCUMENTED)
    found = pydocs([name, "good"])
    with pytest.warns(UserWarning, match=reason):
        assert [document.id for document in found] == ["good.work"]
    assert found.skipped[0].name == name


def test_a_package_that_hangs_is_ended(packages):
    packages("hanging", "import time\ntime.sleep(600)")
    with pytest.warns(UserWarning, match="no answer within 2 s"):
        assert list(PyDocs(["hanging"], seconds=2.0)) == []


def test_a_submodule_that_fails_is_listed(packages):
    packages("partly", DOCUMENTED, broken="import nowhere_at_all")
    found = pydocs(["partly"])
    with pytest.warns(UserWarning, match="'partly' is in without 1 module or name that raised, the first .*broken"):
        assert [document.id for document in found] == ["partly.work"]
    assert [skipped.name for skipped in found.skipped] == ["partly.broken"]


LAZY = """
__all__ = ["absent", "leaving", "unfinished", "work"]

def __getattr__(name):
    if name == "absent":
        raise ModuleNotFoundError("No module named 'torch'")
    if name == "leaving":
        raise SystemExit("run me otherwise")
    raise AttributeError(name)
"""


def test_a_lazy_name_that_cannot_be_made_loses_only_itself(packages):
    packages("lazy", LAZY + DOCUMENTED, broken="raise ValueError('one\\ntwo')")
    found = pydocs(["lazy"])
    with pytest.warns(UserWarning, match="'lazy' is in without 3 modules or names that raised") as said:
        assert [document.id for document in found] == ["lazy.work"]
    assert len(said) == 1
    assert [(skipped.name, skipped.reason) for skipped in found.skipped] == [
        ("lazy.broken", "ValueError: one two"),
        ("lazy.absent", "ModuleNotFoundError: No module named 'torch'"),
        ("lazy.leaving", "SystemExit: run me otherwise"),
    ]


HOMELESS = """
class Trap:
    __doc__ = "It traps."

    def __call__(self): ...

    @property
    def __module__(self):
        raise ImportError("gone")

trap = Trap()
"""
UNPRINTABLE = """
class Default:
    def __repr__(self):
        raise KeyError("gone")

def trap(x=Default()):
    'It traps.'
"""


@pytest.mark.parametrize("trap", [HOMELESS, UNPRINTABLE])
def test_an_object_that_raises_when_looked_at_loses_only_itself(packages, trap):
    packages("trapped", f"__all__ = ['trap', 'work']\n{trap}" + DOCUMENTED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "trapped.work" in {document.id for document in pydocs(["trapped"])}


def test_no_packages_are_no_documents():
    assert list(pydocs([])) == []


def test_an_object_is_named_by_its_shortest_public_path(packages):
    packages(
        "paths", "from paths.deep import work\n__all__ = ['work']", deep=DOCUMENTED + DOCUMENTED.replace("work", "too")
    )
    assert [document.id for document in pydocs(["paths"])] == ["paths.work"]  # `too` says the same words


def test_an_unknown_package_is_named():
    with pytest.raises(UnknownNameError, match="unknown package 'numpyy'; did you mean 'numpy'"):
        pydocs(["numpyy"])
