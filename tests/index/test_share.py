"""Shares of a snapshot, put together, find what the whole finds: to the last bit for words."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_nb.errors import BadValueError
from sage_nb.index.bm25 import VARIANTS, Weighting
from sage_nb.index.dense import DenseFacts
from sage_nb.index.folder import IndexFolder
from sage_nb.index.manifest import Settings
from sage_nb.index.share import Share
from sage_nb.index.snapshot import Snapshot
from sage_nb.records.filters import where
from tests.index.making import index, segment

WORDS = st.sampled_from(["ant", "bee", "cat", "dog", "eel"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=2, max_size=24)


def shares(snapshot, count):
    return [Snapshot(snapshot.manifest, snapshot.segments, Share(number, count)) for number in range(count)]


def merged(snapshot, count, search, k):
    """The best of all shares, ordered as the whole orders."""
    found = [each for share in shares(snapshot, count) for each in search(share)]
    return sorted(found, key=lambda each: (-each.score, snapshot.passage(each.row)))[:k]


def differences(snapshot, terms, k, only=None):
    """The variants and numbers of shares that do not give what the whole gives."""
    found = []
    for variant in VARIANTS:
        whole = snapshot.lexical(terms, k, Weighting(variant), only)
        for count in range(1, 5):
            parts = merged(snapshot, count, lambda s, v=variant: s.lexical(terms, k, Weighting(v), only), k)
            found += [(variant, count)] if parts != whole else []
    return found


@settings(max_examples=25)
@given(texts=TEXTS, cut=st.integers(0, 24), gone=st.sets(st.integers(0, 23)), k=st.integers(1, 30), data=st.data())
def test_shares_find_and_score_what_the_whole_does(texts, cut, gone, k, data):
    batches = [{f"d{n}": " ".join(text) for n, text in enumerate(texts)}]
    batches = [dict(list(batches[0].items())[:cut]), dict(list(batches[0].items())[cut:])]
    with tempfile.TemporaryDirectory() as folder:
        made = index(Path(folder), *(batch for batch in batches if batch))
        made.commit(made.snapshot().manifest.settings, None, [f"d{n}" for n in gone])
        terms = data.draw(st.lists(WORDS, min_size=1, max_size=4))
        only = data.draw(st.sampled_from([None, where(id__in=tuple(f"d{n}" for n in range(0, 24, 2)))]))
        assert differences(made.snapshot(), terms, k, only) == []


@pytest.fixture
def uneven(tmp_path):
    """A term that lives in the first share only, another in the last, and a document that is dead."""
    texts = {f"d{n:02}": "ant " + ("rare " if n == 0 else "") + ("late late" if n > 9 else "bee") for n in range(12)}
    made = index(tmp_path / "uneven", texts)
    made.commit(made.snapshot().manifest.settings, None, ["d03"])
    return made.snapshot()


QUESTION = ["rare", "late", "bee"]


def test_a_term_that_lives_in_one_share_only_counts_in_all(uneven):
    assert differences(uneven, QUESTION, 12) == []


def test_without_statistics_of_the_whole_the_scores_would_differ(uneven, monkeypatch):
    found = Snapshot.postings

    def local(self, term):
        places, frequencies, _ = found(self, term)
        return places, frequencies, int(self.allowed(None)[places].sum())

    monkeypatch.setattr(Snapshot, "postings", local)
    assert {variant for variant, _ in differences(uneven, QUESTION, 12)} == set(VARIANTS)


def test_without_the_worth_of_an_absent_term_only_plus_would_differ(uneven, monkeypatch):
    found = Snapshot.postings

    def skipping(self, term):
        places, frequencies, live = found(self, term)
        return places, frequencies, live if len(places) else 0

    monkeypatch.setattr(Snapshot, "postings", skipping)
    assert {variant for variant, _ in differences(uneven, QUESTION, 12)} == {"plus"}


def vectors(count, seed):
    made = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_shares_find_the_nearest_vectors_that_the_whole_does(tmp_path, kind, count):
    made = IndexFolder(tmp_path)
    held = Settings(encoder="x", dimension=16, analyzer="plain", dense=kind)
    for part, size in enumerate((300, 80, 7)):
        made.commit(held, segment({f"p{part}n{n}": "ant" for n in range(size)}, vectors(size, part)))
    made.commit(held, None, ["p0n1", "p1n2"])
    snapshot, questions = made.snapshot(), vectors(5, 99)
    for only in (None, where(id__in=tuple(f"p{p}n{n}" for p in range(3) for n in range(0, 300, 3)))):
        for at, whole in enumerate(snapshot.dense(questions, 10, only)):
            parts = merged(snapshot, count, lambda s, o=only, at=at: s.dense(questions, 10, o)[at], 10)
            assert [each.row for each in parts] == [each.row for each in whole]
            assert [each.score for each in parts] == pytest.approx([each.score for each in whole], abs=1e-6)


def test_each_approximate_index_is_searched_by_one_share(tmp_path):
    made = index(tmp_path, {f"d{n}": "ant" for n in range(90)})
    flat = made.snapshot().manifest.segments[0]
    facts = DenseFacts("hnsw", 16, 1.0)
    sizes = (90, 40, 40, 10)
    entries = [msgspec.structs.replace(flat, id=f"s{n}", rows=size, dense=facts) for n, size in enumerate(sizes)]
    near = [[len(rows) for rows in Share(number, 2).nearest(entries)] for number in range(2)]
    assert near == [[90, 0, 0, 0], [0, 40, 40, 10]]
    assert [sum(rows) for rows in zip(*near, strict=True)] == list(sizes)


def test_every_row_is_in_one_share_also_where_there_are_more_shares_than_rows():
    for count in range(1, 9):
        for rows in (0, 1, 3, 100):
            assert [row for number in range(count) for row in Share(number, count).rows(rows)] == list(range(rows))


def test_a_share_that_there_is_not_is_refused():
    with pytest.raises(BadValueError, match="a share is numbered from 0 to 1, got 2"):
        Share(2, 2)
