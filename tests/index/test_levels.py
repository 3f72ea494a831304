"""A collection by documents and sections: as if each were one text, whatever became of its passages meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sage_nb.errors import CollectionError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.bm25 import Weighting
from sage_nb.index.folder import IndexFolder
from sage_nb.index.levels import natural
from sage_nb.index.lexical import Postings
from sage_nb.index.manifest import Settings, read_manifest, write_manifest
from sage_nb.index.segment import Origin, SegmentData
from sage_nb.records.values import Document
from tests.index.making import SETTINGS, index

DIMENSION = 4
VECTORS = Settings(analyzer="plain", encoder="e", dimension=DIMENSION)
WORDS = ("ant", "bee", "cow", "dog")


def vector(text):
    """A unit vector for a text: how often each word stands in it."""
    found = np.array([1 + text.split().count(word) for word in WORDS], np.float32)
    return found / np.linalg.norm(found)


def segment(texts):
    """Passages by id; what stands before the "-" of an id is its parent, a "." in that begins the section."""
    documents = []
    for name, text in texts.items():
        parent, _, section = name.rpartition("-")[0].partition(".")
        documents.append(Document(name, text, parent=parent, meta={"section": section} if section else {}))
    origins = [Origin(d.id, f"{abs(hash((d.id, d.text))):032x}"[:32], row, 1) for row, d in enumerate(documents)]
    postings = Postings.of([get_analyzer("plain")(d.text) for d in documents])
    return SegmentData(documents, origins, postings, np.stack([vector(d.text) for d in documents]))


names = st.tuples(st.sampled_from(["a", "b", "a.x", "a.y", "c"]), st.integers(0, 3)).map(lambda p: f"{p[0]}-{p[1]}")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
STEPS = st.lists(
    st.one_of(
        st.dictionaries(names, texts, min_size=1, max_size=5).map(lambda batch: ("add", batch)),
        st.lists(names, min_size=1, max_size=3).map(lambda gone: ("delete", gone)),
        st.just(("compact", None)),
        st.just(("reopen", None)),
        st.just(("forget", None)),
    ),
    min_size=1,
    max_size=8,
)


def forget(path):
    """Make all segments those of a sage_nb that knew no levels."""
    manifest = read_manifest(path)
    files = ("levels.arrow", "document.npy", "section.npy")
    entries = []
    for entry in manifest.segments:
        for name in files:
            (path / "segments" / entry.id / name).unlink(missing_ok=True)
        kept = {name: size for name, size in entry.files.items() if name not in files}
        entries.append(msgspec.structs.replace(entry, files=kept))
    write_manifest(path, msgspec.structs.replace(manifest, segments=tuple(entries)))


def carried_out(path, actions):
    """The folder after some steps, and the passages that should be alive."""
    folder, alive = IndexFolder(path), {}
    for action, given_ in actions:
        if action == "add":
            folder.commit(VECTORS, segment(given_))
            alive.update(given_)
        elif action == "delete":
            folder.commit(VECTORS, None, given_)
            alive = {name: text for name, text in alive.items() if name not in given_}
        elif action == "compact":
            folder.compact()
        elif action == "forget" and alive:
            forget(path)
        folder = IndexFolder(path) if action in ("reopen", "forget") else folder
    return folder, alive


def grouped(alive, level):
    """The texts of each group's passages."""
    found = {}
    for name, text in alive.items():
        parent, _, section = name.rpartition("-")[0].partition(".")
        key = f"{parent} § {section}" if section and level == "section" else parent
        found.setdefault(key, []).append(text)
    return found


