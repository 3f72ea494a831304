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


def test_it_is_kept_while_size_and_time_stay(home, model):
    path = model / "model.safetensors"
    first, seen = anew(model), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert anew(model) == first, "the negative control: nothing of the file was read"
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    assert anew(model) == sha256(b"two")
    path.write_bytes(b"three")
    assert anew(model) == sha256(b"three")


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
