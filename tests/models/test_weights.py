"""The hash of a model's weights is kept for the next process, as long as the files are the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sage_nb.models import weights
from sage_nb.models.weights import weights_hash


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights, "SETTLED", -1)  # files of this moment count as any others
    return tmp_path / "home" / "weights"


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"one")
    return tmp_path / "model"


def anew(model):
    """As another process would tell it."""
    weights._hash.cache_clear()
    return weights_hash(model)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_it_is_that_of_all_files_in_the_order_of_their_names(home, model):
    (model / "a.safetensors").write_bytes(b"two")
    assert anew(model) == anew(model) == sha256(b"two", b"one")


def test_it_is_kept_while_the_file_is_the_same(home, model):
    path = model / "model.safetensors"
    anew(model)
    seen, (place,) = path.stat(), home.iterdir()
    place.write_bytes(b"0" * 64)
    assert anew(model) == "0" * 64, "nothing of the file was read"
    path.write_bytes(b"two")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert anew(model) == sha256(b"two"), "of the same size, and said to be as old"


def test_of_a_file_of_this_moment_none_is_kept(home, model, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("SAGE_HOME", str(home.parent))
    assert anew(model) == sha256(b"one")
    assert not home.exists()


def test_two_models_of_one_name_are_two(home, tmp_path, monkeypatch):
    for project, content in (("a", b"one"), ("b", b"two")):
        (tmp_path / project / "model").mkdir(parents=True)
        (tmp_path / project / "model" / "model.safetensors").write_bytes(content)
        os.utime(tmp_path / project / "model" / "model.safetensors", (0, 0))
        monkeypatch.chdir(tmp_path / project)
        assert anew(Path("model")) == sha256(content)


@pytest.mark.parametrize("content", [b"", b"notes", b"0" * 63])
def test_a_damaged_one_is_made_anew(home, model, content):
    anew(model)
    (place,) = home.iterdir()
    place.write_bytes(content)
    assert anew(model) == place.read_text() == sha256(b"one")


def test_a_home_that_takes_nothing_is_no_hindrance(tmp_path, monkeypatch, model):
    Path(tmp_path / "file").write_text("mine")
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "file"))
    assert anew(model) == sha256(b"one")
