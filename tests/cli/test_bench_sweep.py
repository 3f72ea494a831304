"""`sage-nb bench sweep`: what models are given is counted."""

from __future__ import annotations

import json

from sage_nb.cli.main import main


def test_twelve_variants_give_models_no_more_than_their_distinct_stages_do(tmp_path, capsys):
    sizes = ["--repeats", "1", "--questions", "2", "--documents", "30"]
    assert main(["bench", "sweep", *sizes, "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("sweep-*.json")
    calls, seconds, times = json.loads(written.read_text())["figures"]
    assert calls["figure"].startswith("model calls of 12 variants")
    assert (calls["median"], calls["bar"], calls["bar_is"]) == (1.0, 1.15, "most")
    assert seconds["median"] > 0
    assert times["median"] > 0
    assert "one by one" in capsys.readouterr().out


def test_it_refuses_more_questions_than_documents(capsys):
    assert main(["bench", "sweep", "--questions", "9", "--documents", "3"]) == 2
    assert "no more questions than documents, got 3, 9 and 3" in capsys.readouterr().err
