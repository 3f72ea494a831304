"""`sage-nb bench index`: its figures are written, and peers are asked for the same work in processes of their own."""

from __future__ import annotations

import json
import sys

from sage_nb.cli.main import main
from sage_nb.records.beir import Beir, write_beir
from sage_nb.records.values import Document

TEXTS = ("Ants carry leaves.", "Bees dance.", "Rain falls.", "Rays scatter.")


def measured(folder, *options):
    write_beir(Beir([Document(f"d{at}", text) for at, text in enumerate(TEXTS)], ()), folder / "small")
    out = folder / "out"
    assert main(["bench", "index", str(folder / "small"), "--repeats", "1", "--out", str(out), *options]) == 0
    (written,) = out.glob("index-*.json")
    return json.loads(written.read_text())


def test_without_peers_it_measures_what_is_here_and_says_that_they_are_left_out(tmp_path, capsys):
    written = measured(tmp_path, "--documents", "3")
    assert [each["figure"] for each in written["figures"]] == ["small: load of the encoder", "small: sage-nb"]
    assert all(value > 0 for each in written["figures"] for value in each["values"])
    assert "peers are left out (sentence_transformers, haystack" in capsys.readouterr().out


def test_a_peer_that_is_installed_is_measured_and_one_that_is_not_is_named(tmp_path, capsys):
    written = measured(tmp_path, "--peers", sys.executable)
    figures = {each["figure"]: each for each in written["figures"]}
    (ratio,) = figures["small: sage-nb to sentence_transformers, the best peer"]["values"]
    (ours,), (theirs,) = (figures[f"small: {name}"]["values"] for name in ("sage-nb", "sentence_transformers"))
    assert ratio == ours / theirs
    assert written["versions"]["sentence-transformers"]
    said = capsys.readouterr().out
    assert "small: sentence_transformers: batch size" in said
    assert "haystack is left out, it ended: ModuleNotFoundError: No module named 'haystack" in said


def test_it_refuses_to_add_nothing(tmp_path, capsys):
    assert main(["bench", "index", str(tmp_path), "--documents", "0"]) == 2
    assert "bench index needs 1 document and repeat or more, got 0 and 3" in capsys.readouterr().err


def test_it_refuses_an_interpreter_that_is_not_there(tmp_path, capsys):
    write_beir(Beir([Document("d", "Ants.")], ()), tmp_path)
    assert main(["bench", "index", str(tmp_path), "--peers", str(tmp_path / "python")]) == 2
    assert "is no interpreter; run make bench-peers" in capsys.readouterr().err
