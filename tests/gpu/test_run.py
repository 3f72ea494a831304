"""The script that measures models on a GPU runs, on a small scale, where there is none, and with little installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("run.sh")
SMALL = ["--texts", "12", "--pairs", "8", "--questions", "2", "--repeats", "1"]
RATE = r"[\d,]+"


def ran(tmp_path, *arguments, without=()):
    """What it prints in a Python that lacks some packages."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({list(without)}))\n")
    places = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(
        [str(SCRIPT), *arguments], capture_output=True, text=True, timeout=280, env=places, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_part_runs_that_can_beside_plain_sentence_transformers(tmp_path):
    facts, encode, rerank, share, piped = ran(tmp_path, "--device", "cpu", *SMALL, without=["ray", "faiss"])
    assert "Compute(device='cpu'" in facts
    assert re.match(
        rf"encode +{RATE} docs/s in \w+ · plain {RATE} in float32 .* cosine with plain at least (0\.99|1\.00)", encode
    )
    assert re.match(rf"rerank +{RATE} pairs/s in \w+ · plain {RATE} in float32 .* at most 0\.0\d+ from plain", rerank)
    assert share.startswith("share     left out")
    streamed, searched = rf"{RATE} docs/s through a stream", r"pairs/s through BM25 \(no faiss, .*\) and reranking"
    assert re.match(rf"pipeline +{streamed} · .* {searched}", piped)


def test_an_encoder_in_half_precision_is_made_and_measured_where_little_is_installed(tmp_path):
    (said,) = ran(tmp_path, "--halve", str(tmp_path / "half"))
    assert said.endswith(str(tmp_path / "half"))
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 50e6
    little = ["ray", "faiss", "msgspec", "tenacity", "rank_bm25"]
    lines = ran(tmp_path, "--model", str(tmp_path / "half"), "--device", "cpu", *SMALL, without=little)
    assert re.match(r"pipeline +left out: msgspec is not installed", lines[-1])
    assert len(lines) == 5
