"""Citations: what is one, where it stands in the original, and what counts as support."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sage_nb as sage
from sage_nb.models.registry import Models
from sage_nb.retrieval import citations
from sage_nb.retrieval.citations import READ, Checking, Draft, citation, kept, read

PASSAGES = [
    "Barriers stop every thread at the same place. A thread that is late holds up all others.",
    "In 1,250 runs the lock was held for 3.5 seconds. Nobody knows why. Its owner had gone.",
]


def hits(*texts):
    return [sage.Hit(sage.Document(f"d{n}", text), n, 1.0) for n, text in enumerate(texts, start=1)]


@pytest.fixture(scope="module")
def checking():
    return Checking(Models().encoder().encode)


def unsupported(checking, text):
    draft = Draft.of(text, len(PASSAGES))
    (checked,) = checking.check([(draft, hits(*PASSAGES))])
    return [draft.text[start:end] for start, end in checked.unsupported], checked.citations


@pytest.mark.parametrize(
    ("written", "text", "numbers"),
    [
        ("So [1].", "So [1].", [(1,)]),
        ("So[1][2].", "So[1][2].", [(1, 2)]),
        ("So [2, 1] is.", "So [2][1] is.", [(2, 1)]),
        ("So [1-3].", "So [1][2][3].", [(1, 2, 3)]),
        ("So 【3】.", "So [3].", [(3,)]),
        ("So [1, 1].", "So [1].", [(1,)]),
        ("So [3-1].", "So [1][2][3].", [(1, 2, 3)]),
        ("So. [1] No. [2]", "So. [1] No. [2]", [(1,), (2,)]),
        ("- so [1]\n- no [2]", "- so [1]\n- no [2]", [(1,), (2,)]),
        ("Take `a[1]` or\n```\nb[2]\n``` [3]", "Take `a[1]` or\n```\nb[2]\n``` [3]", [(3,)]),
        ("In [2019] so.", "In [2019] so.", [()]),
        ("[1]", "[1]", []),
        ("", "", []),
    ],
)
def test_what_counts_as_a_citation(written, text, numbers):
    draft = Draft.of(written, 3)
    assert draft.text == text
    assert [claim.numbers for claim in draft.claims] == numbers
    assert draft.invented == ()


def test_numbers_of_no_passage_are_invented_once_each():
    draft = Draft.of("So [4, 1] and [0] and [4-5].", 3)
    assert draft.text == "So [?][1] and [?] and [?][?]."
    assert draft.invented == (4, 0, 5)
    assert draft.claims[0].invented


@given(st.text(alphabet="ab .[]123,-`?\n", max_size=60), st.integers(0, 3))
def test_whatever_is_written_claims_are_slices_and_numbers_are_of_passages(written, passages):
    draft = Draft.of(written, passages)
    edges = [edge for claim in draft.claims for edge in claim.span]
    assert edges == sorted(edges)
    assert all(edge <= len(draft.text) for edge in edges)
    assert all(1 <= number <= passages for claim in draft.claims for number in claim.numbers)
    assert not any(1 <= number <= passages for number in draft.invented)


@pytest.mark.parametrize(
    "claim",
    [
        "Barriers stop threads [1].",
        "All threads wait for the one that is late [1].",
        "The lock was held for 3.5 seconds in 1250 runs [2].",
        "Barriers stop every thread, and the lock's owner had gone [1][2].",
        "The owner of the lock had gone.",
    ],
)
def test_what_a_passage_says_is_supported_in_other_words_too(checking, claim):
    assert unsupported(checking, claim)[0] == []


@pytest.mark.parametrize(
    "claim",
    [
        "Barriers stop threads [2].",
        "The lock was held for 3.6 seconds in 1250 runs [2].",
        "Tomatoes are red [1][2].",
        "Tomatoes are red.",
        "The committee awarded him a prize for his work on chemistry [1].",
    ],
)
def test_what_no_cited_passage_says_is_not_supported(checking, claim):
    marked, cited = unsupported(checking, claim)
    assert marked == [claim]
    assert cited == ()


def test_a_threshold_of_nothing_would_let_everything_pass(checking, monkeypatch):
    """The tests above rest on the threshold, and not on something else."""
    monkeypatch.setattr(citations, "SUPPORTED", 0.0)
    assert unsupported(checking, "Tomatoes are red [1].")[0] == []
    monkeypatch.setattr(citations, "SUPPORTED", 1.1)
    assert unsupported(checking, "Barriers stop every thread at the same place [1].")[0] != []


def test_the_sentence_that_supports_is_what_is_cited(checking):
    _, cited = unsupported(checking, "Nobody knows why the lock was held [2]. A late thread holds up others [1].")
    assert [(each.document, each.quote) for each in cited] == [
        ("d2", "In 1,250 runs the lock was held for 3.5 seconds."),
        ("d1", "A thread that is late holds up all others."),
    ]
    assert all(PASSAGES[each.number - 1][each.start : each.end] == each.quote for each in cited)


def test_together_is_as_one_by_one(checking):
    drafts = [(Draft.of(f"{text} [1]. Cows fly [2].", 2), hits(*PASSAGES)) for text in PASSAGES]
    assert checking.check(drafts) == [checking.check([each])[0] for each in drafts]
    assert checking.check([]) == []


@pytest.mark.parametrize("text", ["", " ", "…"])
def test_a_passage_without_words_supports_nothing(checking, text):
    draft = Draft.of("Barriers stop threads [1].", 1)
    (checked,) = checking.check([(draft, hits(text))])
    assert checked.unsupported == ((0, 26),)


def test_a_document_that_only_looks_like_a_passage_is_cited_itself():
    whole = sage.Document("a#1", "It rains.", parent="a", meta={"start": 5, "end": 99})
    assert citation(sage.Hit(whole, 1, 1.0), (3, 8)).document == "a#1"
    track = sage.Document("t", "It rains.", parent="album", meta={"start": 0, "end": 9})
    assert citation(sage.Hit(track, 1, 1.0), (3, 8)).document == "t"


def test_what_is_read_of_a_passage_ends_at_the_limit_within_what_is_kept():
    text = "a" * 4_000 + "b" * 4_000
    assert kept(sage.Hit(sage.Document("d", text), 1, 1.0)) == ((0, READ),)
    spans = ((0, 10), (4_000, 8_000), (100, 9_000))
    hit = sage.Hit(sage.Document("d", text * 2), 1, 1.0, spans=spans)
    assert kept(hit) == ((0, 10), (4_000, 8_000), (100, 100 + READ - 4_010))
    assert len(read(hit)) == READ + 2 * len(" … ")
