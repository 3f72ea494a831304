"""Groups to train on: the default pipeline's scores, more for what answers, and nothing twice."""

from __future__ import annotations

import json

import pytest

import sage_nb as sage
from sage_nb.cli.main import main
from sage_nb.evaluation.groups import DEPTH, FIRST, MORE, SCALE, STRANGE, Labelled, groups
from sage_nb.models.registry import LATE_INTERACTION
from sage_nb.models.train_reranker import read_groups
from sage_nb.retrieval.mixture import mixed, with_step
from sage_nb.retrieval.rerank import rerank

TEXTS = [f"The {animal} {does} in the {place}." for animal in ("cow", "dog", "fox") for does in ("sleeps", "runs")
         for place in ("barn", "wood", "house")]  # fmt: skip


@pytest.fixture
def book(tmp_path):
    made = sage.Collection(tmp_path / "book")
    made.add([sage.Document(f"d{n}", text) for n, text in enumerate(TEXTS)], progress=False)
    return made


def test_targets_are_the_pipelines_scores_and_more_for_the_answer(book):
    asked = Labelled("where does the fox run?", "d16", 4.0)
    (group,) = groups(book, [asked])
    found = (book.hybrid(DEPTH) >> rerank(k=DEPTH, model=LATE_INTERACTION)).search(asked.question)
    hits = with_step(found.hits, LATE_INTERACTION, enumerate(hit.score for hit in found))
    scored = {hit.document.text: score for hit, score in zip(hits, mixed(hits), strict=True)}
    targets = dict(zip(group.passages, group.targets, strict=True))
    assert group.passages[0] == TEXTS[16]
    for text, target in targets.items():
        assert target == pytest.approx(SCALE * scored[text] + (4.0 if text == TEXTS[16] else 0.0), abs=1e-3)
    best = [text for text in sorted(scored, key=scored.get, reverse=True) if text != TEXTS[16]][:FIRST]
    assert set(best) <= set(targets)
    assert len(targets) == 1 + FIRST + MORE


def test_a_passage_that_has_nothing_to_do_with_it_is_worth_less_than_all_others(tmp_path):
    book = sage.Collection(tmp_path / "large")
    book.add([sage.Document(f"d{n}", f"The {n} sheep.") for n in range(3 * DEPTH)], progress=False)
    strange = 0
    for group in groups(book, [Labelled(f"{n} sheep", f"d{n}", 2.0) for n in range(20)]):
        if len(group.targets) == 2 + FIRST + MORE:
            strange += 1
            assert min(group.targets[1:-1]) - group.targets[-1] >= STRANGE - 1e-3  # they are rounded
    assert strange


def test_the_same_seed_makes_the_same_groups_and_another_others(book):
    asked = [Labelled(f"a {text}", f"d{n}", 2.0) for n, text in enumerate(TEXTS)]
    assert list(groups(book, asked)) == list(groups(book, asked))
    assert list(groups(book, asked)) != list(groups(book, asked, seed=1))


def test_the_command_makes_what_training_reads(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "beasts"
    folder.mkdir()
    rows = [{"query": f"who {text[4:]}", "text": text} for text in TEXTS]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    assert main(["groups", "out.jsonl", str(folder), "--most", "5", "--installed"]) == 0
    assert len(read_groups(tmp_path / "out.jsonl")) == 5
    assert "beasts: 5 groups over 18 passages" in capsys.readouterr().out
