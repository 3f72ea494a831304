import pytest

from sage_nb.records.formats import heading


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Rays #\n# Waves", "Rays"),
        ("words\n\n### Deep\n", "Deep"),
        ("Rays\n====\nwords", "Rays"),
        ("```sh\n# a comment\n```\n# Rays", "Rays"),
        ("#hashtag\nwords", ""),
        ("====", ""),
        ("", ""),
    ],
)
def test_the_first_heading_outside_of_code_is_the_title(text, title):
    assert heading(text) == title
