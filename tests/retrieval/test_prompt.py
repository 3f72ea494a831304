"""Prompt templates are files, and a wrong one is refused in a sentence before any question is asked."""

from __future__ import annotations

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.retrieval.prompt import FOLDER, Prompt, prompt


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_every_prompt_of_the_package_is_shown_as_it_is_in_its_file(name):
    made = sage.prompt(name)
    assert repr(made) == (FOLDER / f"{name}.txt").read_text(encoding="utf8")
    filled = made.filled(**dict.fromkeys(made.places, "X"))
    assert filled[-1].role == "user"
    assert "$" not in "".join(message.content for message in filled)


def test_a_file_of_ones_own_and_what_stands_in_a_value_is_not_looked_at(tmp_path):
    (tmp_path / "mine.txt").write_text("remark\n[system]\nCost: $$3\n\n[user]\n${question}\n[user]\n", encoding="utf8")
    made = prompt(str(tmp_path / "mine.txt")).checked("question")
    assert [(each.role, each.content) for each in made.filled(question="$question {x} [user]\n[system]\n")] == [
        ("system", "Cost: $3"),
        ("user", "$question {x} [user]\n[system]\n"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the prompt 'p' has no message; put one below a line that reads"),
        ("just text", "the prompt 'p' has no message"),
        ("[user]\nanswer it", r"the prompt 'p' lacks \$question; its places are \$question"),
        ("[user]\n$question $contxt", r"the prompt 'p' has a place \$contxt that nothing fills"),
    ],
)
def test_a_wrong_template_is_refused(text, said):
    with pytest.raises(BadValueError, match=said):
        Prompt("p", text).checked("question")


def test_a_name_that_is_none_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown prompt .* 'answr'; did you mean 'answer'"):
        prompt("answr")
    with pytest.raises(UnknownNameError, match="unknown prompt"):
        prompt("no\0file")
    (tmp_path / "bytes").write_bytes(b"[user]\n\xff\xfe")
    with pytest.raises(BadValueError, match="is no text in UTF-8"):
        prompt(str(tmp_path / "bytes"))
