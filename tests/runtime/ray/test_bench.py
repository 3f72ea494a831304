"""The benchmarks of Ray, in processes and clusters of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sage_nb.cli.main import main


def figures(folder, *arguments):
    """What a benchmark wrote down."""
    code = f"from sage_nb.cli.main import main; exit(main({['bench', *arguments, '--out', str(folder)]!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    (written,) = folder.glob("*.json")
    return json.loads(written.read_text())["figures"]


def test_bench_ray_measures_each_figure(tmp_path):
    found = figures(tmp_path, "ray", "--repeats", "1", "--scale", "0.005")
    assert [figure["bar"] for figure in found] == [6.0, 1.0, 1e5, 1.5, 15.0, None, None, 0.9]
    assert all(figure["values"][0] > 0 for figure in found[:4])


def test_bench_scale_compares_with_one_node(tmp_path):
    found = figures(tmp_path, "scale", "--nodes", "2", "--tasks", "20")
    names = [f"2 nodes, tasks {kind}: share of linear" for kind in ("that sleep", "like a model's")]
    assert [(figure["figure"], figure["bar"]) for figure in found] == [(name, 0.8) for name in names]
    assert all(figure["median"] > 0 for figure in found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["ray", "--scale", "2"], "a scale in (0, 1], got 3 and 2"),
        (["scale", "--nodes", "1"], "needs 2 nodes or more and 1 task or more, got 1 and 200"),
    ],
)
def test_what_cannot_be_measured_is_refused(capsys, given, said):
    assert main(["bench", *given]) == 2
    assert said in capsys.readouterr().err
