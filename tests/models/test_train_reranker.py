"""Training a reranker: it learns, it can be stopped and goes on as if it had not been, and it refuses what is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sage_nb.errors import BadValueError
from sage_nb.models.train_reranker import Group, Recipe, halved, main, read_groups, train

COLOURS, ANIMALS = ("red", "green", "blue", "white"), ("cow", "dog", "horse", "sheep")
GROUPS = [
    Group(f"a {colour} {animal}", (f"the {animal} is {colour}", f"the {animal} sleeps", "nothing"), (2.0, 0.0, -2.0))
    for colour in COLOURS
    for animal in ANIMALS
]
QUICK = Recipe(epochs=2, batch=4, layers=(0,), every=2, rate=5e-4, length=32)


def losses(out, recipe=QUICK, steps=None):
    found = []
    for step, _, loss in train(GROUPS, out, recipe):
        found.append(loss)
        if step == steps:
            break
    return found


def test_it_learns_and_the_library_loads_what_it_wrote(tmp_path):
    from sentence_transformers import CrossEncoder

    whole = losses(tmp_path / "model", Recipe(epochs=8, batch=4, layers=(0,), rate=1e-3, length=32))
    assert np.mean(whole[-4:]) < np.mean(whole[:4]) / 2
    model = CrossEncoder(str(tmp_path / "model"))
    right, wrong = model.predict([("a red dog", "the dog is red"), ("a red dog", "nothing")])
    assert right > wrong
    assert len(model.model.bert.encoder.layer) == 1


def test_a_run_that_was_stopped_gives_what_it_would_have_given(tmp_path):
    whole = losses(tmp_path / "whole")
    first = losses(tmp_path / "stopped", steps=5)  # the last checkpoint is that of step 4
    rest = losses(tmp_path / "stopped")
    assert first == whole[:5]
    assert rest == whole[4:]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_that_is_killed_while_it_saves_goes_on_from_the_save_before(tmp_path, monkeypatch):
    """The weights are written, and then the process is gone."""
    whole = losses(tmp_path / "whole")
    losses(tmp_path / "killed", steps=2)  # saved

    def gone(*_):
        raise KeyboardInterrupt("gone")

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", gone)
        with pytest.raises(KeyboardInterrupt, match="gone"):
            losses(tmp_path / "killed")
    assert losses(tmp_path / "killed") == whole[2:]


def test_another_recipe_does_not_go_on(tmp_path):
    losses(tmp_path, steps=2)
    with pytest.raises(BadValueError, match="was begun with another rate, seed; train into another folder"):
        losses(tmp_path, Recipe(epochs=2, batch=4, layers=(0,), every=2, rate=1e-4, length=32, seed=1))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "x"}', "line 2 of .* is no group: .*passages"),
        ('{"question": "x", "passages": ["a", "b"], "targets": [1.0]}', "line 2 .* a target for each"),
        ('{"question": "x", "passages": ["a"], "targets": [1.0]}', "line 2 .* two passages or more"),
    ],
)
def test_a_line_that_is_no_group_is_named(tmp_path, line, said):
    good = json.dumps({"question": "x", "passages": ["a", "b"], "targets": [1, 0]})
    (tmp_path / "groups.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(BadValueError, match=said):
        read_groups(tmp_path / "groups.jsonl")


def test_a_file_without_groups_is_refused(tmp_path):
    (tmp_path / "groups.jsonl").write_text("")
    with pytest.raises(BadValueError, match="there are no groups in"):
        read_groups(tmp_path / "groups.jsonl")


def test_the_command_trains_and_tells(tmp_path, capsys):
    lines = [{"question": g.question, "passages": g.passages, "targets": g.targets} for g in GROUPS[:4]]
    (tmp_path / "groups.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = [str(tmp_path / "groups.jsonl"), str(tmp_path / "out"), "--batch", "2", "--layers", "0", "--length", "32"]
    main(given)
    assert "step 2 of 2: loss" in capsys.readouterr().out
    shipped = load_file(tmp_path / "out" / "half" / "model.safetensors")
    assert {str(each.dtype) for each in shipped.values()} == {"float16"}


def test_what_is_shipped_scores_as_what_was_trained_and_without_a_ceiling(tmp_path):
    from sentence_transformers import CrossEncoder

    losses(tmp_path / "model", Recipe(epochs=8, batch=4, layers=(0,), rate=1e-3, length=32))
    pairs = [("a red dog", "the dog is red"), ("a red dog", "nothing")]
    trained, shipped = (CrossEncoder(str(each)) for each in (tmp_path / "model", halved(tmp_path / "model")))
    scores = shipped.predict(pairs)
    assert scores == pytest.approx(trained.predict(pairs), abs=0.02)
    assert min(scores) < 0 or max(scores) > 1  # logits, no shares
