"""`sage-nb bench limit`: the machine's rates, and the models' shares of them."""

from __future__ import annotations

import json

import pytest

from sage_nb.cli.bench_limit import _layer_rate
from sage_nb.cli.main import main
from sage_nb.models.device import Compute, choose_compute
from sage_nb.models.machine import Product, Shape, product_rate


def test_it_writes_rates_and_the_share_of_each_kind_of_model(tmp_path, capsys):
    sizes = ["--repeats", "1", "--scale", "0.01", "--passages", "3"]
    assert main(["bench", "limit", *sizes, "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("limit-*.json")
    figures = {each["figure"]: each for each in json.loads(written.read_text())["figures"]}
    assert all(each["median"] > 0 for each in figures.values())
    dtype = choose_compute().dtype
    for wanted in ("GEMM float32, 81x384x1536", f"GEMM {dtype}, 20x20x20", "memory, copy", "memory, triad", "encoder"):
        assert wanted in figures
    barred = [name for name, each in figures.items() if each["bar"] is not None]
    assert [name.partition(": ")[0] for name in barred] == [
        f"{kind}, {dtype}" for kind in ("encoder", "late interaction", "cross-encoder")
    ]
    assert "GFLOP/s" in capsys.readouterr().out


def test_a_layer_takes_the_sum_of_the_times_of_its_products():
    shape = Shape(layers=1, hidden_size=2, inner=2)  # all six products of a layer are equal
    slow = dict.fromkeys(shape.products(8), 4.0)
    assert _layer_rate(shape, 8, slow) == pytest.approx(4.0)
    shape = Shape(layers=1, hidden_size=2, inner=4)  # four of 8 operations a token, two of 16: 4 · 8 / 1 + 2 · 16 / 2
    assert _layer_rate(shape, 1, dict(zip(shape.products(1), (1.0, 2.0, 2.0), strict=True))) == pytest.approx(64 / 48)


def test_a_product_that_torch_has_not_here_has_no_rate():
    assert product_rate(Product(4, 4, 4), "bool", Compute("cpu", "float32"), 0.0) is None


def test_it_refuses_to_measure_nothing(capsys):
    assert main(["bench", "limit", "--scale", "0"]) == 2
    assert "a scale in (0, 1], got 5, 512 and 0" in capsys.readouterr().err
