"""A model's weights in another precision, on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def float32_copy(folder: Path, into: Path) -> Path:
    """A copy of the model in `folder` with float32 weights, as libraries want them that compute in what they load.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from safetensors.numpy import load_file, save_file
    >>> with TemporaryDirectory() as scratch:
    ...     half = Path(scratch, "half")
    ...     half.mkdir()
    ...     _ = (half / "config.json").write_text('{"dtype": "float16"}')
    ...     save_file({"w": np.float16([0.1])}, half / "model.safetensors", {"format": "pt"})
    ...     whole = float32_copy(half, Path(scratch, "whole"))
    ...     load_file(whole / "model.safetensors")["w"], (whole / "config.json").read_text()
    (array([0.09997559], dtype=float32), '{"dtype": "float32"}')
    """
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, into)
    weights = load_file(folder / "model.safetensors")
    whole = {name: value.astype("float32") if value.dtype.kind == "f" else value for name, value in weights.items()}
    save_file(whole, into / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    (into / "config.json").write_text(json.dumps({**config, "dtype": "float32"}), encoding="utf8")
    return into