def by_words(snapshot, level, query, variant="lucene"):
    """Every living group's score, by name."""
    found = snapshot.level(level)
    scored = found.lexical(query, Weighting(variant))
    return {found.called(g): pytest.approx(scored.scores[g]) for g in found.living if scored.matched[g]}


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["document", "section"]), st.sampled_from(["lucene", "plus", "l"]))
def test_groups_score_as_if_each_were_one_text(actions, level, variant):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        folder, alive = carried_out(Path(one), actions)
        whole = {name: " ".join(parts) for name, parts in grouped(alive, level).items()}
        flat = index(Path(other), *([whole] if whole else [])).snapshot()
        for query in (["ant"], ["bee", "cow", "bee"], {"dog": 0.5, "ant": 2.0}):
            found = flat.lexical(query, 100, Weighting(variant), None)
            expected = {flat.passage(row): score for row, score in found}
            assert by_words(folder.snapshot(), level, query, variant) == expected


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["document", "section"]))
def test_a_groups_vector_is_the_mean_of_its_living_passages(actions, level):
    with tempfile.TemporaryDirectory() as one:
        folder, alive = carried_out(Path(one), actions)
        assume(alive)
        found, query = folder.snapshot().level(level), vector("ant bee")
        cosines = dict(zip(map(found.called, found.living), found.dense(query, found.living), strict=True))
        sums = {name: np.sum([vector(text) for text in parts], axis=0) for name, parts in grouped(alive, level).items()}
        expected = {name: each @ query / np.linalg.norm(each) for name, each in sums.items()}
        assert cosines == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("old", [False, True])
def test_a_dead_passage_leaves_nothing_in_its_documents_vector(tmp_path, old):
    folder = IndexFolder(tmp_path)
    folder.commit(VECTORS, segment({"a-0": "ant", "a-1": "bee bee", "b-0": "cow"}))
    folder.commit(VECTORS, None, ["a-1"])
    if old:
        forget(tmp_path)
    level = IndexFolder(tmp_path).snapshot().level("document")
    found = dict(zip(map(level.called, level.living), level.dense(vector("ant"), level.living), strict=True))
    assert found == pytest.approx({"a": 1.0, "b": vector("ant") @ vector("cow")}, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_passages_of_a_group_stand_in_the_order_of_the_text(actions):
    with tempfile.TemporaryDirectory() as one:
        folder, alive = carried_out(Path(one), actions)
        snapshot = folder.snapshot()
        level = snapshot.level("document")
        for group in level.living:
            members = [snapshot.passage(row) for row in level.in_order(group)]
            assert members == sorted(members, key=lambda n: (n.rpartition("-")[0], int(n.rpartition("-")[2])))
            assert set(members) == {n for n in alive if n.partition("-")[0].partition(".")[0] == level.called(group)}


def test_numbers_in_names_count_as_numbers_however_long():
    ordered = ["a#2", "a#10", "a#010b", "a#10b", "a²", "b", "b" + "9" * 5000]
    shuffled = ordered[::-1]
    assert sorted(shuffled, key=natural) == ordered


def test_levels_are_built_when_documents_are_added_and_kept_small(tmp_path):
    folder = IndexFolder(tmp_path)
    folder.commit(VECTORS, segment({"a-0": "ant", "a-1": "bee", "b-0": "cow"}))
    (entry,) = folder.snapshot().manifest.segments
    assert {"levels.arrow", "document.npy", "section.npy"} <= set(entry.files)
    folder.commit(VECTORS, segment({"c-0": "ant", "d-0": "bee"}))
    assert "document.npy" not in folder.snapshot().manifest.segments[1].files, "each is its own: the vectors do"


def test_a_damaged_level_is_named(tmp_path):
    IndexFolder(tmp_path).commit(VECTORS, segment({"a-0": "ant", "a-1": "bee"}))
    (path,) = tmp_path.glob("segments/*/document.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CollectionError, match=r"document.npy is damaged .its checksum does not match.; restore"):
        IndexFolder(tmp_path).snapshot()


def test_a_collection_without_vectors_has_levels_of_words(tmp_path):
    data = segment({"a-0": "ant", "a-1": "bee", "b-0": "cow"})
    folder = IndexFolder(tmp_path)
    folder.commit(SETTINGS, SegmentData(data.documents, data.origins, data.postings, None))
    assert set(by_words(folder.snapshot(), "document", ["ant", "cow"])) == {"a", "b"}
